//! The options of a WebSocket link.

use std::time::Duration;

/// Options of the links that a source or a listener makes.
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
/// | at most | twice `message_bytes_max` + `read_buffer_bytes` | one body of `message_bytes_max` + twice `write_buffer_bytes` |
///
/// The worst case of the receiving half is a message in several frames, which are put together.
/// Received payloads share the block that they arrived in, so one small payload that is kept also
/// keeps up to `read_buffer_bytes`. A peer that is being upgraded costs up to `head_bytes_max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// How long a name may take to resolve, and each address to connect; 5 s by default.
    pub connect_timeout: Duration,
    /// How long the handshakes of TLS and HTTP may take together once there is a connection; 5 s by
    /// default.
    pub handshake_timeout: Duration,
    /// How long a closed link may wait for the peer's own close before it lets go of the connection;
    /// 2 s by default. Nobody waits with it.
    pub close_timeout: Duration,
    /// Sends small segments at once (`TCP_NODELAY`); on by default, as links batch by themselves.
    pub nodelay: bool,
    /// The largest message that is sent or received, in bytes; 16 MiB + 64 by default, which is the
    /// largest message of a session and room for the head of its frame.
    pub message_bytes_max: usize,
    /// How much is read at once, in bytes; 64 KiB by default and at least 4 KiB.
    pub read_buffer_bytes: usize,
    /// How much is queued before it is written without a flush, in bytes; 64 KiB by default.
    pub write_buffer_bytes: usize,
    /// The longest head of an HTTP request or response, in bytes; 16 KiB by default.
    pub head_bytes_max: usize,
    /// The subprotocol that both sides must name; by default none.
    ///
    /// A client offers it and takes no server that does not select it. A server refuses clients that
    /// do not offer it. Without one, a client offers none and a server selects none.
    pub subprotocol: Option<String>,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(2),
            nodelay: true,
            message_bytes_max: (16 << 20) + 64,
            read_buffer_bytes: 64 << 10,
            write_buffer_bytes: 64 << 10,
            head_bytes_max: 16 << 10,
            subprotocol: None,
        }
    }
}
