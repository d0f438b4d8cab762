//! Messages over any byte stream.
//!
//! Turns whatever is [`AsyncRead`](tokio::io::AsyncRead) and
//! [`AsyncWrite`](tokio::io::AsyncWrite) into a [`Link`](rejoin_core::Link) of
//! [rejoin](rejoin_core). The crates for TCP, Unix sockets and the like are thin layers above this
//! one; use it directly for a stream that none of them knows.
//!
//! ```
//! use rejoin_core::{Link, LinkRx, LinkTx, Peer};
//! use rejoin_stream::{LengthPrefixedLink, StreamConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let (ours, theirs) = tokio::io::duplex(1024);
//! let config = StreamConfig::default();
//! let (mut tx, _rx) = LengthPrefixedLink::from_stream(ours, Peer::default(), &config).split();
//! let (_tx, mut rx) = LengthPrefixedLink::from_stream(theirs, Peer::default(), &config).split();
//!
//! tx.send(b"head, ", "body".into()).await?;
//! tx.close().await?;
//! assert_eq!(rx.recv().await?.as_deref(), Some(&b"head, body"[..]));
//! assert_eq!(rx.recv().await?, None);
//! # Ok(())
//! # }
//! ```
//!
//! Each message is its length, four bytes, the lowest first, and its bytes. An announced length is
//! checked against the limit of [`StreamConfig`] before anything is allocated. Many messages
//! go into one write, and large bodies are written from where they are.
//!
//! A link is what conduits run over:
//!
//! ```
//! use rejoin_core::{BareConduit, Peer};
//! use rejoin_stream::{LengthPrefixedLink, StreamConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ours, theirs) = tokio::io::duplex(1024);
//! let conduit = |stream| {
//!     let link = LengthPrefixedLink::from_stream(stream, Peer::default(), &StreamConfig::default());
//!     BareConduit::<(u32, String)>::new(link)
//! };
//! let (tx, _rx) = conduit(ours).split();
//! let (_tx, mut rx) = conduit(theirs).split();
//! tx.send(&(7, "seven".into())).await?;
//! assert_eq!(*rx.recv().await?.ok_or("closed")?, (7, "seven".into()));
//! # Ok(())
//! # }
//! ```
//!
//! Names: [`LengthPrefixedLink`] and its halves, [`StreamConfig`], and the errors that travel inside
//! [`io::Error`](std::io::Error): [`StreamSendError`], [`StreamRecvError`]. A framing of your own can
//! read into a [`ReadBuffer`].
//!
//! A stream that may damage bytes, as a serial port does, takes a [`CobsLine`] instead, see [`cobs`].
//!
//! This crate opens nothing and knows no addresses. A [`LengthPrefixedLink`]
//! has no goodbye of its own on the wire either: a stream that ends between two messages counts as
//! closed by the peer.

pub mod cobs;
mod config;
mod error;
mod length_prefixed;
mod read_buffer;
mod write_queue;

pub use cobs::{
    CobsConfig, CobsError, CobsLine, CobsLink, CobsRx, CobsTx, LineStats, LineStatsHandle, LinkEnd,
    Medium,
};
pub use config::StreamConfig;
pub use error::{StreamRecvError, StreamSendError};
pub use length_prefixed::{LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx};
pub use read_buffer::ReadBuffer;
