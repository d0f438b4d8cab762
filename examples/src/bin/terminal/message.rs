//! What client and server say to each other.

use std::time::Duration;

use facet::Facet;
use rejoin_tcp::StableConfig;

/// How many bytes are read and sent at once.
pub(crate) const CHUNK_BYTES: usize = 8 << 10;

/// How much output may be on its way, on each side. As much of it comes after Ctrl-C.
const ON_THE_WAY_BYTES: usize = 64 << 10;

/// A message of either side.
#[derive(Facet, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Message {
    /// From the client, first: what to run, where an empty list means a shell, and on which terminal.
    Start { command: Vec<String>, term: String, size: WindowSize },
    /// From the client: what was typed.
    Typed(Vec<u8>),
    /// From the client: nothing more will be typed.
    TypedAll,
    /// From the client: its window has another size.
    Resized(WindowSize),
    /// From the server: what the shell prints.
    Printed(Vec<u8>),
    /// From the server, last: how the shell has ended.
    Exited(u8),
}

/// The size of a window, in characters.
#[derive(Facet, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowSize {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// Settings for both sides: a shell is worth keeping overnight, and somebody waits for each key.
pub(crate) fn settings() -> StableConfig {
    let mut config = StableConfig::default();
    config.message_bytes_max = 1 << 20;
    config.send_log_bytes_max = ON_THE_WAY_BYTES;
    config.inbox_bytes_max = ON_THE_WAY_BYTES;
    config.ping_interval = Duration::from_secs(2);
    config.peer_dead_after = Duration::from_secs(8);
    config.outage_max = Duration::from_secs(24 * 3600);
    config.redial.backoff_max = Duration::from_secs(2);
    config
}
