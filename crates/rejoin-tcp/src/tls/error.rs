//! What can go wrong with TLS, sorted by whether another attempt may help.

use std::error::Error;
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

/// Why there is no TLS with a peer, or no more.
///
/// Travels as the inner error of an [`io::Error`]: of what
/// [`LinkRx::recv`](rejoin_core::LinkRx::recv) and the upgrade of an accepted peer fail with. What
/// a [`TlsSource`](super::TlsSource) fails with is a [`TcpError::Tls`](crate::TcpError::Tls), which
/// has it as its source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text is neither a DNS name nor an IP address; kind `InvalidInput`.
    #[error("`{name}` is not the name of a server")]
    InvalidServerName {
        /// The text, with control characters escaped.
        name: String,
    },
    /// The peer's certificate does not verify, is for another name, or is missing; kind
    /// `PermissionDenied`, or `InvalidData` where only its dates are wrong.
    #[error("the peer's certificate is not accepted")]
    Certificate {
        /// What the verifier said.
        source: rustls::Error,
    },
    /// The peer does not accept this side's certificate, or misses one; kind `PermissionDenied`, or
    /// `ConnectionRefused` where it takes it for expired.
    ///
    /// A client learns of it only after its handshake, with the first payload that it awaits.
    #[error("the peer does not accept this side's certificate")]
    Refused {
        /// The alert that the peer sent.
        source: rustls::Error,
    },
    /// The settings of the two sides have no version, method or protocol in common; kind
    /// `Unsupported`.
    #[error("the two sides have no way of TLS in common")]
    Incompatible {
        /// What is missing.
        source: rustls::Error,
    },
    /// What the peer sent is not TLS, or was damaged on its way; kind `InvalidData`.
    #[error("what the peer sent is not proper TLS")]
    Protocol {
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The connection failed during the handshake; kind as the source's.
    #[error("the connection ended during the TLS handshake")]
    Connection {
        /// What the system said.
        source: io::Error,
    },
    /// The peer did not shake hands in time; kind `TimedOut`.
    #[error("no TLS handshake within {timeout:?}")]
    HandshakeTimeout {
        /// The limit.
        timeout: Duration,
    },
}

impl TlsError {
    /// Whether another attempt may end otherwise, with the same settings on both sides.
    ///
    /// An issuer that is not trusted, a name that is not the peer's and a certificate that is missing
    /// stay what they are. A certificate that is not valid yet, or not any more, may be judged by
    /// a clock that has yet to be set.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InvalidServerName { .. } | Self::Incompatible { .. } => false,
            Self::Certificate { source } | Self::Refused { source } => is_about_dates(source),
            Self::Protocol { .. } | Self::Connection { .. } | Self::HandshakeTimeout { .. } => true,
        }
    }

    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::InvalidServerName { .. } => io::ErrorKind::InvalidInput,
            Self::Certificate { .. } if self.is_transient() => io::ErrorKind::InvalidData,
            Self::Refused { .. } if self.is_transient() => io::ErrorKind::ConnectionRefused,
            Self::Certificate { .. } | Self::Refused { .. } => io::ErrorKind::PermissionDenied,
            Self::Incompatible { .. } => io::ErrorKind::Unsupported,
            Self::Protocol { .. } => io::ErrorKind::InvalidData,
            Self::Connection { source } => source.kind(),
            Self::HandshakeTimeout { .. } => io::ErrorKind::TimedOut,
        }
    }

    /// What a handshake failed with.
    pub(super) fn from_handshake(error: io::Error) -> Self {
        match rustls_error(&error) {
            Some(source) => Self::from_rustls(source.clone()),
            None => Self::Connection { source: error },
        }
    }

    /// What an established connection failed with; an error of the system passes as it is.
    pub(super) fn from_established(error: io::Error) -> io::Error {
        match rustls_error(&error) {
            Some(source) => Self::from_rustls(source.clone()).into(),
            None => error,
        }
    }

    fn from_rustls(source: rustls::Error) -> Self {
        use AlertDescription as Alert;
        match &source {
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidCertRevocationList(_)
            | rustls::Error::NoCertificatesPresented => Self::Certificate { source },
            rustls::Error::AlertReceived(
                Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                // A signature does not fit, as those of another authority with the same name.
                | Alert::DecryptError
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate,
            ) => Self::Refused { source },
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::UnsupportedNameType
            | rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(
                Alert::HandshakeFailure
                | Alert::InsufficientSecurity
                | Alert::NoApplicationProtocol
                | Alert::ProtocolVersion
                | Alert::UnrecognisedName,
            ) => Self::Incompatible { source },
            _ => Self::Protocol { source },
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// The first error of this type in the chain of causes, also within other I/O errors.
pub(super) fn find<E: Error + 'static>(error: &io::Error) -> Option<&E> {
    let mut next = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The source of an I/O error is the source of its inner error, and not that error.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn is_about_dates(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired)
            | rustls::Error::InvalidCertificate(
                CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. }
                    | CertificateError::ExpiredRevocationList
                    | CertificateError::ExpiredRevocationListContext { .. }
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: rustls::Error, kind: io::ErrorKind, transient: bool) {
        let error = TlsError::from_handshake(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!((error.kind(), error.is_transient()), (kind, transient), "{error:?}");
        let fatal = rejoin_core::is_fatal_kind(&error.into());
        assert_eq!(fatal, !transient, "the kind says the same");
    }

    #[test]
    fn errors_are_fatal_where_the_settings_are_to_blame() {
        use AlertDescription as Alert;
        use io::ErrorKind::*;
        use rustls::Error::*;
        check(InvalidCertificate(CertificateError::UnknownIssuer), PermissionDenied, false);
        check(InvalidCertificate(CertificateError::NotValidForName), PermissionDenied, false);
        check(NoCertificatesPresented, PermissionDenied, false);
        check(InvalidCertificate(CertificateError::Expired), InvalidData, true);
        check(InvalidCertificate(CertificateError::NotValidYet), InvalidData, true);
        check(AlertReceived(Alert::CertificateRequired), PermissionDenied, false);
        check(AlertReceived(Alert::UnknownCA), PermissionDenied, false);
        check(AlertReceived(Alert::DecryptError), PermissionDenied, false);
        check(AlertReceived(Alert::CertificateExpired), ConnectionRefused, true);
        check(AlertReceived(Alert::ProtocolVersion), Unsupported, false);
        check(AlertReceived(Alert::InternalError), InvalidData, true);
        check(DecryptError, InvalidData, true);
    }

    #[test]
    fn an_error_is_found_behind_others() {
        #[derive(Debug, Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] io::Error);
        let tls = TlsError::HandshakeTimeout { timeout: Duration::ZERO };
        let error = io::Error::other(Wrapped(io::Error::other(Wrapped(tls.into()))));
        assert!(matches!(find(&error), Some(TlsError::HandshakeTimeout { .. })));
        assert!(find::<TlsError>(&io::Error::other("other")).is_none());
        assert!(find::<TlsError>(&io::ErrorKind::TimedOut.into()).is_none());
    }
}
