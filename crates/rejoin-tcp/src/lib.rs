//! TCP links for [rejoin](rejoin_core).
//!
//! [`TcpSource`] dials, [`TcpLinkListener`] accepts, [`TcpLink`] also takes a stream that came
//! from elsewhere. Messages are length-prefixed, as [`rejoin_stream`] describes. Everything from
//! `rejoin_core` is here too, so that this is the only crate to depend on.
//!
//! A conduit that survives the loss of its connection:
//!
//! ```
//! use rejoin_tcp::{StableConduit, StableListener, TcpLinkListener, TcpSource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let mut listener = StableListener::<String>::new(listener);
//!
//! let client = tokio::spawn(async move {
//!     let source = TcpSource::new(address);
//!     let (tx, mut rx) = StableConduit::<String>::connect(source).await.unwrap().split();
//!     tx.send(&"who is there?".into()).await.unwrap();
//!     let answer = rx.recv().await.unwrap().unwrap().into_inner();
//!     tx.close().await.unwrap();
//!     answer
//! });
//!
//! let (tx, mut rx) = listener.accept().await?.split();
//! let question = rx.recv().await?.ok_or("closed")?;
//! assert_eq!(*question, "who is there?");
//! tx.send(&"a server".into()).await?;
//! assert!(rx.recv().await?.is_none());
//! assert_eq!(client.await?, "a server");
//! # Ok(())
//! # }
//! ```
//!
//! The links alone, without a session:
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
//! A wrong address, a name that does not resolve and a refused connection are [`TcpError`]s, which
//! say [whether another attempt may help](TcpError::is_transient). The options are in [`TcpConfig`].
//!
//! Nothing here outlives a connection: sessions are the core's business. Without the feature `tls`
//! there is no encryption either.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `tls`: the module `tls`, with a source and a listener of encrypted links.

// docs.rs says of each item which feature it needs; elsewhere this has no effect.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod error;
mod link;
mod listener;
mod source;

#[cfg(feature = "tls")]
pub mod tls;

pub use config::{Keepalive, TcpConfig};
pub use error::TcpError;
pub use link::{TcpLink, TcpLinkRx, TcpLinkTx};
pub use listener::{TcpLinkListener, TcpListenerSource};
pub use rejoin_core::*;
pub use rejoin_stream::{StreamConfig, StreamRecvError, StreamSendError};
pub use source::TcpSource;

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
