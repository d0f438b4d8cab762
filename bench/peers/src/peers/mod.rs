//! Who is measured. Each peer is two ends of a [`Channel`] over loopback sockets, in the way in which
//! its own documentation has it used.

mod ours;
mod quic;
mod slozhn;
mod streams;

use std::future::Future;

use bytes::Bytes;

use crate::rounds::{Contest, Failure};

/// One end of whatever carries messages both ways.
pub(crate) trait Channel: Send + 'static {
    /// Takes a message, and writes when its buffer is full.
    fn feed(&mut self, message: Bytes) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes what it has.
    fn flush(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Waits for the next message.
    fn next(&mut self) -> impl Future<Output = Result<Bytes, Failure>> + Send;
}

/// Ours first: the others are set against it.
pub(crate) const ALL: [Peer; 5] =
    [Peer::Rejoin, Peer::Tcp, Peer::WebSocket, Peer::Quinn, Peer::Slozhn];

/// Something that carries messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peer {
    Rejoin,
    Tcp,
    WebSocket,
    Quinn,
    Slozhn,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rejoin => "rejoin over TCP",
            Self::Tcp => "TCP, length prefix",
            Self::WebSocket => "tokio-tungstenite",
            Self::Quinn => "quinn stream",
            Self::Slozhn => "slozhn-session over TCP",
        }
    }

    pub(crate) fn guarantees(self) -> &'static str {
        match self {
            Self::Rejoin => {
                "in order and exactly once between two live processes, over any number of \
                 connections; a sender waits when its log is full; no encryption of its own"
            }
            Self::Tcp => {
                "in order while the connection lives; what was not read when it breaks is lost, and \
                 the sender cannot tell what; no encryption"
            }
            Self::WebSocket => "as TCP; passes web proxies; no encryption without TLS",
            Self::Quinn => {
                "in order while the connection lives, which survives a change of address but not \
                 its idle time-out (30 s by default); then as TCP; always encrypted, which is part \
                 of its cost"
            }
            Self::Slozhn => {
                "in order and once each over reconnections within 60 s; a log of 1 MiB, from 80 % of \
                 which senders wait; no flow control by what the receiver takes below its RPC \
                 layer; no encryption of its own"
            }
        }
    }

    /// What `contest` gives for this peer.
    pub(crate) async fn run(self, contest: &Contest) -> Result<f64, Failure> {
        match self {
            Self::Rejoin => ours::run(contest).await,
            Self::Tcp => streams::run_tcp(contest).await,
            Self::WebSocket => streams::run_websocket(contest).await,
            Self::Quinn => quic::run(contest).await,
            Self::Slozhn => slozhn::run(contest).await,
        }
    }
}
