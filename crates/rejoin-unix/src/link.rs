//! A link over one Unix socket connection, and whose process is at its other end.

use std::io;

use rejoin_core::{Link, Peer};
use rejoin_stream::{LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::config::UnixConfig;

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
    /// A link over a connected stream.
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
        let (reader, writer) = stream.into_split();
        Ok(Self(LengthPrefixedLink::new(reader, writer, peer, &config.stream)))
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
