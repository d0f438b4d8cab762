//! What fixtures over memory links have in common.

use std::io;

use rejoin_conformance::{Capability, Faults, Feature, Sever};
use rejoin_core::{MemoryConfig, MemoryNetwork};

const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
const CAPACITY_BYTES: usize = 256 * 1024;

/// What every source over memory links has.
pub(crate) fn capability(name: &str) -> Capability {
    Capability::new(name, PAYLOAD_BYTES_MAX, 4 * CAPACITY_BYTES)
        .without(Feature::GracefulEnd, "a memory network cuts links, it does not close them")
        .without(Feature::Corruption, "a memory link carries no bytes that could be damaged")
        .without(Feature::CutAfterBytes, "a memory link carries payloads, not bytes")
        .without(Feature::EarlyLimit, "a memory link hands payloads over, it reads none")
        .without(Feature::SendProgress, "a memory link takes a payload in one step")
        .without(Feature::RecvProgress, "a memory link gives a payload in one step")
}

pub(crate) fn config() -> MemoryConfig {
    MemoryConfig {
        capacity_bytes: CAPACITY_BYTES,
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        ..MemoryConfig::default()
    }
}

/// The faults of a memory network.
pub(crate) struct Network(pub(crate) MemoryNetwork);

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
