//! The limits and buffer sizes of a link over a stream.

/// Limits and buffer sizes of one link.
///
/// # Memory
///
/// A half allocates nothing before its first message.
///
/// | state of the link | receiving half | sending half |
/// | --- | --- | --- |
/// | waits, nothing buffered | 4 KiB | 2 KiB, once a few small batches were flushed |
/// | busy with small messages | `read_buffer_bytes` | twice `write_buffer_bytes` |
/// | the peer announces a large message | twice what has arrived, and at least twice `read_buffer_bytes` | |
/// | at most | `payload_bytes_max` + `read_buffer_bytes` | `payload_bytes_max` + twice `write_buffer_bytes` |
///
/// Received payloads share the block that they arrived in, so one small payload that is kept also
/// keeps up to `read_buffer_bytes`. One that does not fit into such a block has a block of its own,
/// which is twice as large where that is enough. For up to two seconds a link that was busy keeps
/// blocks that nobody uses, never more than were in use at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// The largest payload that is sent or received, in bytes; 16 MiB + 64 by default, which is the
    /// largest message of a session and room for the head of its frame.
    ///
    /// Never more than a length prefix can say, 2³² − 1.
    pub payload_bytes_max: usize,
    /// How much is read at once, in bytes; 64 KiB by default and at least 4 KiB.
    pub read_buffer_bytes: usize,
    /// How much is queued before it is written without a flush, in bytes; 64 KiB by default.
    pub write_buffer_bytes: usize,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            payload_bytes_max: (16 << 20) + 64,
            read_buffer_bytes: 64 << 10,
            write_buffer_bytes: 64 << 10,
        }
    }
}

impl StreamConfig {
    /// The limit that is in force.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max.min(u32::MAX as usize)
    }
}
