//! The memory transport passes its own suite.

#[path = "memory/capability.rs"]
mod capability;
mod memory;

use std::io;
use std::process::ExitCode;

use rejoin_conformance::{Capability, Feature, Fixture, LoneSource, Medium};
use rejoin_core::memory_listener;

struct Memory;

impl Fixture for Memory {
    fn capability(&self) -> Capability {
        capability::capability("memory")
            .without(Feature::Exhaustion, "a memory source has always one more link to give")
    }

    async fn open(&self) -> io::Result<Medium> {
        let (listener, connector) = memory_listener(memory::config());
        let faults = memory::Network(connector.network().clone());
        Ok(Medium::listening(move || connector.source(), listener).with_faults(faults))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        let (_gone, connector) = memory_listener(memory::config());
        Ok(LoneSource::new(connector.source()))
    }
}

fn main() -> ExitCode {
    rejoin_conformance::main(Memory)
}
