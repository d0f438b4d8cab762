//! The options of xyz links.

/// Options of the links that a source or a listener makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XyzConfig {
    /// The largest payload that is sent or received, in bytes; 16 MiB + 64 by default, which is the
    /// largest message of a session and room for the head of its frame.
    pub payload_bytes_max: usize,
}

impl Default for XyzConfig {
    fn default() -> Self {
        Self { payload_bytes_max: (16 << 20) + 64 }
    }
}
