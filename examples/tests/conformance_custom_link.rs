//! Links through child processes pass the conformance suite: the relays are killed, and what is
//! between them and the server is harmed by a proxy.

#[path = "../src/bin/custom_link/transport/mod.rs"]
mod transport;

use std::io;
use std::process::ExitCode;

use rejoin_conformance::proxy::FaultProxy;
use rejoin_conformance::{Capability, Faults, Feature, Fixture, LoneSource, Medium, Suite};
use rejoin_conformance::{Sever, Toward};
use rejoin_stream::StreamConfig;
use transport::{ProcessSource, RelayListener};

const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// What the pipes, the sockets, the relay and the proxy hold, with room to spare.
const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

struct Processes;

impl Fixture for Processes {
    fn capability(&self) -> Capability {
        Capability::new("custom_link", PAYLOAD_BYTES_MAX, BUFFERED_BYTES_MAX)
            .without(Feature::GracefulEnd, "an end without a goodbye of the peer is a death")
            .without(Feature::Corruption, "pipes and the loopback interface damage nothing")
    }

    async fn open(&self) -> io::Result<Medium> {
        let listener = RelayListener::bind(([127, 0, 0, 1], 0).into(), config()).await?;
        let proxy = FaultProxy::start(listener.local_addr()?).await?;
        let to = proxy.addr().to_string();
        let relay = env!("CARGO_BIN_EXE_custom_link");
        let source = ProcessSource::new(relay, ["relay", "--to", &to], config());
        let faults = Harm { source: source.clone(), proxy };
        Ok(Medium::listening(move || source.clone(), listener).with_faults(faults))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        Ok(LoneSource::new(ProcessSource::new("no-such-program-anywhere", [""; 0], config())))
    }

    async fn exhausted(&self) -> io::Result<LoneSource> {
        // A folder cannot be run, now or later.
        Ok(LoneSource::new(ProcessSource::new(std::env::temp_dir(), [""; 0], config())))
    }
}

fn config() -> StreamConfig {
    StreamConfig { payload_bytes_max: PAYLOAD_BYTES_MAX, ..StreamConfig::default() }
}

/// Kills relays, and harms what is between them and the server.
struct Harm {
    source: ProcessSource,
    proxy: FaultProxy,
}

impl Faults for Harm {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        // First, or else the proxy may pass on the orderly end of what a killed relay had open.
        self.proxy.sever(how).await?;
        // A process that is killed may end its output before its input.
        while how == Sever::Abrupt && self.source.kill_relays() > 0 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> io::Result<()> {
        self.proxy.sever_next_after(toward, bytes).await
    }

    async fn restore(&mut self) -> io::Result<()> {
        self.proxy.restore().await
    }
}

fn main() -> ExitCode {
    Suite::new(Processes).snapshot("tests/conformance_custom_link.snapshot").main()
}
