//! What can be wrong with a peer's bytes, and why a session can end.

use std::fmt;

use thiserror::Error;

use crate::protocol::seq::Position;

/// A link payload is not a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It has the wrong length.
    #[error("a hello has 25 bytes, this payload has {actual}")]
    Length {
        /// The payload's length in bytes.
        actual: usize,
    },
    /// It begins with something else.
    #[error("the payload does not begin with the magic number of a hello")]
    Magic,
}

/// A link payload is not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It ends in the middle of the head.
    #[error("the frame ends in the middle of its head")]
    Truncated,
    /// A variable-length integer is longer or larger than its field.
    #[error("a variable-length integer is too large for its field")]
    VarintTooLarge,
    /// The tag is none of those that the session's profile has.
    #[error("the frame has the unknown tag {tag}")]
    UnknownTag {
        /// The tag.
        tag: u8,
    },
    /// A control frame goes on after its last field.
    #[error("the control frame goes on after its last field")]
    TrailingBytes,
    /// A reason is longer than allowed, or not UTF-8.
    #[error("the reason of a close is not a short text")]
    Reason,
}

/// Why an acceptor refused a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RejectReason {
    /// The peer did not say.
    Unspecified,
    /// No session has this key: it never existed, has expired, or the acceptor was restarted.
    UnknownKey,
    /// The session was closed.
    Closed,
    /// The acceptor has as many sessions as it takes.
    Full,
    /// The acceptor takes no new sessions any more.
    GoingAway,
    /// The hello repeats one that was answered, and the answer was used.
    Stale,
    /// The hello asks for another profile than the session speaks.
    ProfileMismatch,
    /// The acceptor does not let this peer in, or not into this session.
    Forbidden,
    /// A reason that this version does not know.
    Other(u32),
}

impl RejectReason {
    /// The number that travels.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Unspecified => 0,
            Self::UnknownKey => 1,
            Self::Closed => 2,
            Self::Full => 3,
            Self::GoingAway => 4,
            Self::Stale => 5,
            Self::ProfileMismatch => 6,
            Self::Forbidden => 7,
            Self::Other(code) => code,
        }
    }

    /// The reason that has this number.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Unspecified,
            1 => Self::UnknownKey,
            2 => Self::Closed,
            3 => Self::Full,
            4 => Self::GoingAway,
            5 => Self::Stale,
            6 => Self::ProfileMismatch,
            7 => Self::Forbidden,
            code => Self::Other(code),
        }
    }

    /// Whether the same hello may be answered otherwise later.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Full | Self::GoingAway)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unspecified => f.write_str("no reason given"),
            Self::UnknownKey => f.write_str("no session has this key"),
            Self::Closed => f.write_str("the session was closed"),
            Self::Full => f.write_str("the acceptor is full"),
            Self::GoingAway => f.write_str("the acceptor is going away"),
            Self::Stale => f.write_str("the hello is stale"),
            Self::ProfileMismatch => f.write_str("the session speaks another profile"),
            Self::Forbidden => f.write_str("the acceptor does not let this peer in"),
            Self::Other(code) => write!(f, "reason {code}"),
        }
    }
}

/// What a peer did on a link that no correct peer does. It costs the link; the session resumes.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// The answer to a hello is not one.
    #[error("malformed hello")]
    Hello(#[from] HelloError),
    /// A payload is not a frame.
    #[error("malformed frame")]
    Frame(#[from] FrameError),
    /// A number is ahead of the one expected: something was lost on the link.
    #[error("item {actual} came where {expected} was expected")]
    Gap {
        /// The item that was due.
        expected: Position,
        /// The item that came.
        actual: Position,
    },
    /// The first frame of the extended profile was not settings.
    #[error("the first frame on the link was not settings")]
    SettingsMissing,
    /// Data after a close.
    #[error("an item came after the close")]
    DataAfterClose,
}

/// A handshake did not give the session a link.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// One side refused; another attempt may do better where the reason
    /// [is transient](RejectReason::is_transient).
    #[error("the handshake was refused: {0}")]
    Refused(RejectReason),
    /// The session is lost.
    #[error("the handshake ended the session")]
    Lost(#[source] LossReason),
}

/// Why a session ended other than by a close.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum LossReason {
    /// The acceptor refused to resume it.
    #[error("the peer refused to resume the session: {0}")]
    Rejected(RejectReason),
    /// No link was made within the limit per outage.
    #[error("no link could be made within the limit per outage")]
    OutageLimit,
    /// The link source says that it will never give a link again.
    #[error("the link source failed for good: {0}")]
    Source(String),
    /// The peer did not come back within the time that a session is kept.
    #[error("the peer did not come back within the time that a session is kept")]
    Expired,
    /// The peer started afresh, so what it had of this session is gone.
    #[error("the peer was restarted")]
    PeerRestarted,
    /// The peer acknowledged an item that was never sent to it.
    #[error("the peer acknowledged item {acked}, but only {sent} were sent")]
    AckBeyondSent {
        /// The position acknowledged.
        acked: Position,
        /// How many items were sent.
        sent: u64,
    },
    /// The peer asked to go on from an item that is not retained or was never sent.
    #[error(
        "the peer wants to go on after {received} items, but {retained_from} to {appended} are retained"
    )]
    PositionOutOfRange {
        /// How many items the peer has.
        received: u64,
        /// The first item that can still be sent.
        retained_from: u64,
        /// How many items there are.
        appended: u64,
    },
    /// The peer sent more than the window that it was given.
    #[error("the peer sent more than its window")]
    WindowExceeded,
    /// The peer came back with another profile.
    #[error("the peer came back with another profile")]
    ProfileChanged,
    /// An item is larger than the peer or the link takes.
    #[error("item {position} has {bytes} bytes, but only {bytes_max} are taken")]
    ItemTooLarge {
        /// The item.
        position: Position,
        /// Its size in bytes.
        bytes: usize,
        /// The largest size that is taken.
        bytes_max: usize,
    },
    /// The peer closed the session and did not take what was still to be sent.
    #[error("the peer closed the session before it took everything")]
    PeerClosed,
    /// The session was closed, and the linger limit passed before everything was acknowledged and
    /// the peer had closed its direction, too.
    #[error("the linger limit passed before both sides had everything")]
    LingerExpired,
    /// The listener that owned the session, or the runtime under it, is gone.
    #[error("the driver of the session was stopped")]
    Stopped,
}
