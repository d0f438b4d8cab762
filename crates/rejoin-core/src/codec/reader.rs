//! Reads postcard's primitives from bytes that a peer chose, and keeps count of what they cost.
//!
//! Both postcard codecs decode through this reader, so that they accept the same bytes and share
//! the same limits. It knows neither Facet nor serde, and nothing of types beyond primitives.
//!
//! Three things could otherwise be had for a few bytes: a long run of elements that take no bytes
//! at all, such as a `Vec<()>` of a length of 2⁶⁰; a value nested so deeply that building it
//! overflows the stack; and an allocation for a length that is only claimed. The first two have
//! their limits here, and nothing is ever allocated for a length.

use thiserror::Error;

/// How many elements that take no bytes one message may hold, over all its collections.
pub(crate) const EMPTY_ELEMENTS_MAX: u32 = 4096;

/// Why bytes are not the postcard encoding of a value.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum ReadError {
    #[error("the bytes end inside the message")]
    Truncated,
    #[error("{count} bytes follow the message")]
    Trailing { count: usize },
    #[error("a number does not fit its type")]
    Overflow,
    #[error("a flag is neither 0 nor 1")]
    BadFlag,
    #[error("a string is not UTF-8")]
    BadUtf8,
    #[error("a character is not exactly one")]
    BadChar,
    #[error("there is no such variant")]
    BadVariant,
    #[error("more than {EMPTY_ELEMENTS_MAX} elements take no bytes")]
    EmptyElements,
    #[error("values are nested too deeply")]
    TooDeep,
    #[error("the type needs an encoding that describes itself")]
    NotSelfDescribing,
    #[cfg(feature = "serde")]
    #[error("{0}")]
    Type(String),
}

/// A position in the bytes of one message, with what may still be spent on it.
#[derive(Debug)]
pub(crate) struct Reader<'de> {
    bytes: &'de [u8],
    empty_elements_left: u32,
    depth_left: u32,
}

/// Where the previous element of a collection ended, to tell whether the next one took bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ElementEnd(usize);

impl ElementEnd {
    /// There is no previous element, and none is ending either.
    pub(crate) const NONE: Self = Self(usize::MAX);
}

impl<'de> Reader<'de> {
    /// Reads from `bytes` a value that is nested at most `depth_max` levels deep.
    pub(crate) fn new(bytes: &'de [u8], depth_max: u32) -> Self {
        Self { bytes, empty_elements_left: EMPTY_ELEMENTS_MAX, depth_left: depth_max }
    }

    /// Succeeds when every byte was read.
    pub(crate) fn finish(&self) -> Result<(), ReadError> {
        match self.bytes.len() {
            0 => Ok(()),
            count => Err(ReadError::Trailing { count }),
        }
    }

    /// How many bytes were not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Enters `levels` of nesting.
    pub(crate) fn enter(&mut self, levels: u32) -> Result<(), ReadError> {
        self.depth_left = self.depth_left.checked_sub(levels).ok_or(ReadError::TooDeep)?;
        Ok(())
    }

    /// Leaves `levels` of nesting that were entered before.
    pub(crate) fn leave(&mut self, levels: u32) {
        self.depth_left += levels;
    }

    pub(crate) fn byte(&mut self) -> Result<u8, ReadError> {
        let (&first, rest) = self.bytes.split_first().ok_or(ReadError::Truncated)?;
        self.bytes = rest;
        Ok(first)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'de [u8], ReadError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(ReadError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Everything that was not read yet.
    pub(crate) fn take_rest(&mut self) -> &'de [u8] {
        std::mem::take(&mut self.bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (&taken, rest) = self.bytes.split_first_chunk().ok_or(ReadError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// An unsigned number of at most `bits` (and at most 64) bits.
    pub(crate) fn varint(&mut self, bits: u32) -> Result<u64, ReadError> {
        let mut value = 0;
        let mut shift = 0;
        while shift < bits {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift + 7 > bits && low >> (bits - shift) != 0 {
                return Err(ReadError::Overflow);
            }
            value |= low << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(ReadError::Overflow)
    }

    pub(crate) fn varint_u128(&mut self) -> Result<u128, ReadError> {
        let mut value = 0;
        let mut shift = 0;
        while shift < 128 {
            let byte = self.byte()?;
            let low = u128::from(byte & 0x7f);
            if shift + 7 > 128 && low >> (128 - shift) != 0 {
                return Err(ReadError::Overflow);
            }
            value |= low << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(ReadError::Overflow)
    }

    /// A signed number of at most `bits` (and at most 64) bits.
    pub(crate) fn zigzag(&mut self, bits: u32) -> Result<i64, ReadError> {
        let raw = self.varint(bits)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(crate) fn zigzag_i128(&mut self) -> Result<i128, ReadError> {
        let raw = self.varint_u128()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(crate) fn f32(&mut self) -> Result<f32, ReadError> {
        self.array().map(f32::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64, ReadError> {
        self.array().map(f64::from_le_bytes)
    }

    /// A byte that must be 0 or 1: a boolean, or whether an option holds a value.
    pub(crate) fn flag(&mut self) -> Result<bool, ReadError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ReadError::BadFlag),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'de [u8], ReadError> {
        let count = self.varint(usize::BITS)?;
        self.take(usize::try_from(count).map_err(|_| ReadError::Truncated)?)
    }

    pub(crate) fn str(&mut self) -> Result<&'de str, ReadError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ReadError::BadUtf8)
    }

    pub(crate) fn char(&mut self) -> Result<char, ReadError> {
        let mut chars = self.str()?.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(ReadError::BadChar),
        }
    }

    /// The length of a collection, refused at once when the bytes that are left cannot hold it.
    pub(crate) fn length(&mut self) -> Result<u64, ReadError> {
        let count = self.varint(usize::BITS)?;
        let most = self.bytes.len() as u64 + u64::from(self.empty_elements_left);
        if count > most { Err(ReadError::Truncated) } else { Ok(count) }
    }

    /// Remembers where the first element of a collection begins.
    #[cfg(feature = "serde")]
    pub(crate) fn first_element(&self) -> ElementEnd {
        ElementEnd(self.bytes.len())
    }

    /// Notes that an element of a collection was read, and charges for one that took no bytes.
    pub(crate) fn end_element(&mut self, previous: ElementEnd) -> Result<ElementEnd, ReadError> {
        if previous.0 == self.bytes.len() {
            self.empty_elements_left =
                self.empty_elements_left.checked_sub(1).ok_or(ReadError::EmptyElements)?;
        }
        Ok(ElementEnd(self.bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bits: u32, bytes: &[u8], expected: Result<u64, ReadError>) {
        assert_eq!(Reader::new(bytes, 0).varint(bits), expected, "{bits} bits of {bytes:02x?}");
    }

    #[test]
    fn numbers_must_fit_their_type() {
        check(16, &[0xff, 0xff, 0x03], Ok(0xffff));
        check(16, &[0xff, 0xff, 0x04], Err(ReadError::Overflow));
        check(16, &[0x80, 0x80, 0x80, 0x00], Err(ReadError::Overflow));
        check(16, &[0x80, 0x80], Err(ReadError::Truncated));
        check(32, &[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(0xffff_ffff));
        check(32, &[0xff, 0xff, 0xff, 0xff, 0x1f], Err(ReadError::Overflow));
        check(64, &[0xff; 9], Err(ReadError::Truncated));
        check(64, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Ok(u64::MAX));
        check(
            64,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            Err(ReadError::Overflow),
        );
    }

    #[test]
    fn signed_numbers_reach_their_extremes() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0x03], 0).zigzag(16), Ok(i64::from(i16::MIN)));
        assert_eq!(Reader::new(&[0xfe, 0xff, 0x03], 0).zigzag(16), Ok(i64::from(i16::MAX)));
        let mut least = [0xff; 19];
        least[18] = 0x03;
        assert_eq!(Reader::new(&least, 0).zigzag_i128(), Ok(i128::MIN));
    }

    #[test]
    fn a_length_needs_bytes_to_hold_it() {
        assert_eq!(Reader::new(&[2, 0, 0], 0).length(), Ok(2));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0x7f], 0).length(), Err(ReadError::Truncated));
    }
}
