//! Unix socket links for [rejoin](rejoin_core).
//!
//! [`UnixSource`] dials, [`UnixLinkListener`] accepts, [`UnixLink`] also takes a stream that came
//! from elsewhere. Messages are length-prefixed, as [`rejoin_stream`] describes. Everything from
//! `rejoin_core` is here too, so that this is the only crate to depend on.
//!
//! ```
//! use rejoin_unix::{ListenerConfig, StableConduit, StableListener, UnixLinkListener, UnixSource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("service.sock");
//! let listener = UnixLinkListener::bind(&path).await?;
//! let admit = |candidate: &rejoin_unix::Candidate<'_>| {
//!     println!("called by {}", candidate.peer); // such as pid=4711 (uid=1000)
//!     Ok(())
//! };
//! let config = ListenerConfig::default();
//! let mut listener = StableListener::<String>::with_admission(listener, config, admit)?;
//!
//! let client = tokio::spawn(StableConduit::<String>::connect(UnixSource::new(&path)));
//! let (tx, _rx) = listener.accept().await?.split();
//! tx.send(&"welcome".into()).await?;
//! let (_tx, mut rx) = client.await??.split();
//! assert_eq!(rx.recv().await?.ok_or("closed")?.as_str(), "welcome");
//! # Ok(())
//! # }
//! ```
//!
//! # Addresses
//!
//! A [`UnixAddress`] is a path, or on Linux a name in the abstract namespace, written `@name`. At a
//! path, the listener replaces the file of one that was killed, and of no other; it sets the mode
//! of the file before anybody can connect, and removes the file when it is dropped. An abstract
//! name has none of that: it vanishes with its socket, and every user of the machine can connect,
//! or take the name first.
//!
//! # Who calls
//!
//! The system says whose process is at the other end. The [identity](Peer::identity) of a peer is its
//! user, `uid=1000`: it reaches the [admission hook](StableListener::with_admission), and a session
//! is resumed by the user who opened it only. Users that have no number in this process's user
//! namespace all show as the same one, usually 65534.
//!
//! A wrong address and a refused connection are [`UnixError`]s, which say
//! [whether another attempt may help](UnixError::is_transient).
//!
//! There is nothing here on systems other than Unix, and nothing that outlives a connection:
//! sessions are the core's business.

#![cfg(unix)]

mod address;
mod config;
mod error;
mod link;
mod listener;
mod socket_file;
mod source;

pub use address::UnixAddress;
pub use config::UnixConfig;
pub use error::UnixError;
pub use link::{UnixLink, UnixLinkRx, UnixLinkTx};
pub use listener::{UnixLinkListener, UnixListenerSource};
pub use rejoin_core::*;
pub use rejoin_stream::{StreamConfig, StreamRecvError, StreamSendError};
pub use source::UnixSource;

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
