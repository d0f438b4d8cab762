//! What is done with hostile bytes: one function for each kind, which panics where the product breaks
//! its word. libFuzzer calls them (`tests/fuzz`), and so do the test of the kept inputs
//! (`tests/corpora.rs`) and a mutator that needs no tools (`src/bin/mutate.rs`). Nothing here makes
//! up inputs.

mod cobs;
mod codec;
mod feed;
mod frame;
mod guard;
mod hello;
mod input;
mod length_prefix;
mod session;
mod websocket;

pub use guard::{ALLOCATOR, Guard};

/// One kind of hostile bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the folder of its corpus is named.
    pub name: &'static str,
    /// Does everything there is to do with an input. Panics where something is wrong.
    pub run: fn(&[u8]),
    /// How many bytes may be allocated for each byte of the input, counting also what is given back.
    pub factor: usize,
    /// How many may be allocated besides, also for an input that is empty.
    pub slack_bytes: usize,
}

const MIB: usize = 1 << 20;

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "hello", run: hello::run, factor: 64, slack_bytes: MIB },
    Target { name: "frame", run: frame::run, factor: 64, slack_bytes: MIB },
    Target { name: "length_prefix", run: length_prefix::run, factor: 64, slack_bytes: MIB },
    Target { name: "cobs", run: cobs::run, factor: 64, slack_bytes: MIB },
    // A byte can stand for an item that the application sends.
    Target { name: "session", run: session::run, factor: 4096, slack_bytes: MIB },
    // A byte can be an element of a sequence, which takes as much memory as its type; and each
    // message is decoded by two codecs, written, decoded again, and shown. The slack is for 4096
    // elements that take no bytes, for which Facet needs a hundred each while it builds them.
    Target { name: "codec", run: codec::run, factor: 1024, slack_bytes: 4 * MIB },
    Target { name: "websocket", run: websocket::run, factor: 64, slack_bytes: MIB },
];

/// The target with this name.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}
