//! What can go wrong: before a link is there, when a payload is sent, when one is awaited.
//!
//! All of these travel as the inner error of an [`io::Error`] with a fitting kind; get one back with
//! `error.get_ref()` and `downcast_ref`.

use std::io;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

/// Why no link could be made.
///
/// ```
/// # use rejoin_websocket::{LinkSource, WebSocketError, WebSocketSource};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = WebSocketSource::new("http://localhost/").next_link().await.unwrap_err();
/// let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<WebSocketError>());
/// assert!(matches!(inner, Some(WebSocketError::InvalidUrl { .. })));
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The text is not a `ws` or `wss` URL; kind `InvalidInput`, fatal.
    #[error("`{url}` is not a WebSocket URL: {reason}")]
    InvalidUrl {
        /// The text, with control characters escaped.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header that belongs to the handshake itself was set, or the subprotocol is not a token;
    /// kind `InvalidInput`, fatal.
    #[error("the header `{name}` cannot be sent so")]
    InvalidHeader {
        /// The header's name.
        name: String,
    },
    /// The URL is a `wss` one and the feature `tls` is off; kind `Unsupported`, fatal.
    #[error("`{url}` needs the feature `tls`")]
    TlsUnavailable {
        /// The URL.
        url: String,
    },
    /// The name could not be resolved; kind `NotFound`, or `TimedOut`; transient.
    #[error("the name in {address} could not be resolved")]
    Resolve {
        /// The host and port of the URL.
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
    /// The peer did not answer in time; kind `TimedOut`, transient.
    #[error("no connection to {address} within {timeout:?}")]
    ConnectTimeout {
        /// The address, resolved.
        address: String,
        /// The limit.
        timeout: Duration,
    },
    /// TLS failed, for instance because the certificate is not trusted; kind as the source's. It is
    /// transient: a clock that is wrong, a portal in between or a certificate that has run out can
    /// be put right while a session waits.
    #[error("no secure connection to {address}")]
    Tls {
        /// The peer.
        address: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The server answered with something else than an upgrade; kind `PermissionDenied` for 401 and
    /// 403, `NotFound` for 404, otherwise `ConnectionRefused`.
    ///
    /// The statuses 408, 425, 429 and all of 5xx are transient; every other one is fatal. Redirects
    /// are not followed, as a header with a secret would go along.
    #[error("the server at {address} refuses the upgrade with HTTP status {status}")]
    Http {
        /// The peer.
        address: String,
        /// What it answered.
        status: StatusCode,
    },
    /// The server did not select the subprotocol that was offered, or selected another one; kind
    /// `Unsupported`, fatal.
    #[error("the server at {address} does not speak the subprotocol that was offered")]
    Subprotocol {
        /// The peer.
        address: String,
    },
    /// The handshakes took too long; kind `TimedOut`, transient.
    #[error("no WebSocket with {address} within {timeout:?}")]
    HandshakeTimeout {
        /// The peer.
        address: String,
        /// The limit.
        timeout: Duration,
    },
    /// The peer's head is longer than `head_bytes_max`; kind `InvalidData`, transient.
    #[error("the HTTP head of {address} is longer than {bytes_max} bytes")]
    HeadTooLong {
        /// The peer.
        address: String,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// What the peer says is not a WebSocket handshake, or it ended before one; kind as the cause's,
    /// transient.
    #[error("no WebSocket handshake with {address}")]
    Handshake {
        /// The peer.
        address: String,
        /// What was wrong.
        source: io::Error,
    },
    /// A client was turned away; kind `ConnectionRefused`.
    #[error("the request of {address} was refused")]
    Refused {
        /// The peer.
        address: String,
        /// Why.
        source: UpgradeRefused,
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

impl WebSocketError {
    /// Whether another attempt may end otherwise.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InvalidUrl { .. }
            | Self::InvalidHeader { .. }
            | Self::TlsUnavailable { .. }
            | Self::Subprotocol { .. } => false,
            Self::Http { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            Self::Connect { source, .. } | Self::Bind { source, .. } | Self::Accept { source } => {
                !rejoin_core::is_fatal_kind(source)
            }
            Self::Resolve { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::HandshakeTimeout { .. }
            | Self::HeadTooLong { .. }
            | Self::Handshake { .. }
            | Self::Refused { .. } => true,
        }
    }

    /// The HTTP status with which the server refused, if that is what happened.
    #[must_use]
    pub fn http_status(&self) -> Option<StatusCode> {
        match self {
            Self::Http { status, .. } => Some(*status),
            _ => None,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::InvalidUrl { .. } | Self::InvalidHeader { .. } => io::ErrorKind::InvalidInput,
            Self::TlsUnavailable { .. } | Self::Subprotocol { .. } => io::ErrorKind::Unsupported,
            Self::Resolve { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                io::ErrorKind::TimedOut
            }
            Self::Resolve { .. } => io::ErrorKind::NotFound,
            Self::ConnectTimeout { .. } | Self::HandshakeTimeout { .. } => io::ErrorKind::TimedOut,
            Self::HeadTooLong { .. } => io::ErrorKind::InvalidData,
            Self::Http { status, .. } => match status.as_u16() {
                401 | 403 => io::ErrorKind::PermissionDenied,
                404 => io::ErrorKind::NotFound,
                _ => io::ErrorKind::ConnectionRefused,
            },
            Self::Refused { .. } => io::ErrorKind::ConnectionRefused,
            Self::Connect { source, .. }
            | Self::Tls { source, .. }
            | Self::Handshake { source, .. }
            | Self::Bind { source, .. }
            | Self::Accept { source } => source.kind(),
        }
    }
}

impl From<WebSocketError> for io::Error {
    fn from(error: WebSocketError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Why a server does not grant an upgrade, and with which HTTP status it says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum UpgradeRefused {
    /// The request does not ask for a WebSocket of version 13 as RFC 6455 wants it; status 426.
    #[error("it does not ask for a WebSocket")]
    NotAnUpgrade,
    /// There are no links at the path; status 404.
    #[error("there are no links at its path")]
    Path,
    /// The request does not offer the subprotocol; status 400.
    #[error("it does not offer the subprotocol")]
    Subprotocol,
}

impl UpgradeRefused {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Subprotocol => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why a payload was refused by the sending half, or could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum WebSocketSendError {
    /// The payload is over the limit; kind `InvalidInput`. Nothing of it was queued, and the link
    /// goes on.
    #[error("a payload of {bytes} bytes is over the limit of {bytes_max}")]
    PayloadTooLarge {
        /// The payload's size in bytes, head and body.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The other half has failed, or this one before; kind `NotConnected`.
    #[error("the link has failed before")]
    Failed,
}

impl From<WebSocketSendError> for io::Error {
    fn from(error: WebSocketSendError) -> Self {
        let kind = match error {
            WebSocketSendError::PayloadTooLarge { .. } => io::ErrorKind::InvalidInput,
            WebSocketSendError::Failed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

/// Why the receiving half gives nothing more. Where the peer is at fault, it has been told with the
/// close code that is named here.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum WebSocketRecvError {
    /// The peer announced a message over the limit; kind `InvalidData`, close code 1009.
    #[error("the peer announced a message of {bytes} bytes, over the limit of {bytes_max}")]
    PayloadTooLarge {
        /// The size so far announced, in bytes.
        bytes: u64,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The peer sent a text message where only binary ones are understood; kind `InvalidData`, close
    /// code 1003.
    #[error("the peer sent a text message, and only binary ones are understood")]
    Text,
    /// The peer broke the rules of RFC 6455; kind `InvalidData`, close code 1002.
    #[error("the peer broke the WebSocket protocol: {violation}")]
    Protocol {
        /// Which rule.
        violation: &'static str,
    },
    /// The peer closed the link with another code than 1000, 1001 or none; kind `ConnectionAborted`.
    #[error("the peer closed the link with code {code}: {reason}")]
    Closed {
        /// The code.
        code: u16,
        /// What the peer gave as the reason, with control characters escaped; at most 123 bytes of
        /// it.
        reason: String,
    },
    /// The connection ended without a close; kind `UnexpectedEof`.
    #[error("the connection ended without a WebSocket close, after {received} bytes of a message")]
    EndOfStream {
        /// How many bytes of a message had come, with its heads.
        received: usize,
    },
    /// An earlier call has failed; kind `NotConnected`.
    #[error("the link has failed before")]
    Failed,
}

impl From<WebSocketRecvError> for io::Error {
    fn from(error: WebSocketRecvError) -> Self {
        let kind = match error {
            WebSocketRecvError::PayloadTooLarge { .. }
            | WebSocketRecvError::Text
            | WebSocketRecvError::Protocol { .. } => io::ErrorKind::InvalidData,
            WebSocketRecvError::Closed { .. } => io::ErrorKind::ConnectionAborted,
            WebSocketRecvError::EndOfStream { .. } => io::ErrorKind::UnexpectedEof,
            WebSocketRecvError::Failed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
