//! The file of a listening socket: made with its mode, put in the place of a dead one, and removed.
//!
//! A server that was killed leaves its file behind, and the system lets nobody bind to it again. What
//! must not happen is that a server which starts takes the file of one that lives.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixSocket;
use tokio::time::{Instant, sleep};

/// How long to wait for others who replace a dead file in the same folder. They take a millisecond.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// The file of a socket of ours, which is removed on drop if it still is that one.
///
/// Invariant: dropped before the socket is closed. As long as the socket is open, its inode is in use,
/// and no other file can have the same number.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// What keeps a socket from being bound.
#[derive(Debug)]
pub(crate) enum BindError {
    InUse,
    NotASocket,
    Other(io::Error),
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

impl SocketFile {
    /// Binds `socket` to `path` with `mode`, in the place of a socket that is dead.
    ///
    /// The socket must not listen yet: until it does, connections are refused, so nobody comes in
    /// with the mode that the file has at first.
    pub(crate) async fn bind(
        socket: &UnixSocket,
        path: &Path,
        mode: u32,
    ) -> Result<Self, BindError> {
        if let Err(error) = socket.bind(path) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(error.into());
            }
            // Nobody else removes the file between our look at it and its removal.
            let _lock = lock_folder_of(path).await?;
            if !remove_dead(path)? {
                return Err(BindError::InUse);
            }
            socket.bind(path).map_err(|error| match error.kind() {
                // Somebody who needed no lock was faster, as there was no file.
                io::ErrorKind::AddrInUse => BindError::InUse,
                _ => BindError::Other(error),
            })?;
        }
        let file = Self::of(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode & 0o777))?;
        Ok(file)
    }

    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // For a process that changes its working directory.
        let path = std::path::absolute(path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }

    fn is_ours(&self, metadata: &Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| self.is_ours(&metadata)) {
            // Nobody is left to whom a failure would matter: the file is replaced next time.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket at `path` if it is dead; `false` if it lives.
fn remove_dead(path: &Path) -> Result<bool, BindError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NotASocket),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error.into()),
    }
    // A datagram socket cannot be connected to one of streams, but is told apart whether there is
    // one: so the listener that lives notices nothing, and one that has yet to listen lives too.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path)?;
            Ok(true)
        }
        // Nothing can be said about a socket of somebody else's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error.into()),
        Ok(()) | Err(_) => Ok(false),
    }
}

/// Locks the folder in which `path` is against others who replace a file there.
///
/// Where the folder cannot be read, or the file system knows no locks, there is none: then two
/// servers that start at the very same time over a dead file may both believe that they have it.
async fn lock_folder_of(path: &Path) -> io::Result<Option<File>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Ok(folder) = File::open(folder) else { return Ok(None) };
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                // The system tells nobody that a lock is free, but for a blocked thread, which
                // nobody could call back.
                sleep(LOCK_INTERVAL).await;
            }
            Err(TryLockError::WouldBlock) => {
                let kind = io::ErrorKind::TimedOut;
                return Err(io::Error::new(kind, "another program keeps the folder locked"));
            }
        }
    }
}
