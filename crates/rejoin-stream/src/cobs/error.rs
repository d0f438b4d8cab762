//! What ends a link on a line, and what a line can be found unfit for.

use std::io;
use std::sync::Arc;

use thiserror::Error;

/// Why a link on a line is over. The line itself goes on, but for [`Lost`](Self::Lost).
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// Something came that was not what the peer has sent; kind `ConnectionReset`.
    #[error("the line has damaged what the peer sent")]
    Damaged,
    /// The peer got something that was not what this end has sent; kind `ConnectionReset`.
    #[error("the line has damaged what the peer was to get")]
    DamagedThere,
    /// The peer has let go of the link without closing it; kind `ConnectionReset`.
    #[error("the peer has let go of the link")]
    PeerHungUp,
    /// The peer does not know the link: it has begun anew; kind `ConnectionReset`.
    #[error("the peer does not know the link")]
    PeerRestarted,
    /// Another link was opened on the line; kind `ConnectionAborted`.
    #[error("another link has taken the line")]
    Replaced,
    /// A half of the link was dropped at this end; kind `BrokenPipe`.
    #[error("the link was let go of at this end")]
    HungUp,
    /// The link was closed at this end; kind `BrokenPipe`.
    #[error("the link was closed")]
    Closed,
    /// The stream under the line ended or failed; kind as the source's.
    #[error("the line is gone")]
    Lost(#[source] Arc<io::Error>),
}

impl LinkEnd {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Damaged | Self::DamagedThere | Self::PeerHungUp | Self::PeerRestarted => {
                io::ErrorKind::ConnectionReset
            }
            Self::Replaced => io::ErrorKind::ConnectionAborted,
            Self::HungUp | Self::Closed => io::ErrorKind::BrokenPipe,
            Self::Lost(source) => source.kind(),
        }
    }
}

impl From<LinkEnd> for io::Error {
    fn from(end: LinkEnd) -> Self {
        Self::new(end.kind(), end)
    }
}

/// Why a line gives no link, or a link does not take or give a payload.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CobsError {
    /// A payload to send is over the limit; kind `InvalidInput`. The link goes on.
    #[error("a payload of {bytes} bytes is over the limit of {bytes_max}")]
    PayloadTooLarge {
        /// The payload's size in bytes, head and body.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// A payload that came is over the limit set for now; kind `InvalidData`.
    #[error("the peer sent a payload of {bytes} bytes, over the limit of {bytes_max}")]
    ReceivedTooLarge {
        /// The payload's size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The other end calls, too, or this end hears itself; kind `ConnectionRefused`.
    #[error("both ends of the line call: one has to be the acceptor, and the line must not echo")]
    SameRole,
    /// The stream under the line has ended or failed; kind as the source's.
    #[error("the line is gone")]
    Lost(#[source] Arc<io::Error>),
}

impl From<CobsError> for io::Error {
    fn from(error: CobsError) -> Self {
        let kind = match &error {
            CobsError::PayloadTooLarge { .. } => io::ErrorKind::InvalidInput,
            CobsError::ReceivedTooLarge { .. } => io::ErrorKind::InvalidData,
            CobsError::SameRole => io::ErrorKind::ConnectionRefused,
            CobsError::Lost(source) => match source.kind() {
                // What a medium says at its end must not pass for a wrong argument.
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => io::ErrorKind::Other,
                kind => kind,
            },
        };
        Self::new(kind, error)
    }
}
