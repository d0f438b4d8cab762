//! Item numbers: 64-bit inside, 32-bit on the wire.
//!
//! A session never wraps its own count; only the low 32 bits travel, and the receiving side finds
//! the full number again with serial-number arithmetic (RFC 1982). That is unambiguous as long as
//! fewer than 2³¹ items are in flight, which the bound on the send log guarantees by far.

use std::fmt;

use crate::protocol::error::FrameError;

/// The place of an item in one direction of a session, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl From<u64> for Position {
    fn from(count: u64) -> Self {
        Self::new(count)
    }
}

impl From<Position> for u64 {
    fn from(position: Position) -> Self {
        position.get()
    }
}

impl Position {
    /// The place of the item before which `count` items were sent.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// How many items come before this one.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number that travels.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what travels")]
    pub const fn seq(self) -> PacketSeq {
        PacketSeq(self.0 as u32)
    }

    /// The next place. Stays at the last one, which no session gets to, and applications may name.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; `None` for the first.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// An item's number on the wire: the low 32 bits of its [`Position`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PacketSeq(pub u32);

impl PacketSeq {
    /// The position nearest to `near` that has this number.
    ///
    /// `None` when that would lie before the first item.
    #[must_use]
    pub fn expand(self, near: Position) -> Option<Position> {
        let ahead = self.0.wrapping_sub(near.seq().0).cast_signed();
        near.0.checked_add_signed(i64::from(ahead)).map(Position)
    }
}

/// Acknowledges every item up to and including the one with this number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketAck {
    /// The last item that the peer's session has.
    pub max_delivered: PacketSeq,
}

/// The most bytes that a 32-bit variable-length integer takes.
pub(crate) const VARINT_U32_MAX: usize = 5;
/// The most bytes of a variable-length integer of 64 bits.
pub(crate) const VARINT_U64_MAX: usize = 10;

/// Appends `value` to `out` as a postcard variable-length integer: seven bits a byte, least
/// significant first, the high bit set on all bytes but the last.
#[inline]
pub(crate) fn put_varint(out: &mut impl Extend<u8>, mut value: u64) {
    while value >= 0x80 {
        out.extend([value.to_le_bytes()[0] | 0x80]);
        value >>= 7;
    }
    out.extend([value.to_le_bytes()[0]]);
}

/// Takes a variable-length integer of at most 32 bits off the front of `bytes`.
#[inline]
pub(crate) fn take_varint_u32(bytes: &mut &[u8]) -> Result<u32, FrameError> {
    let value = take_varint(bytes, VARINT_U32_MAX)?;
    u32::try_from(value).map_err(|_| FrameError::VarintTooLarge)
}

/// Takes a variable-length integer of at most 64 bits off the front of `bytes`.
pub(crate) fn take_varint_u64(bytes: &mut &[u8]) -> Result<u64, FrameError> {
    take_varint(bytes, VARINT_U64_MAX)
}

#[inline]
fn take_varint(bytes: &mut &[u8], len_max: usize) -> Result<u64, FrameError> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(len_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index;
        if (bits << shift) >> shift != bits {
            return Err(FrameError::VarintTooLarge);
        }
        value |= bits << shift;
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < len_max { FrameError::Truncated } else { FrameError::VarintTooLarge })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_to_the_nearest_position_across_the_wrap() {
        #[track_caller]
        fn check(near: u64, seq: u32, expected: Option<u64>) {
            assert_eq!(
                PacketSeq(seq).expand(Position::new(near)).map(Position::get),
                expected,
                "{seq:#x} near {near:#x}"
            );
        }
        check(0, 0, Some(0));
        check(0, 5, Some(5));
        check(0, u32::MAX, None);
        check(0xffff_ffff, 0, Some(0x1_0000_0000));
        check(0x1_0000_0000, u32::MAX, Some(0xffff_ffff));
        check(0x1_0000_0002, 1, Some(0x1_0000_0001));
        check(0x7_ffff_fff0, 0x10, Some(0x8_0000_0010));
        check(u64::MAX, 0, None);
    }

    #[test]
    fn varints_survive_a_round_trip_at_every_length() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                let mut rest = bytes.as_slice();
                assert_eq!(take_varint_u64(&mut rest), Ok(value));
                assert!(rest.is_empty());
                for cut in 0..bytes.len() {
                    assert_eq!(take_varint_u64(&mut &bytes[..cut]), Err(FrameError::Truncated));
                }
            }
        }
    }

    #[test]
    fn a_varint_past_its_width_is_an_error() {
        assert_eq!(
            take_varint_u32(&mut [0xff, 0xff, 0xff, 0xff, 0x10].as_slice()),
            Err(FrameError::VarintTooLarge)
        );
        assert_eq!(
            take_varint_u32(&mut [0x80, 0x80, 0x80, 0x80, 0x80, 0].as_slice()),
            Err(FrameError::VarintTooLarge)
        );
        assert_eq!(take_varint_u64(&mut [0xff; 11].as_slice()), Err(FrameError::VarintTooLarge));
    }
}
