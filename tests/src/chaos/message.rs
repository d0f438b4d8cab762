//! The messages that the peers exchange, and the running check of what arrives. Knows nothing of
//! conduits.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const SESSION_BYTES: usize = 8;
const NUMBER_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
/// What a message has besides its filler.
const HEAD_BYTES: usize = SESSION_BYTES + NUMBER_BYTES + CHECKSUM_BYTES;

/// Set in the session of what the server sends.
const FROM_SERVER: u64 = 1 << 63;

/// Which end of a session has sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Message `number` of what `from` sends in `session`, with so many bytes of filler.
pub(super) fn encode(from: Side, session: u64, number: u64, filler_bytes: usize) -> Vec<u8> {
    let session = if from == Side::Server { session | FROM_SERVER } else { session };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + filler_bytes);
    bytes.extend(session.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend([0; CHECKSUM_BYTES]);
    bytes.extend((number..).take(filler_bytes).map(|value| value.to_le_bytes()[0]));
    let checksum = checksum(&bytes);
    bytes[HEAD_BYTES - CHECKSUM_BYTES..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Who has sent `bytes`, in which session and under which number; `None` for what nobody has sent.
pub(super) fn decode(bytes: &[u8]) -> Option<(Side, u64, u64)> {
    let (session, rest) = bytes.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (stated, _) = rest.split_first_chunk()?;
    let (session, number) = (u64::from_le_bytes(*session), u64::from_le_bytes(*number));
    let from = if session & FROM_SERVER == 0 { Side::Client } else { Side::Server };
    (u32::from_le_bytes(*stated) == checksum(bytes)).then_some((
        from,
        session & !FROM_SERVER,
        number,
    ))
}

/// Of everything but the checksum.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..HEAD_BYTES - CHECKSUM_BYTES]);
    hasher.update(&bytes[HEAD_BYTES..]);
    hasher.finalize()
}

/// The running check of one direction of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrivals {
    /// The number that is to come next.
    pub(super) next: u64,
    /// Those that were left out.
    missing: BTreeSet<u64>,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// With other bytes than were sent, or of another session.
    pub(super) damaged: u64,
}

/// So many missing numbers are remembered, to tell what comes late from what comes twice.
const MISSING_MAX: usize = 1000;

impl Arrivals {
    /// Takes a message that came in a session, of which it is to be.
    pub(super) fn take(&mut self, from: Side, session: u64, bytes: &[u8]) {
        let Some(number) = decode(bytes)
            .filter(|(sender, of, _)| (*sender, *of) == (from, session))
            .map(|(_, _, number)| number)
        else {
            self.damaged += 1;
            return;
        };
        if number >= self.next {
            self.missing.extend((self.next..number).take(MISSING_MAX));
            self.next = number + 1;
        } else if self.missing.remove(&number) {
            self.out_of_order += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// How many numbers were left out and did not come later.
    pub(super) fn lost(&self) -> u64 {
        self.missing.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: u64 = 7;

    fn arrivals(numbers: &[u64]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for &number in numbers {
            arrivals.take(Side::Client, SESSION, &encode(Side::Client, SESSION, number, 100));
        }
        arrivals
    }

    #[track_caller]
    fn check(numbers: &[u64], lost: u64, duplicated: u64, out_of_order: u64) {
        let arrivals = arrivals(numbers);
        let found = (arrivals.lost(), arrivals.duplicated, arrivals.out_of_order);
        assert_eq!((found, arrivals.damaged), ((lost, duplicated, out_of_order), 0));
    }

    #[test]
    fn tells_what_is_lost_from_what_is_repeated_and_what_is_late() {
        check(&[0, 1, 2, 3], 0, 0, 0);
        check(&[0, 2, 3], 1, 0, 0);
        check(&[1, 2], 1, 0, 0);
        check(&[0, 1, 1, 2], 0, 1, 0);
        check(&[0, 2, 1, 3], 0, 0, 1);
        check(&[0, 2, 1, 1, 4], 1, 1, 1);
    }

    #[test]
    fn notices_every_byte_that_is_not_as_sent() {
        let sent = encode(Side::Client, SESSION, 0, 5);
        for index in 0..sent.len() {
            let mut bytes = sent.clone();
            bytes[index] ^= 1;
            let mut arrivals = Arrivals::default();
            arrivals.take(Side::Client, SESSION, &bytes);
            assert_eq!(arrivals, Arrivals { damaged: 1, ..Arrivals::default() }, "byte {index}");
        }
        for bytes in [&sent[..0], &sent[..HEAD_BYTES - 1], &sent[..sent.len() - 1]] {
            assert_eq!(decode(bytes), None);
        }
    }

    #[test]
    fn notices_what_belongs_to_another_session_or_was_sent_by_this_side() {
        for (from, session) in [(Side::Client, SESSION + 1), (Side::Server, SESSION)] {
            let mut arrivals = Arrivals::default();
            arrivals.take(Side::Client, SESSION, &encode(from, session, 0, 0));
            assert_eq!(arrivals.damaged, 1);
        }
    }
}
