//! TLS under a WebSocket, by rustls with the provider ring. Certificates, roots and versions are
//! rustls's business; here is only a sensible default for clients.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use rejoin_core::Peer;
use ring::digest::{SHA256, digest};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use tokio_rustls::rustls;

use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::error::WebSocketError;
use crate::handshake;
use crate::url::Target;

/// What a source uses that was given nothing else: the roots of Mozilla's programme, as they were
/// when `webpki-roots` was published, TLS 1.2 and 1.3, no client certificate.
///
/// # Panics
///
/// Never: ring has what the default versions need.
#[must_use]
pub fn default_client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what the default versions need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(config)
}

pub(crate) async fn connect(
    stream: TcpStream,
    target: &Target,
    config: Arc<ClientConfig>,
) -> Result<client::TlsStream<TcpStream>, WebSocketError> {
    let name = ServerName::try_from(target.host.clone()).map_err(|_| {
        let reason = "its host cannot be the name of a certificate";
        WebSocketError::InvalidUrl { url: target.text.clone(), reason }
    })?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|source| WebSocketError::Tls { address: target.address(), source })
}

/// Shakes hands with a client; gives the stream and the client with its identity, where it has shown a
/// certificate.
pub(crate) async fn accept(
    stream: TcpStream,
    peer: Peer,
    config: Arc<ServerConfig>,
) -> Result<(server::TlsStream<TcpStream>, Peer), WebSocketError> {
    let accepted = TlsAcceptor::from(config).accept(stream).into_fallible().await;
    let stream = match accepted {
        Ok(stream) => stream,
        Err((source, mut stream)) => {
            // An alert says what was wrong.
            handshake::end(&mut stream).await;
            return Err(WebSocketError::Tls { address: peer.to_string(), source });
        }
    };
    // Its own certificate comes first.
    let peer = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => peer.with_identity(fingerprint(certificate)),
        None => peer,
    };
    Ok((stream, peer))
}

/// What a certificate is told from all others by: `cert-sha256=` and the SHA-256 of its DER
/// encoding as 64 digits, lower case. `openssl x509 -fingerprint -sha256` shows the same digits, and
/// `rejoin-tcp` gives the same text.
///
/// A renewed certificate is another one.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::from("cert-sha256=");
    for byte in digest(&SHA256, certificate).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
