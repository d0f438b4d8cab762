//! Which fault comes next: a deck of all that a transport can suffer, shuffled by the seed and dealt
//! again and again, so that none is left out for long.

use crate::sim::rng::Rng;

/// What is done to a transport or to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Every connection ends in order.
    Cut,
    /// Every connection is reset.
    Reset,
    /// One direction ends in order.
    HalfClose,
    /// Nothing passes for a while; then it goes on.
    Stall,
    /// Nothing passes any more, and nobody is told.
    BlackHole,
    /// A reset in the middle of whatever comes next.
    CutInside,
    /// The next connection breaks off within its first bytes.
    CutHandshake,
    /// New connections are refused for a while.
    Refuse,
    /// New connections get no answer for a while.
    Hold,
    /// Bytes take long.
    Delay,
    /// Writes are taken to pieces.
    Split,
    /// Writes are put together.
    Coalesce,
    /// Few bytes a second.
    Bandwidth,
    /// A cable is pulled out and plugged in again.
    Replug,
    /// A cable is pulled out for a while.
    Unplug,
    /// A bit is flipped.
    Flip,
    /// Bytes are lost.
    Lose,
    /// Bytes come in between.
    Insert,
    /// A break on the line.
    Break,
    /// Random noise for a while.
    Noise,
    /// A process is stopped for a while.
    Freeze,
    /// The server's process is ended and started again.
    RestartServer,
    /// A client's process is killed and started again.
    RestartClient,
}

impl Fault {
    /// As it is counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::HalfClose => "half_close",
            Self::Stall => "stall",
            Self::BlackHole => "black_hole",
            Self::CutInside => "cut_inside",
            Self::CutHandshake => "cut_handshake",
            Self::Refuse => "refuse",
            Self::Hold => "hold",
            Self::Delay => "delay",
            Self::Split => "split",
            Self::Coalesce => "coalesce",
            Self::Bandwidth => "bandwidth",
            Self::Replug => "replug",
            Self::Unplug => "unplug",
            Self::Flip => "flip",
            Self::Lose => "lose",
            Self::Insert => "insert",
            Self::Break => "break",
            Self::Noise => "noise",
            Self::Freeze => "freeze",
            Self::RestartServer => "restart_server",
            Self::RestartClient => "restart_client",
        }
    }
}

/// How often each comes in a deck.
const PROXY: &[(Fault, usize)] = &[
    (Fault::Cut, 3),
    (Fault::Reset, 3),
    (Fault::HalfClose, 2),
    (Fault::Stall, 2),
    (Fault::BlackHole, 2),
    (Fault::CutInside, 4),
    (Fault::CutHandshake, 2),
    (Fault::Refuse, 1),
    (Fault::Hold, 1),
    (Fault::Delay, 2),
    (Fault::Split, 2),
    (Fault::Coalesce, 2),
    (Fault::Bandwidth, 2),
];
const CABLE: &[(Fault, usize)] = &[
    (Fault::Replug, 3),
    (Fault::Unplug, 2),
    (Fault::Stall, 2),
    (Fault::BlackHole, 2),
    (Fault::Flip, 4),
    (Fault::Lose, 3),
    (Fault::Insert, 3),
    (Fault::Break, 2),
    (Fault::Noise, 2),
    (Fault::Bandwidth, 2),
];
const PROCESSES: &[(Fault, usize)] =
    &[(Fault::Freeze, 3), (Fault::RestartServer, 1), (Fault::RestartClient, 1)];

/// Deals faults.
#[derive(Debug)]
pub(super) struct Deck {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
}

impl Deck {
    /// For connections through a proxy, or for a cable.
    pub(super) fn new(has_proxy: bool) -> Self {
        let medium = if has_proxy { PROXY } else { CABLE };
        let all = medium.iter().chain(PROCESSES);
        let kinds = all.flat_map(|&(fault, times)| std::iter::repeat_n(fault, times)).collect();
        Self { kinds, left: Vec::new() }
    }

    pub(super) fn deal(&mut self, rng: &mut Rng) -> Fault {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        self.left.swap_remove(rng.index(self.left.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deal_has_every_fault_and_follows_from_the_seed() {
        for has_proxy in [true, false] {
            let deal = |seed| {
                let (mut deck, mut rng) = (Deck::new(has_proxy), Rng::new(seed));
                (0..deck.kinds.len()).map(|_| deck.deal(&mut rng)).collect::<Vec<_>>()
            };
            let mut sorted = deal(1);
            sorted.sort_unstable();
            let mut kinds = Deck::new(has_proxy).kinds;
            kinds.sort_unstable();
            assert_eq!(sorted, kinds);
            assert_eq!(deal(1), deal(1));
            assert_ne!(deal(1), deal(2));
        }
    }
}
