//! A certificate that is made on the spot, for a server and a client that trusts it.

use std::sync::Arc;

use rejoin_websocket::tls::rustls::crypto::ring::default_provider;
use rejoin_websocket::tls::rustls::pki_types::PrivatePkcs8KeyDer;
use rejoin_websocket::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The configurations of a server called `names`, and of a client that trusts it and nobody else.
pub(crate) fn configs(names: &[&str]) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("the names are names");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it can be a root");
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions need")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("the key is the certificate's");
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
