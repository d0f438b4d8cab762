//! What can go wrong before a link is there.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no port to make a link on.
///
/// Travels as the inner error of an [`io::Error`] with a fitting kind. What becomes of a link on an
/// open port is a [`LinkEnd`](rejoin_stream::LinkEnd).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SerialError {
    /// The settings can never work; kind `InvalidInput`.
    #[error("the settings of the port cannot work: {reason}")]
    Settings {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// No port has the USB ids; kind `NotFound`.
    #[error("no serial port is a USB device {wanted}")]
    NoSuchDevice {
        /// What was looked for.
        wanted: String,
    },
    /// Several ports have the USB ids; kind `NotFound`.
    #[error("several serial ports are USB devices {wanted}: {}", list(ports))]
    SeveralDevices {
        /// What was looked for.
        wanted: String,
        /// The ports that fit.
        ports: Vec<PathBuf>,
    },
    /// The ports of this machine cannot be listed; kind as the source's.
    #[error("the serial ports cannot be listed")]
    List {
        /// What the system said.
        source: io::Error,
    },
    /// The port cannot be opened; kind as the source's, which is `InvalidInput` where the path is
    /// that of something else than a terminal.
    #[error("the serial port {} cannot be opened", path.display())]
    Open {
        /// The port.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SerialError {
    /// Whether another attempt may end otherwise: a port that is not there may be plugged in, one
    /// that is in use may be given back. What is no terminal never becomes one.
    ///
    /// That a port may not be opened counts as final. A [`SerialSource`](crate::SerialSource) tries
    /// on all the same once it has had the port open: after a port is plugged in, the system needs a
    /// moment to set who may open it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Settings { .. } => false,
            Self::NoSuchDevice { .. } | Self::SeveralDevices { .. } => true,
            Self::List { source } | Self::Open { source, .. } => {
                !rejoin_core::is_fatal_kind(source)
            }
        }
    }

    /// Whether the system does not let this program open the port.
    pub(crate) fn is_denied(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        source.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether what is at the path is no port.
    pub(crate) fn is_no_terminal(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        source.kind() == io::ErrorKind::InvalidInput
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Settings { .. } => io::ErrorKind::InvalidInput,
            Self::NoSuchDevice { .. } | Self::SeveralDevices { .. } => io::ErrorKind::NotFound,
            Self::List { source } | Self::Open { source, .. } => source.kind(),
        }
    }
}

impl From<SerialError> for io::Error {
    fn from(error: SerialError) -> Self {
        Self::new(error.kind(), error)
    }
}

fn list(ports: &[PathBuf]) -> String {
    ports.iter().map(|port| port.display().to_string()).collect::<Vec<_>>().join(", ")
}
