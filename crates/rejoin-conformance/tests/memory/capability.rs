//! What every transport over plain memory links has.

use rejoin_conformance::{Capability, Feature};

use crate::memory::{CAPACITY_BYTES, PAYLOAD_BYTES_MAX};

/// What every source over memory links has.
#[allow(dead_code, reason = "not of every test")]
pub(crate) fn capability(name: &str) -> Capability {
    with_early_limit(name)
        .without(Feature::EarlyLimit, "a memory link hands payloads over, it reads none")
}

/// What sources over memory links have whose receiving halves look at how long a payload is.
pub(crate) fn with_early_limit(name: &str) -> Capability {
    Capability::new(name, PAYLOAD_BYTES_MAX, 4 * CAPACITY_BYTES)
        .without(Feature::GracefulEnd, "a memory network cuts links, it does not close them")
        .without(Feature::Corruption, "a memory link carries no bytes that could be damaged")
        .without(Feature::CutAfterBytes, "a memory link carries payloads, not bytes")
        .without(Feature::SendProgress, "a memory link takes a payload in one step")
        .without(Feature::RecvProgress, "a memory link gives a payload in one step")
}
