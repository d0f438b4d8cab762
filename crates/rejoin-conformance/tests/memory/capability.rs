//! What every transport over plain memory links has.

use rejoin_conformance::{Capability, Feature};

use crate::memory::{CAPACITY_BYTES, PAYLOAD_BYTES_MAX};

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
