//! TCP links for [rejoin](rejoin_core).
//!
//! [`TcpSource`] dials, [`TcpLinkListener`] accepts, [`TcpLink`] also takes a stream that came
//! from elsewhere. Messages are length-prefixed, as [`rejoin_stream`] describes. Everything from
//! `rejoin_core` is here too, so that this is the only crate to depend on.
//!
//! ```
//! use rejoin_tcp::{Link, LinkListener, LinkSource, LinkTx, TcpLinkListener, TcpSource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let mut listener = TcpLinkListener::bind("127.0.0.1:0").await?;
//! let mut source = TcpSource::new(listener.local_addr()?);
//!
//! let dialled = source.next_link().await?;
//! println!("connected to {}", dialled.link().peer());
//!
//! let (mut tx, _rx) = listener.accept().await?.await?.split();
//! tx.send(b"welcome", Default::default()).await?;
//! tx.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! There is no encryption here, and nothing that outlives a connection: sessions are the core's
//! business.

mod config;
mod error;
mod link;
mod listener;
mod source;

pub use config::{Keepalive, TcpConfig};
pub use error::TcpError;
pub use link::{TcpLink, TcpLinkRx, TcpLinkTx};
pub use listener::TcpLinkListener;
pub use rejoin_core::*;
pub use rejoin_stream::{StreamConfig, StreamRecvError, StreamSendError};
pub use source::TcpSource;
