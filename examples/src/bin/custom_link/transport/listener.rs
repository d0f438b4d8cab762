//! Accepts what relays connect: the end of the transport that outlives the children.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;

use rejoin_stream::StreamConfig;
use rejoin_tcp::{LinkListener, Peer};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::link::PipeLink;

/// Accepts relays on a port of this machine.
///
/// Every user of the machine can connect to it; where that matters, a Unix socket is the better
/// choice, and `rejoin-unix` shows what goes with it.
#[derive(Debug)]
pub(crate) struct RelayListener {
    listener: TcpListener,
    config: StreamConfig,
}

impl RelayListener {
    /// Listens at `address`; port 0 lets the system choose one.
    pub(crate) async fn bind(address: SocketAddr, config: StreamConfig) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, config })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl LinkListener for RelayListener {
    type Link = PipeLink<OwnedReadHalf, OwnedWriteHalf>;
    // Nothing is left to do once a relay has connected; a TLS handshake would go here.
    type Upgrade = Ready<io::Result<Self::Link>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Messages are flushed when they should go; a socket that is gone says so later.
                    let _ = stream.set_nodelay(true);
                    let (reader, writer) = stream.into_split();
                    let link = PipeLink::new(reader, writer, Peer::at(address), &self.config);
                    return Ok(ready(Ok(link)));
                }
                // About one relay, which was gone before it was accepted.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
