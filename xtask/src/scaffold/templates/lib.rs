//! Xyz links for [rejoin](rejoin_core).
//!
//! [`XyzSource`] dials, [`XyzLinkListener`] accepts. Everything from `rejoin_core` is here too, so
//! that this is the only crate to depend on.
//!
//! ```no_run
//! use rejoin_xyz::{StableConduit, XyzSource};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let conduit = StableConduit::<String>::connect(XyzSource::new("address")).await?;
//! let (tx, _rx) = conduit.split();
//! tx.send(&"hello".into()).await?;
//! tx.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! There is nothing here that outlives a link: sessions are the core's business.

mod config;
mod error;
mod link;
mod listener;
mod source;

pub use config::XyzConfig;
pub use error::XyzError;
pub use link::{XyzLink, XyzLinkRx, XyzLinkTx};
pub use listener::XyzLinkListener;
pub use rejoin_core::*;
pub use source::XyzSource;
