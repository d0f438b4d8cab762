//! The in-process transport: links, a listener and a source without any I/O.
//!
//! It is the reference for what the traits ask of a transport, and what tests use in place of a
//! network: a [`MemoryNetwork`] cuts and freezes links and refuses dials on demand. It deliberately
//! has no timers, spawns no tasks, and works under every executor and under paused time.

mod channel;
mod link;
mod network;

pub use link::{MemoryLink, MemoryRx, MemoryTx, memory_link_pair};
pub use network::{MemoryConnector, MemoryListener, MemoryNetwork, MemorySource, memory_listener};

/// The limits of a memory link.
///
/// One direction of a link holds at most `2 * max(capacity_bytes, payload_bytes_max + 32)` bytes:
/// what was sent and not flushed, and what was flushed and not received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryConfig {
    /// How many bytes each direction holds between flush and receive; 256 KiB by default.
    ///
    /// Every payload counts as its length and 32 bytes for its place in the queue. A payload that
    /// exceeds the capacity alone is taken when the direction is empty, so that it can pass at all.
    pub capacity_bytes: usize,
    /// The longest payload that a link takes, in bytes; 16 MiB and 64 KiB by default, which is room
    /// for the largest message of a stable conduit and its head.
    pub payload_bytes_max: usize,
    /// How many dialed links a listener holds until they are accepted; 128 by default, and at least
    /// one. Further dials wait.
    pub backlog_max: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: 256 * 1024,
            payload_bytes_max: 16 * 1024 * 1024 + 64 * 1024,
            backlog_max: 128,
        }
    }
}

#[cfg(test)]
mod tests;
