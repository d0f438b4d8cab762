//! Dials TLS connections as links.

use std::fmt;
use std::io;
use std::sync::Arc;

use rejoin_core::{Attachment, LinkSource, is_fatal_kind};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::{TlsError, find};
use super::link::{TlsLink, certified_by};
use crate::error::TcpError;
use crate::source::TcpSource;

/// Dials TLS connections as links: as a [`TcpSource`] does, and then shakes hands.
///
/// An address at which the handshake fails counts as one that does not answer, and the next one is
/// tried. The handshake may take as long as
/// [connecting](crate::TcpConfig::connect_timeout).
///
/// # Which errors are fatal
///
/// Those that are not [transient](TlsError::is_transient), such as a certificate that does not
/// verify, until a link of this source has worked. After that the settings are known to be right, so
/// it is the network that leads elsewhere, as the Wi-Fi of a hotel does that waits for a log-in:
/// such errors then count as an outage, which ends when the conduit's
/// [redial policy](rejoin_core::RedialPolicy) says.
pub struct TlsSource {
    tcp: TcpSource,
    /// The name, or the text that is none.
    server_name: Result<ServerName<'static>, String>,
    connector: TlsConnector,
    /// A link was given, and nobody has said that it failed.
    given: bool,
    /// A link that was given has worked.
    proven: bool,
}

impl TlsSource {
    /// Dials as `tcp` does, and expects a certificate for `server_name`: a DNS name or an IP address.
    ///
    /// A text that is neither shows as a fatal error of the first attempt.
    pub fn new(tcp: TcpSource, server_name: impl AsRef<str>, config: Arc<ClientConfig>) -> Self {
        let name = server_name.as_ref();
        Self {
            tcp,
            server_name: ServerName::try_from(name.to_owned())
                .map_err(|_| name.escape_debug().collect()),
            connector: TlsConnector::from(config),
            given: false,
            proven: false,
        }
    }
}

impl LinkSource for TlsSource {
    type Link = TlsLink;

    async fn next_link(&mut self) -> io::Result<Attachment<TlsLink>> {
        let server_name = match &self.server_name {
            Ok(server_name) => server_name.clone(),
            Err(name) => return Err(TlsError::InvalidServerName { name: name.clone() }.into()),
        };
        self.proven |= std::mem::take(&mut self.given);
        let connector = self.connector.clone();
        let config = self.tcp.config().clone();
        let link = self.tcp.dial(|stream, peer| {
            let handshake = connector.connect(server_name.clone(), stream);
            let config = config.clone();
            async move {
                let limit = config.connect_timeout;
                let error = match timeout(limit, handshake).await {
                    Ok(Ok(stream)) => {
                        return Ok(TlsLink::new(stream.into(), peer, &config, certified_by));
                    }
                    Ok(Err(error)) => TlsError::from_handshake(error),
                    Err(_) => TlsError::HandshakeTimeout { timeout: limit },
                };
                let address = peer.address().unwrap_or_default().to_owned();
                Err(TcpError::Tls { address, source: error })
            }
        });
        let link = link.await?;
        self.given = true;
        Ok(Attachment::initiator(link))
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        if let Some(error) = find::<TcpError>(error) {
            return !(error.is_transient() || self.proven && error.is_about_tls());
        }
        match find::<TlsError>(error) {
            Some(TlsError::InvalidServerName { .. }) => true,
            Some(error) => !(error.is_transient() || self.proven),
            None => is_fatal_kind(error),
        }
    }

    fn link_failed(&mut self, error: &io::Error) {
        self.given = false;
        self.tcp.link_failed(error);
    }
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSource")
            .field("tcp", &self.tcp)
            .field("server_name", &self.server_name)
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}
