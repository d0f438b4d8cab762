//! What can go wrong before a link is there.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why no link could be made.
///
/// Travels as the inner error of an [`io::Error`] with a fitting kind:
///
/// ```
/// # use rejoin_tcp::{LinkSource, TcpError, TcpSource};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = TcpSource::new("no port").next_link().await.unwrap_err();
/// let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TcpError>());
/// assert!(matches!(inner, Some(TcpError::InvalidAddress { .. })));
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The text is not `host:port`; kind `InvalidInput`.
    #[error("`{address}` is not an address: {reason}")]
    InvalidAddress {
        /// The text, with control characters escaped.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name could not be resolved; kind `NotFound`, or `TimedOut`.
    #[error("the name in {address} could not be resolved")]
    Resolve {
        /// The address as it was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The connection failed; kind as the source's.
    #[error("no connection to {address}")]
    Connect {
        /// The address, resolved.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The peer did not answer in time; kind `TimedOut`.
    #[error("no connection to {address} within {timeout:?}")]
    ConnectTimeout {
        /// The address, resolved.
        address: String,
        /// The limit.
        timeout: Duration,
    },
    /// The peer answered, but there is no TLS with it; kind as the source's.
    #[cfg(feature = "tls")]
    #[error("no TLS with {address}")]
    Tls {
        /// The address, resolved.
        address: String,
        /// What went wrong.
        source: crate::tls::TlsError,
    },
    /// None of several addresses gave a connection; kind as the last one's.
    #[error("no connection to any of {} addresses: {}", attempts.len(), sentences(attempts))]
    AllFailed {
        /// What became of each, in the order tried. Never empty.
        attempts: Vec<TcpError>,
    },
    /// The listener could not be bound; kind as the source's.
    #[error("no listener could be bound to {address}")]
    Bind {
        /// The address as it was given.
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

impl TcpError {
    /// Whether another attempt may end otherwise.
    ///
    /// An address that is none never becomes one. A name that is unknown today may be known
    /// tomorrow, or on the next network, and a peer that refuses or is out of reach may come back.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InvalidAddress { .. } => false,
            Self::Resolve { .. } | Self::ConnectTimeout { .. } => true,
            Self::Connect { source, .. } | Self::Bind { source, .. } | Self::Accept { source } => {
                !rejoin_core::is_fatal_kind(source)
            }
            #[cfg(feature = "tls")]
            Self::Tls { source, .. } => source.is_transient(),
            Self::AllFailed { attempts } => attempts.iter().any(Self::is_transient),
        }
    }

    /// Whether a peer was reached with which there is no TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn is_about_tls(&self) -> bool {
        match self {
            Self::Tls { .. } => true,
            Self::AllFailed { attempts } => attempts.iter().any(Self::is_about_tls),
            _ => false,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::InvalidAddress { .. } => io::ErrorKind::InvalidInput,
            Self::Resolve { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                io::ErrorKind::TimedOut
            }
            Self::Resolve { .. } => io::ErrorKind::NotFound,
            Self::ConnectTimeout { .. } => io::ErrorKind::TimedOut,
            #[cfg(feature = "tls")]
            Self::Tls { source, .. } => source.kind(),
            Self::Connect { source, .. } | Self::Bind { source, .. } | Self::Accept { source } => {
                source.kind()
            }
            Self::AllFailed { attempts } => {
                // One address that may work outweighs those that never will.
                let last = attempts.iter().rfind(|error| error.is_transient());
                last.or(attempts.last()).map_or(io::ErrorKind::Other, Self::kind)
            }
        }
    }
}

impl From<TcpError> for io::Error {
    fn from(error: TcpError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Each error with its causes: `AllFailed` has many sources and can give none of them as its own.
fn sentences(attempts: &[TcpError]) -> String {
    let sentence = |error: &TcpError| {
        let mut sentence = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            sentence = format!("{sentence}: {error}");
            cause = error.source();
        }
        sentence
    };
    attempts.iter().map(sentence).collect::<Vec<_>>().join("; ")
}
