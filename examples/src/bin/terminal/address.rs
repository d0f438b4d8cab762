//! Where a server is, over which transport, and how to get links to it. All that knows of transports.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rejoin_serial::{SerialConfig, SerialSource, SourceListener};
use rejoin_tcp::{DynLinkSource, ListenerSet, TcpLinkListener, TcpSource};
use rejoin_unix::{UnixLinkListener, UnixSource};
use rejoin_websocket::{WebSocketLinkListener, WebSocketSource};
use thiserror::Error;

const BAUD_RATE: u32 = 115_200;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host and a port.
    Tcp(String),
    /// The file of a socket.
    Unix(PathBuf),
    /// A URL without its `ws://`.
    WebSocket(String),
    /// A port, and the speed of its line in bits a second.
    Serial(PathBuf, u32),
}

/// What is no address.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an address is `tcp:HOST:PORT`, `unix:PATH`, `ws://HOST:PORT/PATH` or `serial:PATH`")]
pub(crate) struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (kind, rest) = text.split_once(':').ok_or(NotAnAddress)?;
        match kind {
            _ if rest.is_empty() => Err(NotAnAddress),
            "tcp" if rest.contains(':') && !rest.contains('/') => Ok(Self::Tcp(rest.to_owned())),
            "unix" => Ok(Self::Unix(rest.into())),
            "ws" => Ok(Self::WebSocket(rest.strip_prefix("//").ok_or(NotAnAddress)?.to_owned())),
            "serial" => match rest.split_once(':') {
                None => Ok(Self::Serial(rest.into(), BAUD_RATE)),
                Some((path, baud)) => {
                    Ok(Self::Serial(path.into(), baud.parse().map_err(|_| NotAnAddress)?))
                }
            },
            _ => Err(NotAnAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::WebSocket(rest) => write!(f, "ws://{rest}"),
            Self::Serial(path, baud) => write!(f, "serial:{}:{baud}", path.display()),
        }
    }
}

impl Address {
    /// A source of links to the server.
    pub(crate) fn source(&self) -> Box<dyn DynLinkSource> {
        match self {
            Self::Tcp(address) => Box::new(TcpSource::new(address)),
            Self::Unix(path) => Box::new(UnixSource::new(path.as_path())),
            Self::WebSocket(_) => Box::new(WebSocketSource::new(self)),
            Self::Serial(path, baud) => Box::new(serial(path, *baud)),
        }
    }

    /// Listens there; gives the address at which it does, whose port is not 0.
    pub(crate) async fn listen(&self) -> io::Result<(ListenerSet, Self)> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpLinkListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok((ListenerSet::new(listener), Self::Tcp(address.to_string())))
            }
            Self::Unix(path) => {
                // The default mode of the file lets in nobody else.
                let listener = UnixLinkListener::bind(path.as_path()).await?;
                Ok((ListenerSet::new(listener), self.clone()))
            }
            Self::WebSocket(rest) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let listener = WebSocketLinkListener::bind(host).await?;
                let address = listener.local_addr()?;
                let listener = listener.with_path(format!("/{path}"));
                let address = Self::WebSocket(format!("{address}/{path}"));
                Ok((ListenerSet::new(listener), address))
            }
            Self::Serial(path, baud) => {
                let listener = SourceListener::new(serial(path, *baud).accepting());
                let listener = listener.expect("the source accepts");
                Ok((ListenerSet::new(listener), self.clone()))
            }
        }
    }

    /// Whether others than this machine's users may reach it, as far as its name tells.
    pub(crate) fn is_open_to_the_network(&self) -> bool {
        let host = match self {
            Self::Unix(_) | Self::Serial(..) => return false,
            Self::Tcp(address) => address.as_str(),
            Self::WebSocket(rest) => rest.split('/').next().unwrap_or(rest),
        };
        host.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback())
    }
}

fn serial(path: &Path, baud: u32) -> SerialSource {
    SerialSource::new(path).with_config(SerialConfig::new(baud))
}

/// A temporary folder that nobody else can enter, removed when dropped.
#[derive(Debug)]
pub(crate) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    pub(crate) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("rejoin-terminal-{}", std::process::id()));
        // One of an earlier process with this number.
        let _ = std::fs::remove_dir_all(&path);
        // Fails where somebody else was quicker.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_open: bool) {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.is_open_to_the_network(), is_open, "{text}");
        assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn an_address_is_understood() {
        check("tcp:127.0.0.1:7000", false);
        check("tcp:[::1]:7000", false);
        check("tcp:0.0.0.0:7000", true);
        check("unix:/run/terminal", false);
        check("ws://192.0.2.1:80/shell", true);
        check("ws://127.0.0.1:80", false);
        check("serial:/dev/ttyUSB0", false);
        check("serial:/dev/ttyUSB0:9600", false);
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "tcp",
            "tcp:",
            "tcp:host",
            "tcp://host:1",
            "ws:host:1",
            "udp:host:1",
            "serial:/dev/x:y",
        ] {
            assert_eq!(text.parse::<Address>(), Err(NotAnAddress), "{text}");
        }
    }
}
