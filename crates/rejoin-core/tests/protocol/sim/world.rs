//! A pair, the two applications on it, and what must hold at all times.

use rejoin_core::protocol::{Ending, LossReason, Position, Profile, SessionConfig, item_cost};

use crate::pair::{Pair, SECOND, Side, batch, config};
use crate::sim::rng::Rng;

/// What one application has done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct App {
    pub(crate) sent: u64,
    pub(crate) closed: bool,
    /// How many of the received items were compared with what was sent.
    compared: usize,
    /// How many of the received items were read, and acknowledged in manual mode.
    read: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) pair: Pair,
    pub(crate) apps: [App; 2],
    pub(crate) configs: [SessionConfig; 2],
    pub(crate) first: u64,
    /// How often a hello was repeated by the network.
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, rng: &mut Rng) -> Self {
        let configs = [any_config(rng), any_config(rng)];
        let first = match rng.below(5) {
            0 => 0,
            1 => (1 << 32) - rng.below(30),
            2 => (1 << 31) - rng.below(30),
            3 => (7 << 32) - rng.below(30),
            _ => rng.below(1 << 40),
        };
        let [initiator, acceptor] = configs.clone();
        let mut pair = Pair::starting_at(first, initiator, acceptor);
        pair.redial_delay = SECOND / 10 * u32::try_from(rng.below(20)).expect("small");
        pair.capacity = rng.pick(&[1, 3, 100]);
        Self { pair, apps: [App::default(); 2], configs, first, seed }
    }

    /// Whether both sides exist and the initiator knows of it.
    pub(crate) fn is_met(&self) -> bool {
        self.pair.sides[0].session.profile().is_some()
    }

    pub(crate) fn is_base(&self) -> bool {
        self.configs.iter().any(|config| config.profile == Profile::Base)
    }

    /// Whether this application can send and hand over at all.
    pub(crate) fn is_open(&mut self, end: usize) -> bool {
        self.is_met()
            && !self.apps[end].closed
            && !self.pair.side(end).session.is_ended()
            && !self
                .pair
                .side(end)
                .events
                .iter()
                .any(|event| matches!(event, rejoin_core::protocol::Event::PeerClosed(_)))
    }

    /// Sends up to `count` items, as many as the log has room for.
    pub(crate) fn send(&mut self, end: usize, count: u64) {
        if !self.is_open(end) {
            return;
        }
        let bytes_max = self.item_bytes_max();
        let log_max = self.configs[end].send_log_bytes_max as u64;
        let mut cost = self.pair.side(end).session.log().cost();
        let mut items = Vec::new();
        for _ in 0..count {
            let item = content(self.seed, end, self.apps[end].sent, bytes_max);
            if cost > 0 && cost + item_cost(item.len()) > log_max {
                break;
            }
            cost += item_cost(item.len());
            self.apps[end].sent += 1;
            items.push(item);
        }
        self.pair.side(end).session.append(&mut batch(items.iter().map(Vec::as_slice)));
    }

    pub(crate) fn read(&mut self, end: usize, count: u64) {
        if !self.is_met() {
            return;
        }
        for _ in 0..count {
            if self.pair.side(end).read_one() {
                self.apps[end].read += 1;
            }
        }
        let read_to = self.first + self.apps[end].read;
        let now = self.pair.now;
        self.pair.side(end).session.acknowledge(now, read_to);
    }

    pub(crate) fn close(&mut self, end: usize) {
        if self.is_open(end) {
            self.apps[end].closed = true;
            self.pair.close(end, "simulated");
        }
    }

    /// What must hold whenever everything is at rest.
    pub(crate) fn check(&mut self) {
        if !self.is_met() {
            return;
        }
        for end in 0..2 {
            self.check_received(end);
            self.check_bounds(end);
            let (mine, theirs) = (self.pair.side(end).session.log().acked(), 1 - end);
            let received = self.pair.side(theirs).session.received();
            assert!(mine <= received, "{end}: {mine} acknowledged, {received} received");
            if self.configs[theirs].manual_ack && !self.is_base() {
                let read_to = self.first + self.apps[theirs].read;
                assert!(mine <= read_to, "{end}: acknowledged before the application said so");
            }
            match self.pair.side(end).ending().cloned() {
                None => {}
                Some(Ending::Closed) => {
                    assert_eq!(received, self.first + self.apps[end].sent, "{end}: lost silently");
                }
                // The last word of all can be lost, and whoever said it does not wait to hear so.
                Some(Ending::Lost(LossReason::LingerExpired)) if self.has_closed(theirs) => {}
                Some(lost) => panic!("{end}: {lost:?}"),
            }
            assert!(self.pair.side(end).violations.is_empty(), "{:?}", self.pair.side(end));
        }
    }

    pub(crate) fn has_closed(&mut self, end: usize) -> bool {
        self.pair.side(end).ending() == Some(&Ending::Closed)
    }

    fn check_received(&mut self, end: usize) {
        let bytes_max = self.item_bytes_max();
        let (seed, sent) = (self.seed, self.apps[1 - end].sent);
        let compared = self.apps[end].compared;
        let side = self.pair.side(end);
        assert!(side.received.len() as u64 <= sent, "{end}: more received than sent");
        for (n, item) in side.received.iter().enumerate().skip(compared) {
            assert!(
                *item == content(seed, 1 - end, n as u64, bytes_max),
                "{end}: item {n} differs"
            );
        }
        self.apps[end].compared = side.received.len();
    }

    fn check_bounds(&mut self, end: usize) {
        let (window, base) = (self.configs[end].window_bytes as u64, self.is_base());
        let largest = item_cost(self.item_bytes_max());
        let log_max = self.configs[end].send_log_bytes_max as u64 + largest;
        let session = &self.pair.side(end).session;
        assert!(session.log().cost() <= log_max, "{end}: the log is too large");
        assert!(base || session.inbox_cost() < window + largest, "{end}: the inbox is too large");
    }

    /// What both sides take.
    fn item_bytes_max(&self) -> usize {
        self.configs[0].item_bytes_max.min(self.configs[1].item_bytes_max)
    }

    /// Whether nothing is on its way or waits to be read.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.is_met()
            && (0..2).all(|end| {
                let side = self.pair.side(end);
                side.unread.is_empty() && side.session.log().is_empty()
            })
    }

    /// Everything that was sent has arrived, and both sides know.
    pub(crate) fn check_quiet(&mut self) {
        for end in 0..2 {
            let sent = self.first + self.apps[end].sent;
            let Side { session, .. } = self.pair.side(end);
            assert_eq!(session.log().acked(), sent, "{end}: not everything was acknowledged");
            assert!(session.log().is_empty());
            assert_eq!(self.pair.side(1 - end).session.received(), sent, "{end}: not all arrived");
            assert!(self.pair.side(end).unread.is_empty());
        }
        self.check();
    }
}

fn any_config(rng: &mut Rng) -> SessionConfig {
    SessionConfig {
        profile: if rng.one_in(6) { Profile::Base } else { Profile::Extended },
        item_bytes_max: rng.pick(&[0, 1, 50, 300]),
        send_log_bytes_max: rng.pick(&[1, 100, 1000, 4000]),
        window_bytes: rng.pick(&[1, 33, 200, 4000]),
        ack_frames_max: rng.pick(&[1, 3, 64]),
        linger: 1000 * SECOND,
        outage_max: 10_000 * SECOND,
        unproved_max: 10_000 * SECOND,
        manual_ack: rng.one_in(5),
        ..config()
    }
}

/// The bytes of item `n` of one direction.
fn content(seed: u64, end: usize, n: u64, bytes_max: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ (n << 8) ^ ((end as u64) << 60));
    let len = rng.below(bytes_max as u64 + 1);
    (0..len).map(|_| rng.next().to_le_bytes()[0]).collect()
}

/// For the assertion that wraps are in fact crossed.
pub(crate) fn crosses_wrap(first: u64, sent: u64) -> bool {
    Position::new(first).seq().0.checked_add(u32::try_from(sent).expect("few items")).is_none()
}
