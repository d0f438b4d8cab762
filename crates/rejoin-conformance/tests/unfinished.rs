//! What an author is told whose fixture cannot do what its capability says.

use std::io;

use rejoin_conformance::{Capability, Fixture, Medium, Suite, Verdict};
use rejoin_core::{MemoryConfig, memory_listener};

/// A fixture without faults, whose capability says nothing of that.
struct Unfinished;

impl Fixture for Unfinished {
    fn capability(&self) -> Capability {
        Capability::new("unfinished", MemoryConfig::default().payload_bytes_max, 4 << 20)
    }

    async fn open(&self) -> io::Result<Medium> {
        let (listener, connector) = memory_listener(MemoryConfig::default());
        Ok(Medium::listening(move || connector.source(), listener))
    }
}

#[track_caller]
fn check(trial: &str, what: &str, feature: &str) {
    let Some(Verdict::Failed { because }) = Suite::new(Unfinished).run(trial) else {
        panic!("{trial} did not fail")
    };
    assert!(because.contains(what) && because.contains(feature), "{because}");
}

#[test]
fn what_is_missing_is_named_together_with_the_way_to_do_without() {
    let faults = "Medium::with_faults";
    check("link::an_orderly_end_is_none", faults, "Feature::GracefulEnd");
    check("link::abrupt_death_is_an_error", faults, "Feature::AbruptEnd");
    check("source::a_link_after_silence", faults, "Feature::HalfOpen");
    check("link::damage_never_makes_a_payload", faults, "Feature::Corruption");
    let cut = "Faults::sever_next_after";
    check("stable::cut_at_every_byte_of_the_handshake", cut, "Feature::CutAfterBytes");
    check("source::a_refusal_is_typed_and_may_heal", "Fixture::nobody", "Feature::Refusal");
    check("source::an_exhausted_source_stays_so", "Fixture::exhausted", "Feature::Exhaustion");
}
