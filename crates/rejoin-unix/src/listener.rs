//! Accepts Unix socket connections as links.

use std::future::{Ready, ready};
use std::io;

use rejoin_core::{AcceptorSource, LinkListener};
use tokio::net::{UnixListener, UnixSocket};

use crate::address::UnixAddress;
use crate::config::UnixConfig;
use crate::error::UnixError;
use crate::link::UnixLink;
use crate::socket_file::{BindError, SocketFile};

/// Who may connect unless it is said otherwise: the user of this process, whatever the umask.
const FILE_MODE: u32 = 0o600;

/// How many peers may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 1024;

/// A source of the links on which the peer speaks first: for a conduit that waits to be called by
/// one peer, where a [`StableListener`](rejoin_core::StableListener) would be for many.
pub type UnixListenerSource = AcceptorSource<UnixLinkListener>;

/// Accepts Unix socket connections as links.
///
/// Dropping it removes the file that [`bind`](Self::bind) made, unless another one has taken its
/// place meanwhile.
#[derive(Debug)]
pub struct UnixLinkListener {
    // Before the socket, so that it is dropped first.
    _file: Option<SocketFile>,
    listener: UnixListener,
    config: UnixConfig,
}

impl UnixLinkListener {
    /// Listens at `address`: a path, or an abstract name as `@name`. At a path, only the user of this
    /// process, and those above, can connect.
    ///
    /// # Errors
    ///
    /// As [`bind_with_mode`](Self::bind_with_mode).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no file behind.
    pub async fn bind(address: impl Into<UnixAddress>) -> io::Result<Self> {
        Self::bind_with_mode(address, FILE_MODE).await
    }

    /// Listens at `address`, and gives the file the permissions `mode`, such as `0o666` for everybody:
    /// who may write to it can connect. The umask has no say. An abstract name has no mode.
    ///
    /// A socket at the path that is dead, as its process was killed, is replaced. For that the folder
    /// must be writable, and readable if several servers may start at once.
    ///
    /// # Errors
    ///
    /// A [`UnixError`] inside: [`InUse`](UnixError::InUse) when there is a socket that lives,
    /// [`NotASocket`](UnixError::NotASocket) when there is a file of another kind, an address that is
    /// none, or [`Bind`](UnixError::Bind).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no file behind.
    pub async fn bind_with_mode(address: impl Into<UnixAddress>, mode: u32) -> io::Result<Self> {
        let address = address.into();
        let system = address.to_system()?;
        let failed = |error| {
            let address = address.to_string();
            io::Error::from(match error {
                BindError::InUse => UnixError::InUse { address },
                BindError::NotASocket => UnixError::NotASocket { address },
                BindError::Other(source) => UnixError::Bind { address, source },
            })
        };
        let socket = UnixSocket::new_stream().map_err(|error| failed(error.into()))?;
        let file = match address.as_path() {
            Some(path) => Some(SocketFile::bind(&socket, path, mode).await.map_err(failed)?),
            None => {
                socket.bind(&system).map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => failed(BindError::InUse),
                    _ => failed(error.into()),
                })?;
                None
            }
        };
        let listener = socket.listen(BACKLOG).map_err(|error| failed(error.into()))?;
        Ok(Self { _file: file, listener, config: UnixConfig::default() })
    }

    /// Accepts from a listener that was made elsewhere, such as one handed over by a supervisor, whose
    /// file is left alone.
    ///
    /// # Errors
    ///
    /// When the listener cannot be registered with the runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::from_tokio(UnixListener::from_std(listener)?))
    }

    /// Accepts from a listener that was made elsewhere, whose file is left alone.
    #[must_use]
    pub fn from_tokio(listener: UnixListener) -> Self {
        Self { _file: None, listener, config: UnixConfig::default() }
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: UnixConfig) -> Self {
        self.config = config;
        self
    }
}

impl LinkListener for UnixLinkListener {
    type Link = UnixLink;
    type Upgrade = Ready<io::Result<UnixLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match UnixLink::from_stream(stream, &self.config) {
                    // Gone while it waited in the queue: there is no peer whose upgrade could fail.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                    upgraded => return Ok(ready(upgraded)),
                },
                // About the connection that would have been accepted, which has left the queue.
                Err(source)
                    if matches!(
                        source.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(source) => return Err(UnixError::Accept { source }.into()),
            }
        }
    }
}
