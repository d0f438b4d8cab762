//! A link over one TLS connection, and who is at its other end.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use rejoin_core::{Link, LinkRx, Peer, Progress};
use rejoin_stream::{LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx};
use ring::digest::{SHA256, digest};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::error::TlsError;
use crate::config::TcpConfig;
use crate::link::prepare;

type Reader = ReadHalf<TlsStream<TcpStream>>;
type Writer = WriteHalf<TlsStream<TcpStream>>;

/// The sending half of a [`TlsLink`].
pub type TlsLinkTx = LengthPrefixedTx<Writer>;

/// A link over one TLS connection.
///
/// The peer's close is its `close_notify`, which nobody else can make up: a connection that ends
/// without one is an error, also between two messages.
///
/// The [identity](Peer::identity) of the peer is the [`fingerprint`] of its certificate, where it has
/// shown one. A listener can [choose another](super::TlsLinkListener::identify_by).
///
/// # Memory
///
/// Besides what [`StreamConfig`](rejoin_stream::StreamConfig) tells: up to 64 KiB that are encrypted
/// and not yet written, and one record that comes in, of 16 KiB. During the handshake that is up to
/// 64 KiB as well.
#[derive(Debug)]
pub struct TlsLink(LengthPrefixedLink<Reader, Writer>);

impl TlsLink {
    /// A link over a connection on which the handshake was done elsewhere; sets the socket options as
    /// `config` says.
    ///
    /// # Errors
    ///
    /// When the peer's address or an option cannot be read or set, as happens when the connection
    /// is gone.
    pub fn from_stream(
        stream: impl Into<TlsStream<TcpStream>>,
        config: &TcpConfig,
    ) -> io::Result<Self> {
        let stream = stream.into();
        let peer = prepare(stream.get_ref().0, config)?;
        Ok(Self::new(stream, peer, config, certified_by))
    }

    /// A link over a connection that is [prepared](prepare).
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        peer: Peer,
        config: &TcpConfig,
        identify: impl Fn(&[CertificateDer<'_>]) -> Option<String>,
    ) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let peer = match shown.and_then(identify) {
            Some(identity) => peer.with_identity(identity),
            None => peer,
        };
        Self(LengthPrefixedLink::from_stream(stream, peer, &config.stream))
    }
}

impl Link for TlsLink {
    type Tx = TlsLinkTx;
    type Rx = TlsLinkRx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        let (tx, rx) = self.0.split();
        (tx, TlsLinkRx(rx))
    }

    fn peer(&self) -> Peer {
        self.0.peer()
    }
}

/// The receiving half of a [`TlsLink`].
#[derive(Debug)]
pub struct TlsLinkRx(LengthPrefixedRx<Reader>);

impl LinkRx for TlsLinkRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        self.0.recv().await.map_err(TlsError::from_established)
    }

    fn recv_parts(&mut self, take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        self.0.recv_parts(take)
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.0.limit_payloads(bytes_max);
    }

    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

/// What a certificate is told from all others by: `cert-sha256=` and the SHA-256 of its DER
/// encoding as 64 digits, lower case. `openssl x509 -fingerprint -sha256` shows the same digits.
///
/// A renewed certificate is another one.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::from("cert-sha256=");
    for byte in digest(&SHA256, certificate).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The identity that a peer has unless it is said otherwise. Its own certificate comes first.
pub(super) fn certified_by(chain: &[CertificateDer<'_>]) -> Option<String> {
    chain.first().map(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_digest_in_hexadecimal() {
        // The digest of "abc" from FIPS 180-2.
        let expected =
            "cert-sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(&CertificateDer::from(&b"abc"[..])), expected);
    }
}
