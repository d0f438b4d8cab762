//! Accepts TCP connections as links.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;

use rejoin_core::{AcceptorSource, LinkListener, Peer};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use crate::config::TcpConfig;
use crate::error::TcpError;
use crate::link::{TcpLink, prepare};

/// How many connections may wait to be accepted; the system may have a lower limit of its own, which is
/// this on Linux unless somebody has changed it. All peers of a server come back at the same moment
/// when its network does, and who finds no room tries again no sooner than a second later.
const BACKLOG: u32 = 4096;

/// A source of the links on which the peer speaks first: for a conduit that waits to be called by
/// one peer, where a [`StableListener`](rejoin_core::StableListener) would be for many.
///
/// ```
/// use rejoin_tcp::{AcceptorConfig, StableConduit, TcpLinkListener, TcpListenerSource, TcpSource};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
/// let calling = StableConduit::<String>::connect(TcpSource::new(listener.local_addr()?));
/// let called = TcpListenerSource::new(listener, AcceptorConfig::default());
/// let (near, far) = tokio::try_join!(calling, StableConduit::<String>::connect(called))?;
///
/// let ((tx, _), (_, mut rx)) = (near.split(), far.split());
/// tx.send(&"hello".into()).await?;
/// assert_eq!(rx.recv().await?.ok_or("closed")?.as_str(), "hello");
/// # Ok(())
/// # }
/// ```
pub type TcpListenerSource = AcceptorSource<TcpLinkListener>;

/// Accepts TCP connections as links.
#[derive(Debug)]
pub struct TcpLinkListener {
    listener: TcpListener,
    config: TcpConfig,
}

impl TcpLinkListener {
    /// Listens at `address`, `host:port` or a [`SocketAddr`]; port 0 lets the system choose one,
    /// which [`local_addr`](Self::local_addr) tells. Up to 4096 connections may wait to be accepted,
    /// if the system allows as many.
    ///
    /// # Errors
    ///
    /// [`TcpError::Bind`] inside, whatever went wrong.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future binds nothing.
    pub async fn bind(address: impl ToString) -> io::Result<Self> {
        let address = address.to_string();
        match listen(&address).await {
            Ok(listener) => Ok(Self::from_tokio(listener)),
            Err(source) => Err(TcpError::Bind { address, source }.into()),
        }
    }

    /// Accepts from a listener that was made elsewhere, such as one handed over by a supervisor.
    ///
    /// # Errors
    ///
    /// When the listener cannot be registered with the runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::from_tokio(TcpListener::from_std(listener)?))
    }

    /// Accepts from a listener that was made elsewhere.
    #[must_use]
    pub fn from_tokio(listener: TcpListener) -> Self {
        Self { listener, config: TcpConfig::default() }
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: TcpConfig) -> Self {
        self.config = config;
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

    /// The options of the links to come.
    #[cfg(feature = "tls")]
    pub(crate) fn config(&self) -> &TcpConfig {
        &self.config
    }

    /// The next peer's connection with its options set, or what setting them failed with.
    pub(crate) async fn accept_stream(&mut self) -> io::Result<io::Result<(TcpStream, Peer)>> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match prepare(&stream, &self.config) {
                    Ok(peer) => return Ok(Ok((stream, peer))),
                    // Reset while it waited in the queue: there is no peer whose upgrade could fail.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                    Err(error) => return Ok(Err(error)),
                },
                Err(source) if concerns_one_peer(&source) => {}
                Err(source) => return Err(TcpError::Accept { source }.into()),
            }
        }
    }
}

impl LinkListener for TcpLinkListener {
    type Link = TcpLink;
    type Upgrade = Ready<io::Result<TcpLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let accepted = self.accept_stream().await?;
        Ok(ready(accepted.map(|(stream, peer)| TcpLink::new(stream, peer, &self.config))))
    }
}

/// Listens at the first of the addresses that `address` stands for at which it can.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failed = None;
    for address in lookup_host(address).await? {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    Err(failed.unwrap_or_else(none))
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again need not wait for the connections of the one before. Elsewhere
    // the option has another meaning: somebody else could take the address.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether an error of `accept` is about the connection that would have been accepted: some
/// systems report its network errors there. Such a connection has left the queue, so the next call
/// is about another one. Running out of files or memory is not: the connection stays in the queue,
/// and another call at once would fail at once.
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_peer_are_told_from_those_of_the_listener() {
        const ECONNABORTED: i32 = 103;
        const EPERM: i32 = 1;
        const EHOSTUNREACH: i32 = 113;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = 105;
        const ENOMEM: i32 = 12;
        for code in [ECONNABORTED, EPERM, EHOSTUNREACH] {
            assert!(concerns_one_peer(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [ENFILE, EMFILE, ENOBUFS, ENOMEM] {
            let source = io::Error::from_raw_os_error(code);
            assert!(!concerns_one_peer(&source), "{code}");
            let error = TcpError::Accept { source };
            assert!(error.is_transient());
            assert!(!rejoin_core::is_fatal_kind(&error.into()), "{code}");
        }
    }
}
