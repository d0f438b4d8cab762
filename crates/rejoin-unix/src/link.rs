//! A link over one Unix socket connection, and whose process is at its other end.

use std::io;

use rejoin_core::{Link, Peer};
use rejoin_stream::{LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx};
use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::config::UnixConfig;

/// How much the system should hold for a peer that has yet to read it. Where nobody asks, that is less
/// than three messages of 64 KiB, or 8 KiB, and sender and receiver wake each other for as little.
const SEND_BUFFER_BYTES_MIN: usize = 256 * 1024;

/// The sending half of a [`UnixLink`]. Dropping it ends the stream towards the peer.
pub type UnixLinkTx = LengthPrefixedTx<OwnedWriteHalf>;

/// The receiving half of a [`UnixLink`].
pub type UnixLinkRx = LengthPrefixedRx<OwnedReadHalf>;

/// A link over one Unix socket connection.
///
/// The peer's end of the stream between two messages is its close. A process that dies ends its
/// streams too, so a close says nothing about the session above; a peer that goes without having
/// read everything is an error.
///
/// The [identity](Peer::identity) of the peer is its user, such as `uid=1000`, at the time when it
/// connected or began to listen. Its [address](Peer::address) is what was dialled, or its process,
/// such as `pid=4711`, where it was accepted.
#[derive(Debug)]
pub struct UnixLink(LengthPrefixedLink<OwnedReadHalf, OwnedWriteHalf>);

impl UnixLink {
    /// A link over a connected stream. Its send buffer is made larger if it has less than 256 KiB and
    /// as far as the system allows.
    ///
    /// # Errors
    ///
    /// When the system does not say who the peer is, as some do when it is gone.
    pub fn from_stream(stream: UnixStream, config: &UnixConfig) -> io::Result<Self> {
        Self::new(stream, None, config)
    }

    /// A link over a stream to `address`, or to whoever called.
    pub(crate) fn new(
        stream: UnixStream,
        address: Option<String>,
        config: &UnixConfig,
    ) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        // Not the name of the peer's own socket, which it could choose to look like somebody else.
        let address = address.unwrap_or_else(|| match credentials.pid() {
            Some(process) => format!("pid={process}"),
            None => "unix".to_owned(),
        });
        let peer = Peer::at(address).with_identity(format_args!("uid={}", credentials.uid()));
        enlarge_send_buffer(&stream);
        let (reader, writer) = stream.into_split();
        Ok(Self(LengthPrefixedLink::new(reader, writer, peer, &config.stream)))
    }
}

/// What the system does not give, the link does without.
fn enlarge_send_buffer(stream: &UnixStream) {
    let socket = SockRef::from(stream);
    if socket.send_buffer_size().is_ok_and(|bytes| bytes < SEND_BUFFER_BYTES_MIN) {
        let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES_MIN);
    }
}

impl Link for UnixLink {
    type Tx = UnixLinkTx;
    type Rx = UnixLinkRx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        self.0.split()
    }

    fn peer(&self) -> Peer {
        self.0.peer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the send buffer has after `before` was asked for.
    #[track_caller]
    fn check(before: Option<usize>) -> (usize, usize) {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let socket = SockRef::from(&stream);
        if let Some(bytes) = before {
            socket.set_send_buffer_size(bytes).unwrap();
        }
        let had = socket.send_buffer_size().unwrap();
        enlarge_send_buffer(&stream);
        (had, socket.send_buffer_size().unwrap())
    }

    #[tokio::test]
    async fn a_small_send_buffer_becomes_larger_and_a_large_one_stays() {
        let (had, has) = check(Some(16 * 1024));
        assert!(had < SEND_BUFFER_BYTES_MIN && has > had, "{had} {has}");
        let (default, has) = check(None);
        assert!(has >= default, "{default} {has}");
        let (had, has) = check(Some(2 * SEND_BUFFER_BYTES_MIN));
        assert_eq!(had, has);
    }
}
