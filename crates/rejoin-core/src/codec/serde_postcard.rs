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
        postcard::serialize_with_flavor(item, Append(out)).map_err(EncodeError::new)
    }

    fn decode<'a>(bytes: &'a [u8]) -> Result<F::Msg<'a>, DecodeError> {
        let mut deserializer = Deserializer::new(bytes);
        let item = Deserialize::deserialize(&mut deserializer).map_err(DecodeError::new)?;
        deserializer.finish().map_err(DecodeError::new)?;
        Ok(item)
    }
}

/// Appends to the caller's buffer, without one in between.
struct Append<'a>(&'a mut BytesMut);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[data]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
