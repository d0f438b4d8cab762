//! The options of a Unix socket link.

use rejoin_stream::StreamConfig;

/// Options of the links that a source or a listener makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixConfig {
    /// Limits and buffer sizes, with their worst-case memory.
    pub stream: StreamConfig,
}
