//! TLS links over TCP, by [rustls] with the cryptography of [ring]; feature `tls`.
//!
//! [`TlsSource`] dials and [`TlsLinkListener`] accepts; both take their settings as rustls has them,
//! which is why the crate is here as [`rustls`]. Name the provider in them, as below, and nothing
//! depends on what the process has chosen as its default. Only TLS 1.3 is compiled in; a program that
//! needs 1.2 as well turns on the feature `tls12` of rustls for itself.
//!
//! There is no way here to leave the peer unverified, and no reading of files: rustls has that in
//! [`rustls::pki_types::pem`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use rejoin_tcp::tls::rustls::crypto::ring::default_provider;
//! use rejoin_tcp::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
//! use rejoin_tcp::tls::{TlsLinkListener, TlsSource};
//! use rejoin_tcp::{StableConduit, StableListener, TcpLinkListener, TcpSource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let made = rcgen::generate_simple_self_signed(["server.example".into()])?;
//! # let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
//! # let key = rejoin_tcp::tls::rustls::pki_types::PrivateKeyDer::try_from(key)?;
//! # let mut roots = RootCertStore::empty();
//! # roots.add(certificate.clone())?;
//! let provider = Arc::new(default_provider());
//! let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
//!     .with_safe_default_protocol_versions()?
//!     .with_no_client_auth()
//!     .with_single_cert(vec![certificate], key)?;
//! let tcp = TcpLinkListener::bind("127.0.0.1:0").await?;
//! let address = tcp.local_addr()?;
//! let mut listener =
//!     StableListener::<String>::new(TlsLinkListener::new(tcp, Arc::new(config)));
//!
//! let config = ClientConfig::builder_with_provider(provider)
//!     .with_safe_default_protocol_versions()?
//!     .with_root_certificates(roots)
//!     .with_no_client_auth();
//! let source = TlsSource::new(TcpSource::new(address), "server.example", Arc::new(config));
//! let client = tokio::spawn(StableConduit::<String>::connect(source));
//!
//! let (tx, _rx) = listener.accept().await?.split();
//! tx.send(&"nobody else can read this".into()).await?;
//! let (_tx, mut rx) = client.await??.split();
//! assert_eq!(rx.recv().await?.ok_or("closed")?.as_str(), "nobody else can read this");
//! # Ok(())
//! # }
//! ```
//!
//! # Client certificates
//!
//! A server that asks for them, with a
//! [`WebPkiClientVerifier`](rustls::server::WebPkiClientVerifier), knows who calls: the
//! [`fingerprint`] of the certificate is the [identity](rejoin_core::Peer::identity) of the peer. It
//! reaches the [admission hook](rejoin_core::StableListener::with_admission), and a key that was
//! stolen is of no use to somebody with another certificate or without one. Where certificates are
//! renewed while sessions live, choose an identity that stays:
//! [`identify_by`](TlsLinkListener::identify_by).
//!
//! [rustls]: https://docs.rs/rustls
//! [ring]: https://docs.rs/ring

mod error;
mod link;
mod listener;
mod source;

pub use error::TlsError;
pub use link::{TlsLink, TlsLinkRx, TlsLinkTx, fingerprint};
pub use listener::{TlsLinkListener, TlsListenerSource};
pub use source::TlsSource;
pub use tokio_rustls;
pub use tokio_rustls::rustls;
