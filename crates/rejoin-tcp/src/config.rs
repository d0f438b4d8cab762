//! The options of a TCP link.

use std::io;
use std::time::Duration;

use rejoin_stream::StreamConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Options of the links that a source or a listener makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// How long a name may take to resolve, each address to connect, and, with TLS, each peer to
    /// shake hands; 5 s by default. Of no effect for a listener.
    pub connect_timeout: Duration,
    /// Sends small segments at once (`TCP_NODELAY`); on by default, as links batch by themselves.
    pub nodelay: bool,
    /// Lets the system probe a silent peer; off by default, as sessions ping by themselves.
    pub keepalive: Option<Keepalive>,
    /// Limits and buffer sizes, with their worst-case memory.
    pub stream: StreamConfig,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            nodelay: true,
            keepalive: None,
            stream: StreamConfig::default(),
        }
    }
}

/// When the system probes a silent peer, and when it gives the connection up: `idle` and then
/// `retries` times `interval` after the last sign of life, 30 s by default.
///
/// Systems count in whole seconds, of which at least one is set. They do not probe while data waits
/// to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long the peer must have been silent before the first probe; 15 s by default.
    pub idle: Duration,
    /// The time between two probes, where the system lets it be chosen; 5 s by default.
    pub interval: Duration,
    /// How many probes may go unanswered, where the system lets it be chosen; 3 by default, and at
    /// least one.
    pub retries: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(15), interval: Duration::from_secs(5), retries: 3 }
    }
}

impl TcpConfig {
    pub(crate) fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.nodelay)?;
        if let Some(keepalive) = &self.keepalive {
            let whole = |time: Duration| time.max(Duration::from_secs(1));
            let options = TcpKeepalive::new().with_time(whole(keepalive.idle));
            #[cfg(any(
                target_os = "android",
                target_os = "freebsd",
                target_os = "ios",
                target_os = "linux",
                target_os = "macos",
                target_os = "netbsd",
                target_os = "windows",
            ))]
            let options = options
                .with_interval(whole(keepalive.interval))
                .with_retries(keepalive.retries.max(1));
            SockRef::from(stream).set_tcp_keepalive(&options)?;
        }
        Ok(())
    }
}
