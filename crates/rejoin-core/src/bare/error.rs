//! What can go wrong with a bare conduit, one enum an operation.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::codec::{DecodeError, EncodeError};
use crate::protocol::Position;

/// The link died. Messages that were accepted may not have arrived.
#[derive(Clone, Debug, Error)]
#[error("the link died")]
pub struct LinkLost(#[source] pub Arc<io::Error>);

/// A message was not accepted; the caller still has it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BareSendError {
    /// The message has no encoding.
    #[error("the message was not accepted")]
    Encode(#[source] EncodeError),
    /// The message is larger than is taken.
    #[error("the message has {bytes} bytes, at most {bytes_max} are taken")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest size that is taken.
        bytes_max: usize,
    },
    /// There is no room for it now. Only what does not wait gives this error.
    #[error("there is no room for the message now")]
    Full,
    /// This side has closed the conduit.
    #[error("the conduit is closed")]
    Closed,
    /// The link died.
    #[error("nothing can be sent any more")]
    Lost(#[from] LinkLost),
}

/// Nothing was received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BareRecvError {
    /// A message came that this side cannot read. It is consumed; the next call gives the next one.
    #[error("message {position} cannot be decoded")]
    Decode {
        /// Its place among the messages received.
        position: Position,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
        /// The message as received.
        bytes: Bytes,
    },
    /// The link died, and everything received before was given out.
    #[error("nothing will be received any more")]
    Lost(#[from] LinkLost),
}
