//! Certificates that are made for one test, and the settings that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rejoin_tcp::tls::rustls::crypto::CryptoProvider;
use rejoin_tcp::tls::rustls::crypto::ring::default_provider;
use rejoin_tcp::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rejoin_tcp::tls::rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rejoin_tcp::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Certifies servers and clients.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and the key to it.
pub(crate) struct Certified {
    pub(crate) certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Certified {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

impl Authority {
    /// An authority that is like no other.
    pub(crate) fn new() -> Self {
        static AUTHORITIES: AtomicU32 = AtomicU32::new(0);
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("authority {number} of these tests"))
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub(crate) fn certify(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Certified {
        self.certify_with(name, purpose, |_| {})
    }

    fn certify_with(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Certified { certificate, key }
    }

    pub(crate) fn certify_client(&self, name: &str) -> Certified {
        self.certify(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A server with this name that asks nobody for a certificate.
    pub(crate) fn server(&self, name: &str) -> Arc<ServerConfig> {
        self.server_with(&self.certify(name, ExtendedKeyUsagePurpose::ServerAuth))
    }

    /// A server whose certificate has expired.
    pub(crate) fn expired_server(&self, name: &str) -> Arc<ServerConfig> {
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        self.server_with(&self.certify_with(name, purpose, |params| {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }))
    }

    fn server_with(&self, own: &Certified) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.certificate.clone()], own.key());
        Arc::new(config.unwrap())
    }

    /// A server with this name that lets in only whom this authority has certified.
    pub(crate) fn server_for_clients(&self, name: &str) -> Arc<ServerConfig> {
        self.server_that_verifies(name, |verifier| verifier)
    }

    /// A server with this name that also lets in who shows no certificate.
    pub(crate) fn server_for_anybody(&self, name: &str) -> Arc<ServerConfig> {
        self.server_that_verifies(name, ClientCertVerifierBuilder::allow_unauthenticated)
    }

    fn server_that_verifies(
        &self,
        name: &str,
        change: impl FnOnce(ClientCertVerifierBuilder) -> ClientCertVerifierBuilder,
    ) -> Arc<ServerConfig> {
        let own = self.certify(name, ExtendedKeyUsagePurpose::ServerAuth);
        let roots = Arc::new(self.roots());
        let verifier = change(WebPkiClientVerifier::builder_with_provider(roots, provider()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![own.certificate.clone()], own.key());
        Arc::new(config.unwrap())
    }

    /// A client that trusts this authority and has no certificate.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A client that trusts this authority and shows `own`.
    pub(crate) fn client_as(&self, own: &Certified) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![own.certificate.clone()], own.key());
        Arc::new(config.unwrap())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}
