//! What can go wrong with a stable conduit, one enum an operation.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::codec::{DecodeError, EncodeError};
use crate::link::Peer;
use crate::protocol::{LossReason, Position};
use crate::stable::config::ConfigError;

/// The session is over, and not because it was closed in good order.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the session is lost ({} of {} messages not known to be delivered)", accepted - acknowledged, accepted)]
#[non_exhaustive]
pub struct SessionLost {
    /// Why.
    #[source]
    pub reason: LossReason,
    /// How many messages the peer has acknowledged: the first that it may lack has this position.
    pub acknowledged: u64,
    /// How many messages were accepted for sending.
    pub accepted: u64,
}

/// No conduit came about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting makes no sense.
    #[error("the configuration makes no sense")]
    Config(#[from] ConfigError),
    /// No link could be made, and trying again would not help.
    #[error("no link can be made, and trying again would not help")]
    Fatal(#[source] io::Error),
    /// No link could be made within the limit; a later attempt may succeed.
    #[error("no link could be made in {attempts} attempts; a later attempt may succeed")]
    Unreachable {
        /// How many attempts were made.
        attempts: u32,
        /// What the last one failed with: the source's error, or a [`DialHandshakeError`] inside.
        #[source]
        source: io::Error,
    },
    /// The peer answered, and there is no session.
    #[error("the peer did not open a session")]
    Refused(#[source] LossReason),
}

impl ConnectError {
    /// Whether a later attempt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(LossReason::Rejected(reason)) => reason.is_transient(),
            Self::Config(_) | Self::Fatal(_) | Self::Refused(_) => false,
        }
    }
}

/// A link was made, and the handshake on it came to no answer.
///
/// Travels as the inner error of an [`io::Error`], whose kind is that of the cause; get it back with
/// `error.get_ref()` and `downcast_ref`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialHandshakeError {
    /// What the peer said first is no answer to a hello, or too long for one; kind `InvalidData`.
    #[error("the peer at {peer} does not speak this protocol")]
    NotThisProtocol {
        /// The peer that was called.
        peer: Peer,
        /// What is wrong with its answer.
        source: io::Error,
    },
    /// The peer has said nothing, or too little; kind `TimedOut`.
    #[error("the peer at {peer} did not answer the hello within {deadline:?}")]
    NoAnswer {
        /// The peer that was called.
        peer: Peer,
        /// The [deadline](crate::StableConfig::handshake_deadline) of a handshake.
        deadline: Duration,
    },
    /// The peer has ended the link in good order instead of answering; kind `UnexpectedEof`.
    #[error("the peer at {peer} closed the link during the handshake")]
    Closed {
        /// The peer that was called.
        peer: Peer,
    },
    /// The link died. A peer that hangs up without reading the hello may show like this, too.
    #[error("the link to {peer} failed during the handshake")]
    LinkFailed {
        /// The peer that was called.
        peer: Peer,
        /// What the link says.
        source: io::Error,
    },
}

impl From<DialHandshakeError> for io::Error {
    fn from(error: DialHandshakeError) -> Self {
        let kind = match &error {
            DialHandshakeError::NotThisProtocol { source, .. }
            | DialHandshakeError::LinkFailed { source, .. } => source.kind(),
            DialHandshakeError::NoAnswer { .. } => io::ErrorKind::TimedOut,
            DialHandshakeError::Closed { .. } => io::ErrorKind::UnexpectedEof,
        };
        Self::new(kind, error)
    }
}

/// A message was not accepted. It has not taken a position, and the caller still has it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message has no encoding.
    #[error("the message was not accepted")]
    Encode(#[source] EncodeError),
    /// The message is larger than this side or the peer takes.
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
    /// The message could not be written within its maximum age.
    #[error("the message expired before it could be written")]
    Expired,
    /// The conduit was closed, by this side or by the peer.
    #[error("the conduit is closed")]
    Closed,
    /// The session is lost.
    #[error("nothing can be sent any more")]
    Lost(#[from] SessionLost),
}

/// Nothing was received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// A message came that this side cannot read. It is consumed; the next call gives the next one.
    #[error("message {position} cannot be decoded")]
    Decode {
        /// Its place among the messages received.
        position: Position,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
        /// The message as received.
        bytes: bytes::Bytes,
    },
    /// The session is lost, and everything received before was given out.
    #[error("nothing will be received any more")]
    Lost(#[from] SessionLost),
}

/// The peer has not acknowledged everything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AckError {
    /// The session was lost before.
    #[error("the message is not known to be delivered")]
    Lost(#[from] SessionLost),
    /// No message with this position was accepted.
    #[error("no message {0} was accepted")]
    NotSent(Position),
}

/// An error and all that it was caused by, for where only a text can be kept.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_every_cause_once() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = io::Error::from(ConnectError::Unreachable { attempts: 2, source: refused });
        assert_eq!(
            chain(&error),
            "no link could be made in 2 attempts; a later attempt may succeed: connection refused"
        );
        assert_eq!(chain(&io::Error::other("alone")), "alone");
    }
}
