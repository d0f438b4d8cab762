//! Xyz links pass the conformance suite. Until they do, each trial that fails says what is missing.

use std::io;
use std::process::ExitCode;

use rejoin_conformance::{Capability, Faults, Fixture, LoneSource, Medium, Sever};
use rejoin_xyz::{XyzConfig, XyzLinkListener, XyzSource};

const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// What the medium holds in one direction, with room to spare.
const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) struct Xyz;

impl Fixture for Xyz {
    fn capability(&self) -> Capability {
        // What the transport cannot do, with the reason: `.without(Feature::Corruption, "...")`.
        Capability::new("xyz", PAYLOAD_BYTES_MAX, BUFFERED_BYTES_MAX)
    }

    async fn open(&self) -> io::Result<Medium> {
        // Trials run side by side, so each medium needs an address of its own.
        let listener = XyzLinkListener::bind("address").await?.with_config(config());
        let dial = || XyzSource::new("address").with_config(config());
        Ok(Medium::listening(dial, listener).with_faults(Harm))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        missing(
            "Fixture::nobody in tests/conformance.rs",
            "give a source of an address where nobody listens, or to declare \
             `.without(Feature::Refusal, \"why\")`",
        )
    }

    async fn exhausted(&self) -> io::Result<LoneSource> {
        missing(
            "Fixture::exhausted in tests/conformance.rs",
            "give a source that fails for good, such as of an address that is none, or to declare \
             `.without(Feature::Exhaustion, \"why\")`",
        )
    }
}

fn config() -> XyzConfig {
    XyzConfig { payload_bytes_max: PAYLOAD_BYTES_MAX }
}

/// Harms the links of one medium. Over TCP or Unix sockets, `rejoin_conformance::proxy` does.
struct Harm;

impl Faults for Harm {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        let _ = how;
        missing(
            "Faults::sever in tests/conformance.rs",
            "end, kill, silence and damage links, or to declare what it cannot do, such as \
             `.without(Feature::HalfOpen, \"why\")`",
        )
    }
}

fn missing<T>(what: &'static str, task: &'static str) -> io::Result<T> {
    let text = format!("not written yet: `{what}`, which is to {task}");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

fn main() -> ExitCode {
    rejoin_conformance::main(Xyz)
}
