//! TCP links pass the conformance suite, through a proxy that harms them.

use std::io;
use std::process::ExitCode;

use rejoin_conformance::proxy::FaultProxy;
use rejoin_conformance::{Capability, Feature, Fixture, LoneSource, Medium};
use rejoin_tcp::{StreamConfig, TcpConfig, TcpLinkListener, TcpSource};
use tokio::net::TcpSocket;

const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// What the system and the proxy hold between two sockets, with room to spare.
const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

struct Tcp;

impl Fixture for Tcp {
    fn capability(&self) -> Capability {
        Capability::new("tcp", PAYLOAD_BYTES_MAX, BUFFERED_BYTES_MAX)
            .without(Feature::DropIsError, "a process that dies sends a FIN, as one that closes")
            .without(Feature::Corruption, "TCP and the network below see to damage")
    }

    async fn open(&self) -> io::Result<Medium> {
        let listener = TcpLinkListener::bind("127.0.0.1:0").await?.with_config(config());
        let proxy = FaultProxy::start(listener.local_addr()?).await?;
        let address = proxy.addr();
        let dial = move || TcpSource::new(address).with_config(config());
        Ok(Medium::listening(dial, listener).with_faults(proxy))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        // Bound, so that nobody else gets the port, and not listening.
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        Ok(LoneSource::new(TcpSource::new(socket.local_addr()?)).keeping(socket))
    }

    async fn exhausted(&self) -> io::Result<LoneSource> {
        Ok(LoneSource::new(TcpSource::new("no port")))
    }
}

fn config() -> TcpConfig {
    let stream = StreamConfig { payload_bytes_max: PAYLOAD_BYTES_MAX, ..StreamConfig::default() };
    TcpConfig { stream, ..TcpConfig::default() }
}

fn main() -> ExitCode {
    rejoin_conformance::main(Tcp)
}
