//! What can go wrong before a link is there.

use std::io;

use thiserror::Error;

/// Why no link could be made.
///
/// Travels as the inner error of an [`io::Error`] with a fitting kind:
///
/// ```
/// # use rejoin_unix::{LinkSource, UnixError, UnixSource};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = UnixSource::new("a/".repeat(100)).next_link().await.unwrap_err();
/// let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<UnixError>());
/// assert!(matches!(inner, Some(UnixError::AddressTooLong { .. })));
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnixError {
    /// No socket can have this address; kind `InvalidInput`.
    #[error("`{address}` is not an address: {reason}")]
    InvalidAddress {
        /// The address, with control characters escaped.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system has no room for the address; kind `InvalidInput`. A relative path may fit.
    #[error("`{address}` has {bytes} bytes, and the address of a socket at most {bytes_max}")]
    AddressTooLong {
        /// The address, with control characters escaped.
        address: String,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// Only Linux has abstract names; kind `Unsupported`.
    #[error("this system has no abstract names, such as `{address}`")]
    AbstractUnsupported {
        /// The address.
        address: String,
    },
    /// The connection failed; kind as the source's.
    #[error("no connection to {address}")]
    Connect {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another socket has the address, and lives; kind `AddrInUse`.
    #[error("another socket has the address {address}")]
    InUse {
        /// The address.
        address: String,
    },
    /// There is something at the path that is not a socket, and was left alone; kind
    /// `AlreadyExists`.
    #[error("there is something at {address} that is not a socket")]
    NotASocket {
        /// The path.
        address: String,
    },
    /// The listener could not be bound; kind as the source's.
    #[error("no listener could be bound to {address}")]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The listener failed to accept, for no fault of a peer, such as too many open files; kind as
    /// the source's.
    #[error("no connection could be accepted")]
    Accept {
        /// What the system said.
        source: io::Error,
    },
}

impl UnixError {
    /// Whether another attempt may end otherwise.
    ///
    /// An address that is none never becomes one. A server that is not there may come, and one
    /// that starts has a file before it has set the mode of it, so a connection that is not allowed
    /// may be in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InvalidAddress { .. }
            | Self::AddressTooLong { .. }
            | Self::AbstractUnsupported { .. } => false,
            Self::Connect { .. } | Self::InUse { .. } | Self::NotASocket { .. } => true,
            Self::Bind { source, .. } | Self::Accept { source } => {
                !rejoin_core::is_fatal_kind(source)
            }
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::InvalidAddress { .. } | Self::AddressTooLong { .. } => {
                io::ErrorKind::InvalidInput
            }
            Self::AbstractUnsupported { .. } => io::ErrorKind::Unsupported,
            Self::InUse { .. } => io::ErrorKind::AddrInUse,
            Self::NotASocket { .. } => io::ErrorKind::AlreadyExists,
            Self::Connect { source, .. } | Self::Bind { source, .. } | Self::Accept { source } => {
                source.kind()
            }
        }
    }
}

impl From<UnixError> for io::Error {
    fn from(error: UnixError) -> Self {
        Self::new(error.kind(), error)
    }
}
