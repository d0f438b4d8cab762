//! What can go wrong before a link is there.

use std::io;

use thiserror::Error;

/// Why no link could be made. Travels as the inner error of an [`io::Error`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum XyzError {
    /// Nobody could be reached; kind as the source's.
    #[error("no connection to {address}")]
    Connect {
        /// What was dialled.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A part of this crate that is still to be written; kind `Unsupported`. Remove it with the last.
    #[error("not written yet: `{what}`, which is to {task}")]
    Unwritten {
        /// The function, and its file.
        what: &'static str,
        /// What it has to do.
        task: &'static str,
    },
}

impl XyzError {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Connect { source, .. } => source.kind(),
            Self::Unwritten { .. } => io::ErrorKind::Unsupported,
        }
    }
}

impl From<XyzError> for io::Error {
    fn from(error: XyzError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// What a part of this crate answers until it is written.
pub(crate) fn unwritten<T>(what: &'static str, task: &'static str) -> io::Result<T> {
    Err(XyzError::Unwritten { what, task }.into())
}
