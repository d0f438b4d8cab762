//! Accepts WebSocket connections as links, over TCP of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rejoin_core::{AcceptorSource, LinkListener, Peer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::config::WebSocketConfig;
use crate::error::WebSocketError;
use crate::frame::Side;
use crate::handshake;
use crate::link::WebSocketLink;

/// A source of the links on which the peer speaks first: for a conduit that waits to be called by
/// one peer, where a [`StableListener`](rejoin_core::StableListener) would be for many.
pub type WebSocketListenerSource = AcceptorSource<WebSocketLinkListener>;

/// Accepts WebSocket connections as links: a server of its own, for nothing but that.
///
/// The handshakes are the [`WebSocketUpgrade`]'s, so a slow peer holds up nobody. Whoever does not
/// ask for a WebSocket gets the HTTP status 426; at another path, 404; without the subprotocol, 400;
/// with a head that is too long, 431.
///
/// Neither cookies nor the `origin` header are looked at: a session is opened by whoever knows the
/// protocol, and resumed by whoever has its key. Where a browser's user is to be told from others, a web
/// server has to do that first.
///
/// Where there is a web server already, see
/// [`websocket_link_channel`](crate::websocket_link_channel).
#[derive(Debug)]
pub struct WebSocketLinkListener {
    listener: TcpListener,
    options: Arc<Options>,
}

/// What the upgrades need.
#[derive(Clone)]
struct Options {
    config: WebSocketConfig,
    path: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<crate::tls::rustls::ServerConfig>>,
}

impl WebSocketLinkListener {
    /// Listens at `address`, `host:port` or a [`SocketAddr`]; port 0 lets the system choose one,
    /// which [`local_addr`](Self::local_addr) tells.
    ///
    /// # Errors
    ///
    /// [`WebSocketError::Bind`] inside, whatever went wrong.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future binds nothing.
    pub async fn bind(address: impl ToString) -> io::Result<Self> {
        let address = address.to_string();
        match TcpListener::bind(&address).await {
            Ok(listener) => Ok(Self::from_tokio(listener)),
            Err(source) => Err(WebSocketError::Bind { address, source }.into()),
        }
    }

    /// Accepts from a listener that was made elsewhere.
    #[must_use]
    pub fn from_tokio(listener: TcpListener) -> Self {
        let options = Options {
            config: WebSocketConfig::default(),
            path: None,
            #[cfg(feature = "tls")]
            tls: None,
        };
        Self { listener, options: Arc::new(options) }
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: WebSocketConfig) -> Self {
        Arc::make_mut(&mut self.options).config = config;
        self
    }

    /// Grants upgrades at `path` only, such as `/links`; without it, anywhere. A query is not part of
    /// a path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.options).path = Some(path.into());
        self
    }

    /// Speaks TLS with everybody, as `config` says. The [identity](Peer::identity) of a client that
    /// shows a certificate, where `config` asks for one, is its
    /// [fingerprint](crate::tls::fingerprint): a session is resumed under the same one only.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, config: Arc<crate::tls::rustls::ServerConfig>) -> Self {
        Arc::make_mut(&mut self.options).tls = Some(config);
        self
    }

    /// Where this listens.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl LinkListener for WebSocketLinkListener {
    type Link = WebSocketLink;
    type Upgrade = WebSocketUpgrade;

    async fn accept(&mut self) -> io::Result<WebSocketUpgrade> {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let options = Arc::clone(&self.options);
                    return Ok(WebSocketUpgrade::new(upgrade(stream, peer, options)));
                }
                Err(source) if concerns_one_peer(&source) => {}
                Err(source) => return Err(WebSocketError::Accept { source }.into()),
            }
        }
    }
}

/// An accepted peer's way to a link: the handshakes of TLS and HTTP, under the
/// [`handshake_timeout`](WebSocketConfig::handshake_timeout).
pub struct WebSocketUpgrade(Pin<Box<dyn Future<Output = io::Result<WebSocketLink>> + Send>>);

impl WebSocketUpgrade {
    pub(crate) fn new(
        upgrade: impl Future<Output = io::Result<WebSocketLink>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(upgrade))
    }
}

impl Future for WebSocketUpgrade {
    type Output = io::Result<WebSocketLink>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade").finish_non_exhaustive()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, path, .. } = self;
        f.debug_struct("Options")
            .field("config", config)
            .field("path", path)
            .finish_non_exhaustive()
    }
}

async fn upgrade(
    stream: TcpStream,
    peer: SocketAddr,
    options: Arc<Options>,
) -> io::Result<WebSocketLink> {
    let limit = options.config.handshake_timeout;
    let address = peer.to_string();
    let upgraded = timeout(limit, shake_hands(stream, Peer::at(peer), &options)).await;
    let late = || WebSocketError::HandshakeTimeout { address, timeout: limit };
    Ok(upgraded.unwrap_or_else(|_| Err(late()))?)
}

async fn shake_hands(
    stream: TcpStream,
    peer: Peer,
    options: &Options,
) -> Result<WebSocketLink, WebSocketError> {
    let Options { config, path, .. } = options;
    let path = path.as_deref();
    stream
        .set_nodelay(config.nodelay)
        .map_err(|source| WebSocketError::Handshake { address: peer.to_string(), source })?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &options.tls {
        let (stream, peer) = crate::tls::accept(stream, peer, Arc::clone(tls)).await?;
        let (stream, read) = handshake::server(stream, &peer, path, config).await?;
        return Ok(WebSocketLink::from_stream(stream, read, Side::Server, peer, config));
    }
    let (stream, read) = handshake::server(stream, &peer, path, config).await?;
    let (reader, writer) = stream.into_split();
    let halves = (Box::new(reader) as _, Box::new(writer) as _);
    Ok(WebSocketLink::from_halves(halves, read, Side::Server, peer, config))
}

/// Whether an error of `accept` is about the connection that would have been accepted: some systems
/// report its network errors there. Running out of files or memory is not: the connection stays in
/// the queue, and another call at once would fail at once.
fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            // A firewall forbids this peer.
            | io::ErrorKind::PermissionDenied
    )
}
