//! The default codec: postcard, by way of Facet's reflection.
//!
//! Writing is `facet-postcard`'s; reading is `facet-format` over a parser of our own, for the
//! reasons that [`facet_parser`](super::facet_parser) gives.

use bytes::BytesMut;
use facet::Facet;
use facet_format::FormatDeserializer;
use facet_postcard::{SerializeError, Writer, to_writer_fallible};

use super::facet_parser::Parser;
use super::{Codec, DecodeError, EncodeError};
use crate::conduit::MsgFamily;
use crate::selfref::BorrowsFromInput;

/// [Postcard](https://postcard.jamesmunns.com/wire-format) for owned messages that derive
/// [`Facet`].
///
/// The bytes are those that serde's postcard gives for the same type, whatever the type is made
/// of: structs, tuples, enums, options, numbers of any width, `char`, strings, sequences, arrays
/// and maps.
///
/// # Limits
///
/// - What came from a peer is refused when it nests more than 32 values in each other, counting an
///   enum as two, because reflection needs much stack; or when it holds more than 4096 elements of
///   collections that take no bytes, such as those of a `Vec<()>`.
/// - Building a message allocates at most in proportion to the bytes, by a factor that is the
///   largest size of an element in the message's type.
/// - Types that need an encoding that describes itself are refused: enums that are untagged or
///   tagged inside, flattened fields, dynamic values.
/// - A reference in an owned message, such as a `&'static str`, can be sent but not received.
/// - The payload of an `f32` that is not a number is kept only where it is a quiet one.
#[derive(Debug)]
pub struct FacetPostcard;

impl<F, T> Codec<F> for FacetPostcard
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
    T: Facet<'static>,
{
    fn encode(item: &T, out: &mut BytesMut) -> Result<(), EncodeError> {
        to_writer_fallible(item, &mut Append(out)).map_err(EncodeError::new)
    }

    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        decode(Parser::owning(bytes))
    }
}

/// [`FacetPostcard`] for messages that borrow from the bytes in which they were received.
///
/// The family has to vouch for its lifetimes, by [`BorrowsFromInput`].
#[derive(Debug)]
pub struct FacetPostcardBorrowed;

impl<F> Codec<F> for FacetPostcardBorrowed
where
    F: BorrowsFromInput,
    for<'a> F::Msg<'a>: Facet<'a>,
{
    fn encode(item: &F::Msg<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        to_writer_fallible(item, &mut Append(out)).map_err(EncodeError::new)
    }

    fn decode<'a>(bytes: &'a [u8]) -> Result<F::Msg<'a>, DecodeError> {
        decode(Parser::borrowing(bytes))
    }
}

fn decode<'out, T: Facet<'out>>(mut parser: Parser<'_, 'out>) -> Result<T, DecodeError> {
    // The buffer is for formats that describe themselves. Its default size costs tens of kilobytes
    // per message, and postcard never uses it.
    let item = FormatDeserializer::with_buffer_capacity(&mut parser, 0)
        .deserialize()
        .map_err(DecodeError::new)?;
    parser.finish().map_err(DecodeError::new)?;
    Ok(item)
}

/// Appends to the caller's buffer, without one in between.
struct Append<'a>(&'a mut BytesMut);

impl Writer for Append<'_> {
    fn write_byte(&mut self, byte: u8) -> Result<(), SerializeError> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), SerializeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    #[track_caller]
    fn check_refused<T: Facet<'static> + Debug + Send>(bytes: &[u8], expected: &str) {
        let error = <FacetPostcard as Codec<T>>::decode(bytes).expect_err("a refusal");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains(expected), "{cause}");
    }

    #[test]
    fn types_that_postcard_cannot_tell_apart_are_refused() {
        #[derive(Facet, Debug)]
        #[facet(untagged)]
        #[repr(u8)]
        #[expect(dead_code, reason = "only decoded into")]
        enum Untagged {
            Number(u8),
            Text(String),
        }
        #[derive(Facet, Debug)]
        #[facet(tag = "kind")]
        #[repr(u8)]
        #[expect(dead_code, reason = "only decoded into")]
        enum Tagged {
            Number { value: u8 },
            Text { value: String },
        }
        #[derive(Facet, Debug)]
        struct Inner {
            a: u8,
        }
        #[derive(Facet, Debug)]
        struct Flat {
            #[facet(flatten)]
            inner: Inner,
        }
        for bytes in [&[][..], &[0], &[0, 1], &[1, 1, b'x'], &[0xff; 20]] {
            check_refused::<Untagged>(bytes, "");
            check_refused::<Tagged>(bytes, "");
            check_refused::<Flat>(bytes, "");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        check_refused::<u16>(&[0x80, 0x80, 0x04], "a number does not fit its type");
        check_refused::<bool>(&[2], "a flag is neither 0 nor 1");
        check_refused::<String>(&[1, 0xff], "a string is not UTF-8");
        check_refused::<u64>(&[0x80], "the bytes end inside the message");
        check_refused::<u8>(&[1, 2, 3], "2 bytes follow the message");
    }

    #[test]
    fn encoding_only_appends() {
        let mut out = BytesMut::from(&b"head"[..]);
        <FacetPostcard as Codec<u16>>::encode(&300, &mut out).unwrap();
        assert_eq!(&out[..], b"head\xac\x02");
    }
}
