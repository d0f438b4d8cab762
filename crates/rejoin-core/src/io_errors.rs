//! The errors of conduits as I/O errors, for programs that have no other kind.
//!
//! The error itself is inside, see [`io::Error::get_ref`]; the kind says as much of it as a kind can.

use std::io::{self, ErrorKind};

use crate::{
    AckError, BareRecvError, BareSendError, ConfigError, ConnectError, LinkLost, RecvError,
    SendError, SessionLost,
};

impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> Self {
        let kind = ErrorKind::InvalidInput;
        Self::new(kind, error)
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match &error {
            ConnectError::Config(_) => ErrorKind::InvalidInput,
            ConnectError::Fatal(source) | ConnectError::Unreachable { source, .. } => source.kind(),
            ConnectError::Refused(_) => ErrorKind::ConnectionRefused,
        };
        Self::new(kind, error)
    }
}

impl From<SessionLost> for io::Error {
    fn from(error: SessionLost) -> Self {
        let kind = ErrorKind::ConnectionAborted;
        Self::new(kind, error)
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match &error {
            SendError::Encode(_) | SendError::TooLarge { .. } => ErrorKind::InvalidInput,
            SendError::Full => ErrorKind::WouldBlock,
            SendError::Expired => ErrorKind::TimedOut,
            SendError::Closed => ErrorKind::BrokenPipe,
            SendError::Lost(_) => ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        let kind = match &error {
            RecvError::Decode { .. } => ErrorKind::InvalidData,
            RecvError::Lost(_) => ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

impl From<AckError> for io::Error {
    fn from(error: AckError) -> Self {
        let kind = match &error {
            AckError::NotSent(_) => ErrorKind::InvalidInput,
            AckError::Lost(_) => ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

impl From<LinkLost> for io::Error {
    fn from(error: LinkLost) -> Self {
        let kind = error.0.kind();
        Self::new(kind, error)
    }
}

impl From<BareSendError> for io::Error {
    fn from(error: BareSendError) -> Self {
        let kind = match &error {
            BareSendError::Encode(_) | BareSendError::TooLarge { .. } => ErrorKind::InvalidInput,
            BareSendError::Full => ErrorKind::WouldBlock,
            BareSendError::Closed => ErrorKind::BrokenPipe,
            BareSendError::Lost(lost) => lost.0.kind(),
        };
        Self::new(kind, error)
    }
}

impl From<BareRecvError> for io::Error {
    fn from(error: BareRecvError) -> Self {
        let kind = match &error {
            BareRecvError::Decode { .. } => ErrorKind::InvalidData,
            BareRecvError::Lost(lost) => lost.0.kind(),
        };
        Self::new(kind, error)
    }
}
