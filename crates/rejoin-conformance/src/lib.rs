//! What a rejoin transport is tested with. Nothing here is needed to use one.
//!
//! A transport describes itself with a [`Fixture`]: how to open a medium with an initiator and an
//! acceptor, how to harm it, and, in its [`Capability`], what it cannot do and why. Its whole
//! conformance test is then a `tests/conformance.rs` of a few lines, with `harness = false` in the
//! manifest:
//!
//! ```no_run
//! use std::io;
//! use std::process::ExitCode;
//!
//! use rejoin_conformance::{Capability, Feature, Fixture, Medium};
//! use rejoin_core::{MemoryConfig, memory_listener};
//!
//! struct Memory;
//!
//! impl Fixture for Memory {
//!     fn capability(&self) -> Capability {
//!         Capability::new("memory", 1 << 20, 1 << 20)
//!             .without(Feature::Corruption, "memory links have no bytes to damage")
//!         // … and whatever else it lacks
//!     }
//!
//!     async fn open(&self) -> io::Result<Medium> {
//!         let (listener, connector) = memory_listener(MemoryConfig::default());
//!         Ok(Medium::listening(move || connector.source(), listener))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     rejoin_conformance::main(Memory)
//! }
//! ```
//!
//! Every trial is a test with a name of its own, such as `link::empty_payload`. One that needs what
//! the transport lacks is shown as ignored, with the reason. What each transport runs and skips is
//! kept in a reviewed file beside the test, see [`Suite::snapshot`].
//!
//! The trials write down what the `# Behavior` lists of [`Link`](rejoin_core::Link),
//! [`LinkSource`](rejoin_core::LinkSource) and [`LinkListener`](rejoin_core::LinkListener) promise,
//! and that a stable conduit over such links keeps its own promises. They deliberately know nothing
//! of how a transport works.

mod capability;
mod erase;
mod fixture;
mod kit;
mod snapshot;
mod suite;
mod trials;

pub mod proxy;

pub use capability::{Capability, Feature};
pub use fixture::{Faults, Fixture, LoneSource, Medium, Sever, Toward};
pub use suite::{Suite, Verdict, main};

/// The README's example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
