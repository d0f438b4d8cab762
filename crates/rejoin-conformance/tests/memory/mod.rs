//! The memory transport as a fixture.

use std::io;

use rejoin_conformance::{Capability, Faults, Feature, Fixture, LoneSource, Medium, Sever};
use rejoin_core::{MemoryConfig, MemoryNetwork, memory_listener};

const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
const CAPACITY_BYTES: usize = 256 * 1024;

pub(crate) struct Memory;

impl Fixture for Memory {
    fn capability(&self) -> Capability {
        Capability::new("memory", PAYLOAD_BYTES_MAX, 4 * CAPACITY_BYTES)
            .without(Feature::GracefulEnd, "a memory network cuts links, it does not close them")
            .without(Feature::Corruption, "a memory link carries no bytes that could be damaged")
            .without(Feature::CutAfterBytes, "a memory link carries payloads, not bytes")
            .without(Feature::Exhaustion, "a memory source has always one more link to give")
            .without(Feature::EarlyLimit, "a memory link hands payloads over, it reads none")
            .without(Feature::SendProgress, "a memory link takes a payload in one step")
            .without(Feature::RecvProgress, "a memory link gives a payload in one step")
    }

    async fn open(&self) -> io::Result<Medium> {
        let (listener, connector) = memory_listener(config());
        let faults = Network(connector.network().clone());
        Ok(Medium::listening(move || connector.source(), listener).with_faults(faults))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        let (_gone, connector) = memory_listener(config());
        Ok(LoneSource::new(connector.source()))
    }
}

fn config() -> MemoryConfig {
    MemoryConfig {
        capacity_bytes: CAPACITY_BYTES,
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        ..MemoryConfig::default()
    }
}

struct Network(MemoryNetwork);

impl Faults for Network {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        match how {
            Sever::Abrupt => self.0.cut_links(),
            Sever::HalfOpen => self.0.freeze_links(),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(())
    }

    async fn restore(&mut self) -> io::Result<()> {
        self.0.thaw_links();
        Ok(())
    }
}
