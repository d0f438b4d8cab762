//! One xyz link and its halves: whole payloads, in order, for as long as it lives.
//!
//! For a medium that carries bytes and not messages, throw the halves away: the link is then a
//! `LengthPrefixedLink` of `rejoin-stream`, or a `CobsLink` where bytes may be damaged.

use std::io;

use bytes::Bytes;
use rejoin_core::{Link, LinkRx, LinkTx, Peer};

use super::config::XyzConfig;
use super::error::unwritten;

/// One xyz link.
#[derive(Debug)]
pub struct XyzLink {
    tx: XyzLinkTx,
    rx: XyzLinkRx,
    peer: Peer,
}

impl XyzLink {
    /// A link to the peer at `address`. Whatever the halves read from and write to comes in here.
    pub(crate) fn new(address: &str, config: &XyzConfig) -> Self {
        let payload_bytes_max = config.payload_bytes_max;
        Self {
            tx: XyzLinkTx { payload_bytes_max },
            rx: XyzLinkRx { payload_bytes_max, limit: None },
            // Who the peer surely is, where the medium knows, goes in with `with_identity`.
            peer: Peer::at(address),
        }
    }
}

impl Link for XyzLink {
    type Tx = XyzLinkTx;
    type Rx = XyzLinkRx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        (self.tx, self.rx)
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

/// The sending half of one [`XyzLink`].
#[derive(Debug)]
pub struct XyzLinkTx {
    payload_bytes_max: usize,
}

impl LinkTx for XyzLinkTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        if head.len() + body.len() > self.payload_bytes_max {
            // The link goes on after this one.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the payload is too large"));
        }
        unwritten(
            "XyzLinkTx::send in src/link.rs",
            "queue `head` and `body` as one message, and to write only when its buffer is full",
        )
    }

    async fn flush(&mut self) -> io::Result<()> {
        unwritten("XyzLinkTx::flush in src/link.rs", "write everything that is queued")
    }

    async fn close(self) -> io::Result<()> {
        unwritten(
            "XyzLinkTx::close in src/link.rs",
            "flush, and then to say a goodbye that the peer can tell from a death",
        )
    }

    fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }
}

/// The receiving half of one [`XyzLink`].
#[derive(Debug)]
pub struct XyzLinkRx {
    payload_bytes_max: usize,
    limit: Option<usize>,
}

impl LinkRx for XyzLinkRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        // To be checked before memory is allocated for a payload.
        let _bytes_max = self.limit.unwrap_or(usize::MAX).min(self.payload_bytes_max);
        unwritten(
            "XyzLinkRx::recv in src/link.rs",
            "give the next message, `None` after the peer's goodbye, and an error after a death",
        )
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.limit = bytes_max;
    }
}
