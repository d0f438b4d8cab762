//! How messages become bytes and back.
//!
//! A codec sees one item at a time: numbering, acknowledgement and framing are below it, types and
//! their lifetimes above. The bytes that a codec reads come from the peer, so every codec here
//! bounds what they can make it do; the limits are in [`reader`], which the two postcard codecs
//! share.

mod facet_parser;
mod facet_postcard;
mod raw;
mod reader;
#[cfg(feature = "serde")]
mod serde_de;
#[cfg(feature = "serde")]
mod serde_postcard;

use std::error::Error as StdError;

use bytes::BytesMut;
use thiserror::Error;

use crate::conduit::MsgFamily;

pub use facet_postcard::{FacetPostcard, FacetPostcardBorrowed};
pub use raw::{Raw, RawBytes};
#[cfg(feature = "serde")]
pub use serde_postcard::{Serde, SerdePostcard};

/// Turns the messages of a family into bytes and back.
///
/// # Behavior
///
/// - Decoding what was encoded gives an equal message, within the limits that the codec names.
pub trait Codec<F: MsgFamily>: 'static {
    /// Appends the encoding of `item` to `out`.
    ///
    /// # Behavior
    ///
    /// - Only appends to `out`. What a failed call has appended is discarded by the caller.
    /// - Does not use the conduit that the item is sent on, which is locked meanwhile.
    ///
    /// # Errors
    ///
    /// When the item has no encoding.
    fn encode(item: &F::Msg<'_>, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Reads one message from exactly `bytes`; the message may borrow from them.
    ///
    /// # Behavior
    ///
    /// - Never panics, and allocates no more than a multiple of `bytes.len()`, whatever the bytes
    ///   are. How large that multiple is, each codec says.
    ///
    /// # Errors
    ///
    /// When `bytes` are not the encoding of a message, or go on after it.
    fn decode<'a>(bytes: &'a [u8]) -> Result<F::Msg<'a>, DecodeError>;
}

/// A message has no encoding.
#[derive(Debug, Error)]
#[error("the message cannot be encoded")]
pub struct EncodeError(#[source] Box<dyn StdError + Send + Sync>);

impl EncodeError {
    /// Wraps what the encoder said.
    pub fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// Bytes are not the encoding of a message.
#[derive(Debug, Error)]
#[error("the bytes are not a message of this type")]
pub struct DecodeError(#[source] Box<dyn StdError + Send + Sync>);

impl DecodeError {
    /// Wraps what the decoder said.
    pub fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(source.into())
    }
}
