//! What a run does, as data: the setting, and a list of things that happen. A seed makes one, and a
//! failing one is made smaller by leaving things out. Each thing makes sense, or does nothing,
//! whatever happened before it.

use std::fmt;
use std::time::Duration;

use rejoin_core::protocol::{Profile, SessionConfig};

use super::rng::Rng;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// Something that an application, the network or time does. What `n` means is said here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The application sends n items, as many as its log has room for.
    Send,
    /// The application reads n items, and acknowledges them in manual mode.
    Read,
    /// The application reads everything at once from now on (odd n), or nothing by itself.
    ReadAlways,
    /// n milliseconds pass.
    Wait,
    /// n seconds pass.
    WaitLong,
    /// n seconds pass during which nobody does anything, as when the machine sleeps.
    Sleep,
    /// The link dies with everything on its way, and both ends learn of it.
    Cut,
    /// The link dies when n more bytes were written at this end; what went before arrives.
    CutAfter,
    /// The link dies with everything on its way, and only this end learns of it.
    HalfOpen,
    /// The link carries nothing more, in either direction, and nobody learns of it.
    Freeze,
    /// This end closes the link under its session; what is on its way from here arrives.
    CloseLink,
    /// What is on its way from this end stays there (odd n), or goes on.
    Stall,
    /// The next item on its way from this end is lost, and the link lives on.
    LoseItem,
    /// The next n answers to hellos are lost; half of the time the link with them.
    LoseReplies,
    /// Links made from now on carry a payload in n milliseconds.
    Delay,
    /// Links made from now on hold n payloads in each direction.
    Capacity,
    /// No attempt of this initiator gets through (odd n), or all do.
    Offline,
    /// This side's transmissions (1), events (2), timers (4) are left undone until further notice.
    Skip,
    /// The initiator makes a new link, whether it has one or not.
    Migrate,
    /// The acceptor's side makes a link, too, on which the initiator says its hello.
    CallBack,
    /// One of the initiator's last hellos arrives once more, on a link that nobody holds.
    Echo,
    /// The initiator gives up waiting for an answer; its hello may yet arrive.
    Abandon,
    /// The link tells this end that part of a payload has come.
    Progress,
    /// The application closes.
    Close,
    /// The application aborts.
    Abort,
    /// This side says that it will go away.
    GoAway,
    /// Somebody waits for an acknowledgement (odd n), or nobody does.
    AckWanted,
    /// From now on this side gives a window of n bytes.
    Window,
}

/// One thing that happens, to one end of one of the sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Op {
    pub(super) kind: Kind,
    pub(super) client: usize,
    /// 0 is the initiator's, 1 the acceptor's.
    pub(super) end: usize,
    pub(super) n: u64,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.end == 0 { "initiator" } else { "acceptor" };
        write!(f, "{:?} n={} at {end} {}", self.kind, self.n, self.client)
    }
}

/// The setting of one session.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Setup {
    pub(super) configs: [ConfigPlan; 2],
    /// The number of the first item, in both directions.
    pub(super) first: u64,
    pub(super) redial_ms: u64,
}

/// The parts of a [`SessionConfig`] that differ between runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct ConfigPlan {
    pub(super) base: bool,
    pub(super) item_bytes_max: usize,
    pub(super) send_log_bytes_max: usize,
    pub(super) window_bytes: usize,
    pub(super) ack_frames_max: u32,
    pub(super) manual_ack: bool,
    /// Seconds: outage, unproved, linger.
    pub(super) patience: [u64; 3],
}

impl ConfigPlan {
    pub(super) const PLAIN: Self = Self {
        base: false,
        item_bytes_max: 50,
        send_log_bytes_max: 4000,
        window_bytes: 4000,
        ack_frames_max: 64,
        manual_ack: false,
        patience: PATIENT,
    };

    pub(super) fn config(&self) -> SessionConfig {
        let [outage, unproved, linger] = self.patience.map(Duration::from_secs);
        SessionConfig {
            profile: if self.base { Profile::Base } else { Profile::Extended },
            item_bytes_max: self.item_bytes_max,
            send_log_bytes_max: self.send_log_bytes_max,
            window_bytes: self.window_bytes,
            ack_frames_max: self.ack_frames_max,
            ack_delay: 50 * MILLISECOND,
            ping_interval: 5 * SECOND,
            peer_dead_after: 20 * SECOND,
            outage_max: outage,
            unproved_max: unproved,
            linger,
            manual_ack: self.manual_ack,
        }
    }
}

/// Far longer than any fault of a run lasts.
const PATIENT: [u64; 3] = [10_000, 10_000, 1000];

/// A whole run.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub(super) setups: Vec<Setup>,
    pub(super) delay_ms: u64,
    pub(super) capacity: u64,
    /// How many payloads a link takes of a session at a time.
    pub(super) batch: usize,
    /// What happens until the faults stop for the first time.
    pub(super) ops: Vec<Op>,
    /// What happens around the closes, until they stop for good.
    pub(super) closes: Vec<Op>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let clients = rng.pick(&[1, 1, 1, 2, 3, 6]);
        let setups = (0..clients).map(|_| any_setup(rng)).collect();
        let count = 15 + rng.index(50) + 25 * (clients - 1);
        let weights = any_weights(rng);
        let ops = (0..count).map(|_| any_op(rng, &weights, clients)).collect();
        let closes = any_closes(rng, clients);
        Self {
            setups,
            delay_ms: rng.pick(&[0, 0, 1, 20, 200]),
            capacity: rng.pick(&[1, 3, 100]),
            batch: rng.pick(&[1, 1, 2, 3, 1000]),
            ops,
            closes,
        }
    }

    /// Whether nothing but closes happens at the end.
    pub(super) fn closes_are_undisturbed(&self) -> bool {
        self.closes.iter().all(|op| matches!(op.kind, Kind::Close | Kind::Wait))
    }
}

fn any_setup(rng: &mut Rng) -> Setup {
    let base = rng.one_in(6);
    let mut configs = [any_config(rng), any_config(rng)];
    if base {
        configs[rng.index(2)].base = true;
    }
    let first = match rng.below(5) {
        0 => 0,
        1 => (1 << 32) - rng.below(30),
        2 => (1 << 31) - rng.below(30),
        3 => (7 << 32) - rng.below(30),
        _ => rng.below(1 << 40),
    };
    Setup { configs, first, redial_ms: rng.pick(&[0, 0, 100, 500, 2000]) }
}

fn any_config(rng: &mut Rng) -> ConfigPlan {
    let impatient = [20 + rng.below(40), 3 + rng.below(8), 5 + rng.below(25)];
    ConfigPlan {
        base: false,
        item_bytes_max: rng.pick(&[0, 1, 50, 50, 300]),
        send_log_bytes_max: rng.pick(&[1, 100, 1000, 4000]),
        window_bytes: rng.pick(&[1, 33, 200, 4000]),
        ack_frames_max: rng.pick(&[1, 3, 64]),
        manual_ack: rng.one_in(5),
        patience: if rng.one_in(5) { impatient } else { PATIENT },
    }
}

/// How often each kind happens, when it does.
const WEIGHTS: [(Kind, u64); 28] = [
    (Kind::Send, 24),
    (Kind::Read, 14),
    (Kind::ReadAlways, 3),
    (Kind::Wait, 20),
    (Kind::WaitLong, 2),
    (Kind::Sleep, 2),
    (Kind::Cut, 5),
    (Kind::CutAfter, 4),
    (Kind::HalfOpen, 4),
    (Kind::Freeze, 3),
    (Kind::CloseLink, 3),
    (Kind::Stall, 6),
    (Kind::LoseItem, 2),
    (Kind::LoseReplies, 4),
    (Kind::Delay, 3),
    (Kind::Capacity, 1),
    (Kind::Offline, 3),
    (Kind::Skip, 6),
    (Kind::Migrate, 4),
    (Kind::CallBack, 3),
    (Kind::Echo, 4),
    (Kind::Abandon, 3),
    (Kind::Progress, 1),
    (Kind::Close, 2),
    (Kind::Abort, 1),
    (Kind::GoAway, 1),
    (Kind::AckWanted, 2),
    (Kind::Window, 2),
];

/// Each run has its own mixture: what never happens in it cannot hide what else would.
fn any_weights(rng: &mut Rng) -> Vec<(Kind, u64)> {
    let rare = rng.one_in(3);
    let mut weights = WEIGHTS.to_vec();
    for (kind, weight) in &mut weights {
        let basic = matches!(kind, Kind::Send | Kind::Read | Kind::Wait);
        let ends_sessions = matches!(kind, Kind::Close | Kind::Abort);
        if !basic && (rng.one_in(3) || (ends_sessions && !rare)) {
            *weight = 0;
        }
    }
    weights
}

fn any_op(rng: &mut Rng, weights: &[(Kind, u64)], clients: usize) -> Op {
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut ticket = rng.below(total);
    let kind = weights.iter().find(|(_, weight)| {
        let found = ticket < *weight;
        ticket = ticket.wrapping_sub(*weight);
        found
    });
    let kind = kind.expect("the ticket is less than the sum").0;
    Op { kind, client: rng.index(clients), end: rng.index(2), n: any_number(rng, kind) }
}

fn any_number(rng: &mut Rng, kind: Kind) -> u64 {
    match kind {
        Kind::Send | Kind::Read => 1 + rng.below(6),
        Kind::Wait => rng.below(120),
        Kind::WaitLong => rng.below(60),
        Kind::Sleep => 1 + rng.below(60),
        Kind::CutAfter => rng.below(300),
        Kind::LoseReplies => rng.below(4),
        Kind::Delay => rng.below(300),
        Kind::Capacity => rng.pick(&[1, 3, 100]),
        Kind::Skip => rng.below(8),
        Kind::Window => rng.pick(&[1, 33, 200, 4000]),
        Kind::GoAway => rng.below(5000),
        _ => rng.below(4),
    }
}

fn any_closes(rng: &mut Rng, clients: usize) -> Vec<Op> {
    const FAULTS: [Kind; 12] = [
        Kind::Cut,
        Kind::CutAfter,
        Kind::HalfOpen,
        Kind::Freeze,
        Kind::CloseLink,
        Kind::Stall,
        Kind::LoseReplies,
        Kind::Skip,
        Kind::Migrate,
        Kind::Echo,
        Kind::Abandon,
        Kind::Wait,
    ];
    let disturbed = rng.one_in(2);
    let mut ops = Vec::new();
    for client in 0..clients {
        let first = rng.index(2);
        for end in [first, 1 - first] {
            ops.push(Op { kind: Kind::Close, client, end, n: 0 });
            for _ in 0..rng.below(3) {
                let kind = if disturbed { rng.pick(&FAULTS) } else { Kind::Wait };
                ops.push(Op { kind, client, end: rng.index(2), n: any_number(rng, kind) });
            }
        }
    }
    ops
}
