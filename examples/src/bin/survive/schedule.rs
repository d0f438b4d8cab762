//! Which cuts there will be: a pure function of the options. Nothing here knows the time, or how
//! far a run has come.

use std::fmt;

use rejoin_conformance::proxy::{Direction, Fault};

use crate::options::Options;

/// The bytes that each side's hello takes on the wire: a length of four bytes, and the hello.
const HELLO_BYTES: u64 = 4 + 25;

/// How many messages, at most, are kept for being sent while a cut happens.
const SPARE_MAX: u64 = 8;

/// What a cut interrupts, or how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The stream ends in good order, in one direction or in both.
    Fin,
    /// The connection is reset.
    Reset,
    /// Nothing comes through any more, and nobody is told.
    Silence,
    /// The connection ends behind the first bytes of a frame.
    InsideFrame,
    /// The connection ends, and the next one does inside its handshake.
    InsideHandshake,
}

const KINDS: [Kind; 5] =
    [Kind::Fin, Kind::Reset, Kind::Silence, Kind::InsideFrame, Kind::InsideHandshake];

/// One cut: where it falls, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedCut {
    pub(crate) kind: Kind,
    /// The direction whose bytes are counted, and in which a half is closed, a frame torn, or a
    /// hello cut off.
    pub(crate) direction: Direction,
    /// How the connection ends.
    pub(crate) fault: Fault,
    /// Once this many messages were received in `direction`, …
    pub(crate) after_messages: u64,
    /// … the connection is stopped behind this many more bytes.
    pub(crate) after_bytes: u64,
    /// For a cut inside a handshake: how much of the hello passes.
    pub(crate) hello_bytes: u64,
    /// How many messages either side may send before the connection is stopped. The messages from
    /// `after_messages` up to here make up at least `after_bytes`.
    pub(crate) open_to: u64,
    /// Where either side waits for the next cut to be prepared. The messages between `open_to` and
    /// here are sent while this cut happens.
    pub(crate) next: u64,
}

/// The cuts of a run with these options, in order; none where there is no proxy to do them.
///
/// Each ten in a row have every kind in both directions. They are spread over all messages.
pub(crate) fn schedule(options: &Options) -> Vec<PlannedCut> {
    if !options.transport.has_proxy() {
        return Vec::new();
    }
    let cuts = u64::from(options.cuts);
    let mut random = Random(options.seed);
    let positions: Vec<u64> = (0..cuts)
        .map(|index| {
            let first = index * options.messages / cuts;
            let share = (index + 1) * options.messages / cuts - first;
            first + random.below(share / 4 + 1)
        })
        .collect();
    let mut variants = Vec::new();
    let mut schedule = Vec::new();
    for (index, after_messages) in positions.iter().copied().enumerate() {
        if variants.is_empty() {
            variants = shuffled_variants(&mut random);
        }
        let Some((kind, direction)) = variants.pop() else { break };
        let next = positions.get(index + 1).copied().unwrap_or(options.messages);
        let spare = ((next - after_messages) / 3).clamp(1, SPARE_MAX);
        let open_to = next - spare;
        let bytes = (open_to - after_messages) * u64::from(options.size);
        schedule.push(PlannedCut {
            kind,
            direction,
            fault: fault(kind, direction, &mut random),
            after_messages,
            after_bytes: 1 + random.below(bytes),
            hello_bytes: 1 + random.below(HELLO_BYTES - 1),
            open_to,
            next,
        });
    }
    schedule
}

fn shuffled_variants(random: &mut Random) -> Vec<(Kind, Direction)> {
    let both = [Direction::ToServer, Direction::ToClient];
    random.shuffled(KINDS.into_iter().flat_map(|kind| both.map(|d| (kind, d))))
}

fn fault(kind: Kind, direction: Direction, random: &mut Random) -> Fault {
    const SILENCE: Fault = Fault::Silence { lasting: None };
    let (choices, count): ([Fault; 3], u64) = match kind {
        Kind::Fin => ([Fault::Fin, Fault::HalfClose(direction), Fault::Fin], 2),
        Kind::Reset => ([Fault::Reset; 3], 1),
        Kind::Silence => ([SILENCE; 3], 1),
        Kind::InsideFrame => ([Fault::Fin, Fault::Reset, Fault::Fin], 2),
        Kind::InsideHandshake => ([Fault::Fin, Fault::Reset, SILENCE], 3),
    };
    choices[usize::try_from(random.below(count)).unwrap_or(0)]
}

/// Numbers that follow from a seed: SplitMix64, whose sequence never changes with a library.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `limit`, which is not 0. The bias is far below what a schedule shows.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn shuffled<T>(&mut self, all: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut all: Vec<_> = all.into_iter().collect();
        for place in (1..all.len()).rev() {
            let other = usize::try_from(self.below(place as u64 + 1)).unwrap_or(place);
            all.swap(place, other);
        }
        all
    }
}

impl fmt::Display for PlannedCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::ToServer => "to server",
            Direction::ToClient => "to client",
        };
        let (messages, bytes) = (self.after_messages, self.after_bytes);
        write!(f, "{direction}, {bytes} bytes after message {messages}: ")?;
        match self.kind {
            Kind::Fin | Kind::Reset | Kind::Silence => {}
            Kind::InsideFrame => write!(f, "inside a frame, ")?,
            Kind::InsideHandshake => {
                write!(f, "after {} bytes of the next hello, ", self.hello_bytes)?;
            }
        }
        f.write_str(match self.fault {
            Fault::Fin => "fin",
            Fault::HalfClose(_) => "fin, this direction only",
            Fault::Reset => "reset",
            _ => "silence",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn of(arguments: &str) -> Vec<PlannedCut> {
        let words = std::iter::once("survive").chain(arguments.split_whitespace());
        schedule(&Options::try_parse_from(words).unwrap())
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another_one() {
        assert_eq!(of("--seed 7"), of("--seed 7 --json --verbose"));
        assert_ne!(of("--seed 7"), of("--seed 8"));
    }

    #[test]
    fn a_schedule_is_the_same_on_every_machine_and_in_every_version() {
        let text: Vec<_> = of("--seed 7 --cuts 3").iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "to client, 3429617 bytes after message 1619: reset",
                "to client, 2120560 bytes after message 77176: inside a frame, fin",
                "to client, 2040121 bytes after message 147473: fin, this direction only",
            ]
        );
    }

    #[test]
    fn ten_cuts_have_every_kind_in_both_directions() {
        for seed in 0..100 {
            for ten in of(&format!("--seed {seed}")).chunks(10) {
                for kind in KINDS {
                    for direction in [Direction::ToServer, Direction::ToClient] {
                        let is_it =
                            |cut: &&PlannedCut| cut.kind == kind && cut.direction == direction;
                        assert_eq!(ten.iter().filter(is_it).count(), 1, "{kind:?} {direction:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_cut_has_messages_before_it_during_it_and_after_it() {
        for options in ["", "--messages 160 --size 1", "--cuts 1", "--messages 4 --cuts 1"] {
            for seed in 0..100 {
                let mut position = 0;
                let cuts = of(&format!("{options} --seed {seed}"));
                for cut in &cuts {
                    assert!(position <= cut.after_messages, "{cut:?}");
                    assert!(cut.after_messages < cut.open_to && cut.open_to < cut.next, "{cut:?}");
                    let size = if options.contains("size") { 1 } else { 64 };
                    assert!(cut.after_bytes <= (cut.open_to - cut.after_messages) * size);
                    assert!((1..HELLO_BYTES).contains(&cut.hello_bytes));
                    position = cut.next;
                }
                assert!(cuts.last().is_some_and(|last| last.next >= 4));
            }
        }
    }

    #[test]
    fn no_cuts_are_no_schedule() {
        assert_eq!(of("--cuts 0"), []);
    }
}
