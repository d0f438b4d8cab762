//! Accepts TLS connections as links.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rejoin_core::{AcceptorSource, LinkListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::error::TlsError;
use super::link::{TlsLink, certified_by};
use crate::listener::TcpLinkListener;

/// How long a peer that was refused may take to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// How much of what such a peer still sends is read and thrown away.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;

/// A source of the TLS links on which the peer speaks first: for a conduit that waits to be called
/// by one peer.
pub type TlsListenerSource = AcceptorSource<TlsLinkListener>;

type Identify = dyn Fn(&[CertificateDer<'_>]) -> Option<String> + Send + Sync;

/// Accepts TLS connections as links: as a [`TcpLinkListener`] does, and then shakes hands, as part of
/// the upgrade. So a peer that is slow, silent or does not speak TLS holds up nobody.
///
/// Where the configuration asks for client certificates, the [`fingerprint`](super::fingerprint) of
/// a verified one is the peer's [identity](rejoin_core::Peer::identity): the
/// [admission hook](rejoin_core::StableListener::with_admission) sees it, and a session that was
/// opened under it is resumed under it only.
pub struct TlsLinkListener {
    tcp: TcpLinkListener,
    acceptor: TlsAcceptor,
    identify: Arc<Identify>,
}

impl TlsLinkListener {
    /// Accepts what `tcp` accepts, with the certificate and the demands of `config`.
    #[must_use]
    pub fn new(tcp: TcpLinkListener, config: Arc<ServerConfig>) -> Self {
        Self { tcp, acceptor: TlsAcceptor::from(config), identify: Arc::new(certified_by) }
    }

    /// Names peers otherwise: `identify` gets the certificate of the peer and those with which it
    /// was verified, its own first, and says who that is; `None` for nobody in particular.
    ///
    /// For identities that outlive a certificate, such as a name in it. Whatever is returned must be
    /// what the issuer vouches for, and is shown in logs.
    #[must_use]
    pub fn identify_by(
        mut self,
        identify: impl Fn(&[CertificateDer<'_>]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.identify = Arc::new(identify);
        self
    }

    /// The listener underneath.
    #[must_use]
    pub fn tcp(&self) -> &TcpLinkListener {
        &self.tcp
    }
}

impl LinkListener for TlsLinkListener {
    type Link = TlsLink;
    type Upgrade = Pin<Box<dyn Future<Output = io::Result<TlsLink>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let accepted = self.tcp.accept_stream().await?;
        let acceptor = self.acceptor.clone();
        let config = self.tcp.config().clone();
        let identify = Arc::clone(&self.identify);
        Ok(Box::pin(async move {
            let (stream, peer) = accepted?;
            match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => Ok(TlsLink::new(stream.into(), peer, &config, &*identify)),
                Err((error, stream)) => {
                    let error = TlsError::from_handshake(error);
                    if !matches!(error, TlsError::Connection { .. }) {
                        linger(stream).await;
                    }
                    Err(error.into())
                }
            }
        }))
    }
}

impl fmt::Debug for TlsLinkListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLinkListener").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

/// Gives a peer that was refused the time to read the alert that says why. It may have sent more by
/// now, and a socket that is closed with unread bytes resets the connection, which would take the
/// alert along.
async fn linger(mut stream: TcpStream) {
    let reads = async {
        stream.shutdown().await?;
        let mut rest = stream.take(REFUSAL_BYTES_MAX);
        let mut buffer = [0; 1024];
        while rest.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    // However it ends, there is nothing left to do.
    let _ = timeout(REFUSAL_LINGER, reads).await;
}
