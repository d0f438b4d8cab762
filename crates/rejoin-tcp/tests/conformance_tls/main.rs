//! TLS links pass the conformance suite, through a proxy that harms them and a relay that damages
//! what they carry.

mod damage;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use rejoin_conformance::{Capability, Feature, Fixture, LoneSource, Medium, Suite};
use rejoin_tcp::tls::rustls::crypto::ring::default_provider;
use rejoin_tcp::tls::rustls::pki_types::PrivateKeyDer;
use rejoin_tcp::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use rejoin_tcp::tls::{TlsLinkListener, TlsSource};
use rejoin_tcp::{StreamConfig, TcpConfig, TcpLinkListener, TcpSource};
use tokio::net::TcpSocket;

use damage::DamagedNetwork;

const SERVER: &str = "server.example";
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// What the system, the proxy and TLS hold between two sockets, with room to spare.
const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let own = rcgen::generate_simple_self_signed([SERVER.to_owned()])?;
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone())?;
        let provider = Arc::new(default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    fn source(&self, tcp: TcpSource) -> TlsSource {
        TlsSource::new(tcp.with_config(config()), SERVER, Arc::clone(&self.client))
    }
}

impl Fixture for Tls {
    fn capability(&self) -> Capability {
        Capability::new("tls", PAYLOAD_BYTES_MAX, BUFFERED_BYTES_MAX)
            .without(Feature::GracefulEnd, "only the peer itself can close TLS in order")
    }

    async fn open(&self) -> io::Result<Medium> {
        let tcp = TcpLinkListener::bind("127.0.0.1:0").await?.with_config(config());
        let network = DamagedNetwork::start(tcp.local_addr()?).await?;
        let listener = TlsLinkListener::new(tcp, Arc::clone(&self.server));
        let (address, client) = (network.addr(), Arc::clone(&self.client));
        let dial = move || {
            let tcp = TcpSource::new(address).with_config(config());
            TlsSource::new(tcp, SERVER, Arc::clone(&client))
        };
        Ok(Medium::listening(dial, listener).with_faults(network))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        // Bound, so that nobody else gets the port, and not listening.
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        Ok(LoneSource::new(self.source(TcpSource::new(socket.local_addr()?))).keeping(socket))
    }

    async fn exhausted(&self) -> io::Result<LoneSource> {
        Ok(LoneSource::new(self.source(TcpSource::new("no port"))))
    }
}

fn config() -> TcpConfig {
    let stream = StreamConfig { payload_bytes_max: PAYLOAD_BYTES_MAX, ..StreamConfig::default() };
    TcpConfig { stream, ..TcpConfig::default() }
}

fn main() -> ExitCode {
    let tls = Tls::new().expect("a certificate and settings can be made");
    Suite::new(tls).snapshot("tests/conformance_tls.snapshot").main()
}
