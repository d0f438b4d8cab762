//! The transports that are disturbed, by name: how a peer dials and listens on each.

use std::io;

use rejoin_serial::{SerialConfig, SerialSource};
use rejoin_tcp::{
    ListenerConfig, Raw, StableConduit, StableConfig, StableListener, TcpLinkListener, TcpSource,
};
use rejoin_unix::{UnixLinkListener, UnixSource};
use rejoin_websocket::{WebSocketLinkListener, WebSocketSource};

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Transport {
    /// TCP over loopback.
    Tcp,
    /// Unix sockets.
    Unix,
    /// WebSockets over TCP.
    Websocket,
    /// A cable between two pseudo-terminals.
    Serial,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Unix, Self::Websocket, Self::Serial];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Websocket => "websocket",
            Self::Serial => "serial",
        }
    }

    /// Whether one listener serves many sessions.
    pub(super) fn has_listener(self) -> bool {
        self != Self::Serial
    }

    /// The filler of the longest messages.
    pub(super) fn filler_bytes_max(self) -> u64 {
        if self == Self::Serial { 2_000 } else { 30_000 }
    }

    /// Opens a session with whoever listens at `address`.
    pub(super) async fn dial(
        self,
        address: &str,
        config: StableConfig,
    ) -> Result<StableConduit<Raw>, rejoin_tcp::ConnectError> {
        match self {
            Self::Tcp => StableConduit::connect_with(TcpSource::new(address), config).await,
            Self::Unix => StableConduit::connect_with(UnixSource::new(address), config).await,
            Self::Websocket => {
                let source = WebSocketSource::new(format!("ws://{address}/"));
                StableConduit::connect_with(source, config).await
            }
            Self::Serial => StableConduit::connect_with(serial(address), config).await,
        }
    }

    /// Where a server of this transport gets its sessions from, and where it can be called.
    pub(super) async fn listen(
        self,
        address: &str,
        config: StableConfig,
    ) -> io::Result<(Sessions, String)> {
        let mut listener_config = ListenerConfig::default();
        listener_config.conduit = config.clone();
        let listening = |listener: Result<StableListener<Raw>, _>| {
            listener.map(Sessions::Many).map_err(|error| io::Error::other(format!("{error:?}")))
        };
        Ok(match self {
            Self::Tcp => {
                let listener = TcpLinkListener::bind(address).await?;
                let address = listener.local_addr()?.to_string();
                (listening(StableListener::with_config(listener, listener_config))?, address)
            }
            Self::Unix => {
                let listener = UnixLinkListener::bind(address).await?;
                (listening(StableListener::with_config(listener, listener_config))?, address.into())
            }
            Self::Websocket => {
                let listener = WebSocketLinkListener::bind(address).await?;
                let address = listener.local_addr()?.to_string();
                (listening(StableListener::with_config(listener, listener_config))?, address)
            }
            Self::Serial => {
                let port = address.to_owned();
                (Sessions::One { port, config: Box::new(config) }, address.into())
            }
        })
    }
}

/// Gives a server its sessions.
#[derive(Debug)]
pub(super) enum Sessions {
    /// Of many peers at once.
    Many(StableListener<Raw>),
    /// Of the one peer that there is.
    One { port: String, config: Box<StableConfig> },
}

impl Sessions {
    /// Gives the next session. Where there is one peer, the session before must have ended.
    pub(super) async fn next(&mut self) -> Result<StableConduit<Raw>, String> {
        match self {
            Self::Many(listener) => listener.accept().await.map_err(|error| error.to_string()),
            Self::One { port, config } => {
                let source = serial(port).accepting();
                let config = StableConfig::clone(config);
                StableConduit::connect_with(source, config).await.map_err(|error| error.to_string())
            }
        }
    }
}

/// Pseudo-terminals are as fast as the machine.
fn serial(port: &str) -> SerialSource {
    SerialSource::new(port).with_config(SerialConfig::new(12_000_000))
}
