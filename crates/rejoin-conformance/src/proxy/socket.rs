//! The two kinds of sockets that the proxy stands between, as one: what is read and written, and
//! how it ends. They are used through shared references, as both directions are at work at once.

use std::io;
use std::net::{Shutdown, SocketAddr};
#[cfg(unix)]
use std::path::{Path, PathBuf};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Without this, small pieces would wait for acknowledgements.
    pub(super) fn send_at_once(&self) {
        if let Self::Tcp(socket) = self {
            // Fails on dead sockets only.
            let _ = socket.set_nodelay(true);
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            #[cfg(unix)]
            Self::Unix(socket) => socket.readable().await,
        }
    }

    pub(super) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_read(bytes),
        }
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.writable().await,
            #[cfg(unix)]
            Self::Unix(socket) => socket.writable().await,
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write(bytes),
        }
    }

    /// Ends the stream to the peer in order.
    pub(super) fn shut_down(&self) {
        let socket = match self {
            Self::Tcp(socket) => SockRef::from(socket),
            #[cfg(unix)]
            Self::Unix(socket) => SockRef::from(socket),
        };
        // Fails only where the peer is gone already, which the other direction will tell.
        let _ = socket.shutdown(Shutdown::Write);
    }

    /// Closes the socket such that its peer sees a reset, where there is such a thing.
    pub(super) fn reset(self) {
        if let Self::Tcp(socket) = self {
            // Fails on a dead socket only.
            let _ = socket.set_zero_linger();
        }
    }
}

/// Where the proxy's clients connect.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        /// Removed with the listener.
        _file: SocketFile,
    },
}

impl Listener {
    #[cfg(unix)]
    pub(super) fn unix(at: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(at)?;
        Ok(Self::Unix { listener, _file: SocketFile(at.to_owned()) })
    }

    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Ok(Socket::Tcp(listener.accept().await?.0)),
            #[cfg(unix)]
            Self::Unix { listener, .. } => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// The file of a Unix socket, which is removed with its listener.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have tidied up before.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the proxy forwards to.
#[derive(Debug)]
pub(super) enum Upstream {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Upstream {
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(address) => Ok(Socket::Tcp(TcpStream::connect(address).await?)),
            #[cfg(unix)]
            Self::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }
}
