//! A link over one TCP connection.

use std::io;

use rejoin_core::{Link, Peer};
use rejoin_stream::{LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::config::TcpConfig;

/// The sending half of a [`TcpLink`]. Dropping it ends the stream towards the peer.
pub type TcpLinkTx = LengthPrefixedTx<OwnedWriteHalf>;

/// The receiving half of a [`TcpLink`].
pub type TcpLinkRx = LengthPrefixedRx<OwnedReadHalf>;

/// A link over one TCP connection.
///
/// The peer's FIN between two messages is its close. A process that dies lets the system send one
/// too, so a close says nothing about the session above; a reset connection is an error.
#[derive(Debug)]
pub struct TcpLink(LengthPrefixedLink<OwnedReadHalf, OwnedWriteHalf>);

impl TcpLink {
    /// A link over a connected stream, whose socket options it sets as `config` says.
    ///
    /// # Errors
    ///
    /// When the peer's address or an option cannot be read or set, as happens when the connection
    /// is gone.
    pub fn from_stream(stream: TcpStream, config: &TcpConfig) -> io::Result<Self> {
        let peer = prepare(&stream, config)?;
        Ok(Self::new(stream, peer, config))
    }

    /// A link over a stream that is [prepared](prepare).
    pub(crate) fn new(stream: TcpStream, peer: Peer, config: &TcpConfig) -> Self {
        let (reader, writer) = stream.into_split();
        Self(LengthPrefixedLink::new(reader, writer, peer, &config.stream))
    }
}

/// Sets the socket options as `config` says, and tells who the peer is.
pub(crate) fn prepare(stream: &TcpStream, config: &TcpConfig) -> io::Result<Peer> {
    // First, as its error is the one that tells of a connection that is gone.
    let peer = Peer::at(stream.peer_addr()?);
    config.apply(stream)?;
    Ok(peer)
}

impl Link for TcpLink {
    type Tx = TcpLinkTx;
    type Rx = TcpLinkRx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        self.0.split()
    }

    fn peer(&self) -> Peer {
        self.0.peer()
    }
}
