//! What fixtures over memory links have in common.

use std::io;

use rejoin_conformance::{Faults, Sever};
use rejoin_core::{MemoryConfig, MemoryNetwork};

pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
pub(crate) const CAPACITY_BYTES: usize = 256 * 1024;

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
