//! Postcard by way of serde, for types that do not derive Facet.
//!
//! Writing is the `postcard` crate's; reading is [`serde_de`](super::serde_de), which has the same
//! limits as the Facet codec.

use std::fmt;
use std::marker::PhantomData;

use bytes::BytesMut;
use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::serde_de::Deserializer;
use super::{Codec, DecodeError, EncodeError};
use crate::conduit::MsgFamily;
use crate::selfref::Owned;

/// The family of an owned type that serde knows.
///
/// ```
/// # fn is_a_family<F: rejoin_core::MsgFamily>() {}
/// use rejoin_core::Serde;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reading { sensor: String, celsius: f64 }
///
/// is_a_family::<Serde<Reading>>();
/// ```
pub struct Serde<T>(PhantomData<fn() -> T>);

impl<T> MsgFamily for Serde<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    type Msg<'a> = T;
    type Codec = SerdePostcard;

    fn shorten<'short, 'long: 'short>(msg: &'short T) -> &'short T {
        msg
    }

    const OWNED: Option<Owned<Self>> = Some(Owned::new());
}

impl<T> fmt::Debug for Serde<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serde")
    }
}

/// [Postcard](https://postcard.jamesmunns.com/wire-format) for messages that implement serde's
/// traits; they may borrow from the bytes in which they were received.
///
/// ```
/// use rejoin_core::{MsgFamily, SerdePostcard};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reading<'a> { sensor: &'a str, celsius: f64 }
///
/// struct ReadingFamily;
///
/// impl MsgFamily for ReadingFamily {
///     type Msg<'a> = Reading<'a>;
///     type Codec = SerdePostcard;
///
///     fn shorten<'short, 'long: 'short>(
///         msg: &'short Reading<'long>,
///     ) -> &'short Reading<'short> {
///         msg
///     }
/// }
/// # fn is_a_family<F: MsgFamily>() {}
/// # is_a_family::<ReadingFamily>();
/// ```
///
/// # Limits
///
/// - What came from a peer is refused when it nests more than 128 values in each other, or holds
///   more than 4096 elements of collections that take no bytes, such as those of a `Vec<()>`.
/// - Building a message allocates at most in proportion to the bytes, by a factor that is the
///   largest size of an element in the message's type, as long as the types' own implementations
///   of serde's traits do; those that serde derives, and its own, do.
/// - Types that need an encoding that describes itself are refused, as in the `postcard` crate.
#[derive(Debug)]
pub struct SerdePostcard;

impl<F> Codec<F> for SerdePostcard
where
    F: MsgFamily,
    for<'a> F::Msg<'a>: Serialize + Deserialize<'a>,
{
    fn encode(item: &F::Msg<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut staging = Staging { out, bytes: [0; STAGED_BYTES], len: 0 };
        postcard::serialize_with_flavor(item, Append(&mut staging)).map_err(EncodeError::new)?;
        staging.flush();
        Ok(())
    }

    fn decode<'a>(bytes: &'a [u8]) -> Result<F::Msg<'a>, DecodeError> {
        let mut deserializer = Deserializer::new(bytes);
        let item = Deserialize::deserialize(&mut deserializer).map_err(DecodeError::new)?;
        deserializer.finish().map_err(DecodeError::new)?;
        Ok(item)
    }
}

/// On the way to the caller's buffer. Most of what is appended is a few bytes; they are put together
/// first, because each growth of the buffer costs more than they do.
struct Staging<'a> {
    out: &'a mut BytesMut,
    bytes: [u8; STAGED_BYTES],
    len: usize,
}

/// Enough for most messages of numbers and names.
const STAGED_BYTES: usize = 64;

impl Staging<'_> {
    fn flush(&mut self) {
        self.out.extend_from_slice(&self.bytes[..self.len]);
        self.len = 0;
    }
}

/// What postcard writes to. Postcard moves it when it is done: so it is a reference, and what was staged
/// just now stays where it is.
struct Append<'a, 'out>(&'a mut Staging<'out>);

impl Flavor for Append<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        let staging = &mut *self.0;
        if data.len() > STAGED_BYTES - staging.len {
            staging.flush();
            if data.len() > STAGED_BYTES {
                staging.out.extend_from_slice(data);
                return Ok(());
            }
        }
        let to = &mut staging.bytes[staging.len..][..data.len()];
        // Most are numbers of one or two bytes, for which a call to copy them is a long way.
        match (&mut *to, data) {
            ([to], [byte]) => *to = *byte,
            ([to, to_next], [byte, next]) => (*to, *to_next) = (*byte, *next),
            _ => to.copy_from_slice(data),
        }
        staging.len += data.len();
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_what_postcard_writes_behind_what_was_there() {
        for before in 0..=STAGED_BYTES {
            for text in 0..=2 * STAGED_BYTES + 1 {
                let message = (vec![7u8; before], "t".repeat(text), u64::MAX, 0.5f64);
                let mut out = BytesMut::from("before ");
                <SerdePostcard as Codec<Serde<_>>>::encode(&message, &mut out).unwrap();
                assert_eq!(
                    out,
                    [&b"before "[..], &postcard::to_stdvec(&message).unwrap()].concat()
                );
            }
        }
    }
}
