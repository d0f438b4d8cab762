//! Does the cuts of a schedule, each at its byte, and proves that it fell while messages were on
//! their way.
//!
//! A cut has three steps. The connection is frozen at the byte that the schedule names. Then each
//! side sends one more message: nothing can get through, so that message cannot be acknowledged
//! (or the side has so many unacknowledged ones already that it has to wait). Then comes the blow.
//! The proof is that the proxy hit exactly the one connection that both conduits used, that not a
//! byte passed in between, and that both messages were sent before. Where a loaded machine spoils
//! that, because a side has given the frozen connection up already, the cut is done again.

use std::sync::atomic::Ordering;

use rejoin_conformance::proxy::{CutReport, Direction, Fault, FaultProxy};
use rejoin_tcp::{StableListener, StableTx, Status};
use tokio::sync::watch;

use crate::checker::Numbered;
use crate::lane::Lane;
use crate::media::Medium;
use crate::meter::Meter;
use crate::schedule::{Kind, PlannedCut};

/// How much of a frame gets through where a cut is to tear one: less than its length alone takes.
const TORN_BYTES: u64 = 3;

const FREEZE: Fault = Fault::Silence { lasting: None };

/// One direction, with the means to see and to hold up its traffic.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) lane: Lane,
    pub(crate) meter: Meter,
}

/// Everything that a cut has to do with.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) medium: Medium,
    pub(crate) to_server: Way,
    pub(crate) to_client: Way,
    /// Keeps routing new connections to the session.
    pub(crate) _listener: StableListener<Numbered>,
    /// Goes last, with the sockets in it.
    #[cfg(unix)]
    pub(crate) _folder: Option<crate::media::unix::Folder>,
}

impl Scene {
    /// The side that dials.
    pub(crate) fn client(&self) -> &StableTx<Numbered> {
        self.to_server.lane.tx()
    }

    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    pub(crate) fn lanes(&self) -> [&Lane; 2] {
        [&self.to_server.lane, &self.to_client.lane]
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Cuts that were done and proven.
    pub(crate) cuts: u64,
    /// Attempts that hit something else than was planned, and were repeated.
    pub(crate) missed: u64,
}

/// Does all cuts of `schedule`; gives up on one that fails as often as there are messages left for
/// it. Whatever happens, the senders may go on to the end afterwards.
pub(crate) async fn cut_all(
    scene: &Scene,
    schedule: &[PlannedCut],
    messages: u64,
    progress: &watch::Sender<Progress>,
    log: impl Fn(&str),
) {
    let Medium::Proxied(proxy) = &scene.medium else { return open_to(scene, messages) };
    for (index, cut) in schedule.iter().enumerate() {
        open_to(scene, cut.after_messages);
        received(&scene.way(cut.direction).lane, cut.after_messages).await;
        // An attempt after the first one finds little traffic left; pings always pass.
        let bytes = std::iter::once(cut.after_bytes).chain(std::iter::repeat(1));
        for (bytes, _) in bytes.zip(cut.open_to..cut.next) {
            let proven = attempt(scene, proxy, cut, bytes).await;
            progress.send_modify(|progress| match proven {
                true => progress.cuts += 1,
                false => progress.missed += 1,
            });
            if proven {
                log(&format!("cut {}: {cut}", index + 1));
                break;
            }
            log(&format!("missed {}: {cut}", index + 1));
        }
    }
    open_to(scene, messages);
}

/// Waits until so many messages were received in one direction.
pub(crate) async fn received(lane: &Lane, messages: u64) {
    tokio::select! {
        () = lane.received.wait_for(messages, || false) => {}
        // A message that gets lost must end up in the report, and not hold up the run.
        () = lane.acknowledged(messages) => {}
    }
}

pub(crate) fn open_to(scene: &Scene, messages: u64) {
    for lane in scene.lanes() {
        lane.open_to(messages);
    }
}

/// Cuts the connection once, and waits until the conduits have another one. Gives whether the cut
/// was what was planned.
async fn attempt(scene: &Scene, proxy: &FaultProxy, cut: &PlannedCut, bytes: u64) -> bool {
    let mut status = scene.client().status();
    // What is left of earlier connections goes first.
    proxy.release();
    proxy.wait_until(|stats| stats.live == 1).await;
    let Some(link) = connected(&mut status, 0).await else { return false };

    let frozen = proxy.cut_after(cut.direction, bytes, FREEZE);
    open_to(scene, cut.open_to);
    let frozen = frozen.report().await;
    if frozen.connections != 1 {
        return false;
    }
    let begun = scene.lanes().map(|lane| lane.begun.load(Ordering::SeqCst));
    for (lane, begun) in scene.lanes().into_iter().zip(begun) {
        lane.open_by_one();
        lane.accepted.wait_for(begun + 1, || lane.is_in_flight(begun)).await;
    }
    let in_flight = scene.lanes().into_iter().zip(begun).all(|(lane, it)| lane.is_in_flight(it));
    let alive = is_connected(&status.borrow(), link);
    let hit = blow(scene, proxy, cut, &frozen).await;
    connected(&mut status, link).await;
    alive && hit && in_flight
}

/// Ends the frozen connection as planned; gives whether that hit it, and nothing else.
async fn blow(scene: &Scene, proxy: &FaultProxy, cut: &PlannedCut, frozen: &CutReport) -> bool {
    let passed = |report: &CutReport| match cut.direction {
        Direction::ToServer => report.to_server_bytes,
        Direction::ToClient => report.to_client_bytes,
    };
    let unmoved = |report: &CutReport| {
        report.connections == 1
            && report.to_server_bytes == frozen.to_server_bytes
            && report.to_client_bytes == frozen.to_client_bytes
    };
    match cut.kind {
        Kind::Silence => true,
        Kind::Fin | Kind::Reset => unmoved(&proxy.cut(cut.fault).report().await),
        Kind::InsideFrame if scene.way(cut.direction).meter.is_boundary(passed(frozen)) => {
            let torn = proxy.cut_after(cut.direction, TORN_BYTES, cut.fault);
            proxy.release();
            let torn = torn.report().await;
            torn.connections == 1 && passed(&torn) == passed(frozen) + TORN_BYTES
        }
        Kind::InsideFrame => unmoved(&proxy.cut(cut.fault).report().await),
        Kind::InsideHandshake => {
            let handshake = proxy.cut_next(cut.direction, cut.hello_bytes, cut.fault);
            let before = proxy.cut(Fault::Reset).report().await;
            let handshake = handshake.report().await;
            unmoved(&before) && handshake.connections == 1 && passed(&handshake) == cut.hello_bytes
        }
    }
}

/// Waits until the conduit has a link later than number `link`; gives the number of that, unless
/// the conduit has ended.
pub(crate) async fn connected(status: &mut watch::Receiver<Status>, link: u64) -> Option<u64> {
    let has_link = |status: &Status| match status {
        Status::Connected { generation, .. } => *generation > link,
        status => status.is_final(),
    };
    match &*status.wait_for(has_link).await.ok()? {
        Status::Connected { generation, .. } => Some(*generation),
        _ => None,
    }
}

pub(crate) fn is_connected(status: &Status, link: u64) -> bool {
    matches!(status, Status::Connected { generation, .. } if *generation == link)
}
