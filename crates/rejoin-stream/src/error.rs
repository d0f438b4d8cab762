//! What a link over a stream itself can find wrong; the medium's own errors pass through as they
//! are.
//!
//! Both enums travel as the inner error of an [`io::Error`]; get one back with
//! `error.get_ref()` and `downcast_ref`.

use std::io;

use thiserror::Error;

/// Why a payload was refused by the sending half. Its [`io::ErrorKind`] is `InvalidInput`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum StreamSendError {
    /// The payload is over the limit. Nothing of it was queued, and the link goes on.
    #[error("a payload of {bytes} bytes is over the limit of {bytes_max}")]
    PayloadTooLarge {
        /// The payload's size in bytes, head and body.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
}

/// Why the receiving half gives nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum StreamRecvError {
    /// The peer announced a payload over the limit; kind `InvalidData`.
    #[error("the peer announced a payload of {bytes} bytes, over the limit of {bytes_max}")]
    PayloadTooLarge {
        /// The announced size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The stream ended inside a message; kind `UnexpectedEof`.
    #[error("the stream ended after {received} bytes of a message")]
    Truncated {
        /// How many bytes of the message had come, with its length prefix.
        received: usize,
    },
    /// An earlier call has failed; kind `NotConnected`.
    #[error("the link has failed before")]
    Failed,
}

impl From<StreamSendError> for io::Error {
    fn from(error: StreamSendError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl From<StreamRecvError> for io::Error {
    fn from(error: StreamRecvError) -> Self {
        let kind = match error {
            StreamRecvError::PayloadTooLarge { .. } => io::ErrorKind::InvalidData,
            StreamRecvError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            StreamRecvError::Failed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
