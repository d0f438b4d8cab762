//! Dials WebSocket connections as links.

use std::io;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use rejoin_core::{Attachment, LinkSource, Peer, is_fatal_kind};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::WebSocketConfig;
use crate::error::WebSocketError;
use crate::frame::Side;
use crate::handshake;
use crate::link::WebSocketLink;
use crate::url::Target;

/// How many addresses of one name are tried in one attempt.
const ADDRESSES_MAX: usize = 16;

/// Dials WebSocket connections as links, to one `ws` or `wss` URL.
///
/// The name is resolved anew for each attempt, and up to 16 addresses of it are tried in turn until
/// one connects, beginning with the one that worked last; after an attempt that was dropped, with the
/// one behind that which it had come to. What then fails in the handshakes ends the attempt.
///
/// Errors are [`WebSocketError`]s inside an [`io::Error`]. Fatal are those that are not
/// [transient](WebSocketError::is_transient); for several URLs there is
/// [`Failover`](rejoin_core::Failover).
///
/// ```
/// use rejoin_websocket::WebSocketSource;
///
/// let source = WebSocketSource::new("ws://gateway.example/events");
/// ```
///
/// Proxies are not asked, redirects not followed and cookies not kept.
#[derive(Debug)]
pub struct WebSocketSource {
    url: String,
    headers: HeaderMap,
    config: WebSocketConfig,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<crate::tls::rustls::ClientConfig>>,
    /// The address to begin the next attempt with.
    begin: Option<SocketAddr>,
}

impl WebSocketSource {
    /// Dials `url`, such as `ws://host:8080/path` or `wss://host/path?query`.
    ///
    /// A text that is no such URL shows as a fatal error of the first attempt.
    pub fn new(url: impl ToString) -> Self {
        Self {
            url: url.to_string(),
            headers: HeaderMap::new(),
            config: WebSocketConfig::default(),
            #[cfg(feature = "tls")]
            tls: None,
            begin: None,
        }
    }

    /// Sends another header with each request, such as `authorization` or `origin`. Mark a value that
    /// is a secret with [`HeaderValue::set_sensitive`], and no log will show it.
    ///
    /// One that the handshake itself needs shows as a fatal error of the first attempt; `host` takes
    /// the place of the URL's.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: WebSocketConfig) -> Self {
        self.config = config;
        self
    }

    /// Uses `config` for a `wss` URL: other roots, a client's certificate. Without it there are
    /// Mozilla's roots and no certificate, see [`default_client_config`](crate::tls::default_client_config).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, config: std::sync::Arc<crate::tls::rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    async fn dial(&mut self) -> Result<WebSocketLink, WebSocketError> {
        let target = Target::parse(&self.url)?;
        let request = handshake::request(&target, &self.headers, &self.config)?;
        if target.tls && cfg!(not(feature = "tls")) {
            return Err(WebSocketError::TlsUnavailable { url: self.url.clone() });
        }
        let stream = self.connect(&target).await?;
        let limit = self.config.handshake_timeout;
        let upgraded = timeout(limit, self.upgrade(stream, &target, request)).await;
        let address = target.address();
        upgraded.unwrap_or(Err(WebSocketError::HandshakeTimeout { address, timeout: limit }))
    }

    /// What the target's name stands for now, in the order in which to try it.
    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, WebSocketError> {
        let failed = |source| WebSocketError::Resolve { address: target.address(), source };
        let lookup = lookup_host((target.host.as_str(), target.port));
        let resolved = match timeout(self.config.connect_timeout, lookup).await {
            Ok(resolved) => resolved.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let mut resolved: Vec<_> = resolved.take(ADDRESSES_MAX).collect();
        if resolved.is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
        }
        let begin = resolved.iter().position(|address| Some(*address) == self.begin);
        resolved.rotate_left(begin.unwrap_or(0));
        Ok(resolved)
    }

    async fn connect(&mut self, target: &Target) -> Result<TcpStream, WebSocketError> {
        let resolved = self.resolve(target).await?;
        let limit = self.config.connect_timeout;
        let mut last = None;
        for (at, address) in resolved.iter().copied().enumerate() {
            self.begin = Some(resolved[(at + 1) % resolved.len()]);
            let failed = |source| WebSocketError::Connect { address: address.to_string(), source };
            let error = match timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) if is_connected_to_itself(&stream) => {
                    let kind = io::ErrorKind::ConnectionRefused;
                    failed(io::Error::new(kind, "the socket was connected to itself"))
                }
                Ok(Ok(stream)) => {
                    stream.set_nodelay(self.config.nodelay).map_err(failed)?;
                    self.begin = Some(address);
                    return Ok(stream);
                }
                Ok(Err(source)) => failed(source),
                Err(_) => {
                    WebSocketError::ConnectTimeout { address: address.to_string(), timeout: limit }
                }
            };
            // One address that may work outweighs those that never will.
            if last
                .as_ref()
                .is_none_or(|last: &WebSocketError| error.is_transient() || !last.is_transient())
            {
                last = Some(error);
            }
        }
        Err(last.unwrap_or_else(|| WebSocketError::Resolve {
            address: target.address(),
            source: io::ErrorKind::NotFound.into(),
        }))
    }

    async fn upgrade(
        &self,
        stream: TcpStream,
        target: &Target,
        request: http::Request<()>,
    ) -> Result<WebSocketLink, WebSocketError> {
        let failed = |source| WebSocketError::Connect { address: target.address(), source };
        let peer = Peer::at(stream.peer_addr().map_err(failed)?);
        #[cfg(feature = "tls")]
        if target.tls {
            let config = match &self.tls {
                Some(config) => std::sync::Arc::clone(config),
                None => crate::tls::default_client_config(),
            };
            let stream = crate::tls::connect(stream, target, config).await?;
            let (stream, read) = handshake::client(stream, request, &peer, &self.config).await?;
            let link = WebSocketLink::from_stream(stream, read, Side::Client, peer, &self.config);
            return Ok(link);
        }
        let (stream, read) = handshake::client(stream, request, &peer, &self.config).await?;
        let (reader, writer) = stream.into_split();
        let halves = (Box::new(reader) as _, Box::new(writer) as _);
        Ok(WebSocketLink::from_halves(halves, read, Side::Client, peer, &self.config))
    }
}

impl LinkSource for WebSocketSource {
    type Link = WebSocketLink;

    async fn next_link(&mut self) -> io::Result<Attachment<WebSocketLink>> {
        Ok(Attachment::initiator(self.dial().await?))
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<WebSocketError>()) {
            Some(error) => !error.is_transient(),
            None => is_fatal_kind(error),
        }
    }
}

/// Whether the system joined the socket to itself, as it may do when a port of its range for outgoing
/// connections is dialled on this machine and nobody listens there.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}
