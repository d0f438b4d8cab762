//! The limits and the pace of a line.

use std::time::Duration;

/// Limits and pace of a [`CobsLine`](super::CobsLine).
///
/// Both ends need the same `payload_bytes_max` and `escape_flow_control`.
///
/// # Memory
///
/// A line holds at most twice `payload_bytes_max` and `inbox_bytes_max` for what comes, and three
/// times `payload_bytes_max + write_buffer_bytes` for what goes, whatever the peer or the noise
/// sends. One that is idle holds about 8 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CobsConfig {
    /// The largest payload that is sent or received, in bytes; 64 KiB + 64 by default.
    pub payload_bytes_max: usize,
    /// How much is queued before it is written without a flush, in bytes; 1 KiB by default.
    pub write_buffer_bytes: usize,
    /// How much may have come that nobody has received yet, in bytes; 16 KiB by default. Beyond it
    /// the line is not read; what that does depends on the line's own flow control.
    pub inbox_bytes_max: usize,
    /// How much the system may have queued for the line, in bytes; 1 KiB by default. Only for a
    /// [`Medium`](super::Medium) that can tell.
    pub output_queue_bytes_max: usize,
    /// How many bytes the line carries in a second, where that is known; 11 520 by default. Used
    /// to wait for a full queue only.
    pub bytes_per_second: u32,
    /// After how long a call that was not answered is repeated; 50 ms by default, doubled with each
    /// repetition up to twenty times that.
    pub repeat_after: Duration,
    /// Keeps the bytes XON and XOFF out of what is sent, for a line with software flow control.
    /// Off by default. Costs 1 % with random payloads.
    pub escape_flow_control: bool,
}

impl Default for CobsConfig {
    fn default() -> Self {
        Self {
            payload_bytes_max: (64 << 10) + 64,
            write_buffer_bytes: 1 << 10,
            inbox_bytes_max: 16 << 10,
            output_queue_bytes_max: 1 << 10,
            bytes_per_second: 11_520,
            repeat_after: Duration::from_millis(50),
            escape_flow_control: false,
        }
    }
}
