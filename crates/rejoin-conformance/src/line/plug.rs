//! One end of a cable: a pseudo-terminal whose other side is a port. Knows no noise.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;
use tokio::io::unix::AsyncFd;

/// The side of a pseudo-terminal that plays the cable.
#[derive(Debug)]
pub(super) struct Plug {
    cable: AsyncFd<OwnedFd>,
    /// Kept open, so that the cable side does not fail while nobody has the port open.
    _port: OwnedFd,
    path: PathBuf,
}

impl Plug {
    pub(super) fn new() -> io::Result<Self> {
        let cable = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        rustix::pty::grantpt(&cable)?;
        rustix::pty::unlockpt(&cable)?;
        let path = rustix::pty::ptsname(&cable, Vec::new())?;
        let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let port = rustix::fs::open(&path, flags, Mode::empty())?;
        let mut settings = rustix::termios::tcgetattr(&port)?;
        settings.make_raw();
        rustix::termios::tcsetattr(&port, OptionalActions::Now, &settings)?;
        let flags = rustix::fs::fcntl_getfl(&cable)?;
        rustix::fs::fcntl_setfl(&cable, flags | OFlags::NONBLOCK)?;
        rustix::io::fcntl_setfd(&cable, rustix::io::FdFlags::CLOEXEC)?;
        // What takes its place is for descriptors that the caller vouches for; this one is owned.
        #[allow(deprecated, reason = "sound with an owned descriptor, and newer ones are unsafe")]
        let cable = AsyncFd::new(cable)?;
        Ok(Self { cable, _port: port, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was written to the port.
    pub(super) async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.cable.readable().await?;
            let read = ready.try_io(|cable| Ok(rustix::io::read(cable, &mut *bytes)?));
            match read {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }

    /// Makes the port read `bytes`.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.cable.writable().await?;
            let written = ready.try_io(|cable| Ok(rustix::io::write(cable, bytes)?));
            match written {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(written) => bytes = &bytes[written?..],
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}
