//! A typed, ordered, exactly-once message conduit that outlives the link under it.
//!
//! A cable is pulled, a laptop sleeps, a proxy drops the socket: the conduit gets a fresh link from
//! its [`LinkSource`], proves who it is, replays what the peer missed, and the application sees only
//! a pause. It is meant for traffic that is not a set of idempotent requests: telemetry, device
//! links, terminals, event streams, tunnels.
//!
//! # The guarantee
//!
//! Between two live processes, every message arrives exactly once and in order. Every message is
//! acknowledged, or handed back to the sender as not known to be delivered. Nothing is lost
//! silently.
//!
//! That ends where a process ends: nothing is written to disk, and a peer that was restarted is a
//! new peer. An acknowledgement says that the peer's process has the message, not what it did with
//! it.
//!
//! # Example
//!
//! A client and a server in one process, over memory links of which one is cut. Over TCP, only the
//! source and the listener are others.
//!
//! ```
//! use rejoin_core::{MemoryConfig, StableConduit, StableListener, memory_listener};
//!
//! #[derive(facet::Facet)]
//! struct Reading {
//!     sensor: String,
//!     celsius: f64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (listener, connector) = memory_listener(MemoryConfig::default());
//! let network = connector.network().clone();
//! let mut listener = StableListener::<Reading>::new(listener);
//!
//! let client = tokio::spawn(async move {
//!     let conduit = StableConduit::<Reading>::connect(connector.source()).await?;
//!     let (tx, _rx) = conduit.split();
//!     for celsius in [20.5, 21.0] {
//!         tx.send(&Reading { sensor: "boiler".into(), celsius }).await?;
//!         network.cut_links();
//!     }
//!     tx.close().await?; // ready when the peer has everything
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//!
//! let (_tx, mut rx) = listener.accept().await?.split();
//! let mut readings = Vec::new();
//! while let Some(reading) = rx.recv().await? {
//!     readings.push((reading.sensor.clone(), reading.celsius));
//! }
//! assert_eq!(readings, [("boiler".into(), 20.5), ("boiler".into(), 21.0)]);
//! client.await?.map_err(|error| error.to_string())?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//!
//! Each knows only the one below it.
//!
//! | layer | what it deals in | names |
//! | --- | --- | --- |
//! | messages | types, their lifetimes, their encoding | [`MsgFamily`], [`Codec`], [`SelfRef`] |
//! | conduit | typed messages, both ways | [`Conduit`]: [`StableConduit`], [`BareConduit`] |
//! | session | numbers, acknowledgements, replay, keys | [`protocol`], without any I/O |
//! | link | whole payloads, in order, while it lives | [`Link`], [`LinkTx`], [`LinkRx`] |
//! | source | one link after another | [`LinkSource`], [`LinkListener`] |
//!
//! # Where to find what
//!
//! - To open or accept a conduit: [`StableConduit::connect`], [`StableListener`], and their
//!   settings [`StableConfig`] and [`ListenerConfig`], which state the memory they cost.
//! - To send and receive: [`StableTx`], [`StableRx`]; generically: [`ConduitTx`], [`ConduitRx`].
//! - For code that is written for `futures`: [`StableTx::into_sink`], [`StableRx::into_stream`].
//! - To go over several transports: [`Failover`] on the side that dials, and [`ListenerSet`] on the
//!   other one, with [`SourceListener`] for a line that has one peer.
//! - To watch: [`Status`], [`Stats`], and events of the `tracing` crate.
//! - For one link without resumption: [`BareConduit`].
//! - For tests: the links of [`memory_link_pair`], and [`MemoryNetwork`], which cuts them.
//! - To write a transport: the `# Behavior` lists of [`Link`], [`LinkSource`] and [`LinkListener`].
//!   For byte streams there is the crate `rejoin-stream`, and for TCP `rejoin-tcp`.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `metrics`: counters and gauges of the `metrics` crate; [`observability`] lists them.
//! - `serde`: the family `Serde` and the codec `SerdePostcard`, for messages that derive serde's
//!   traits instead of Facet's. The bytes are the same.

// docs.rs says of each item which feature it needs; elsewhere this has no effect.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acceptor;
mod bare;
mod blocks;
mod codec;
mod conduit;
mod dyn_source;
mod failover;
mod handover;
mod io_errors;
mod link;
mod listener_set;
mod memory;
mod meter;
mod on_call;
mod pump;
mod random;
mod selfref;
mod source;
mod source_listener;
mod stable;
mod sync;

pub mod observability;
pub mod protocol;

pub use acceptor::{AcceptorConfig, AcceptorSource, AcceptorStats, AcceptorStatsHandle};
pub use bare::{
    BareConduit, BareConfig, BarePermit, BareRecvError, BareRx, BareSendError, BareSink,
    BareStream, BareTx, LinkLost,
};
pub use blocks::BlockPool;
pub use codec::{
    Codec, DecodeError, EncodeError, FacetPostcard, FacetPostcardBorrowed, Raw, RawBytes,
};
#[cfg(feature = "serde")]
pub use codec::{Serde, SerdePostcard};
pub use conduit::{Conduit, ConduitRx, ConduitTx, ConduitTxPermit, MsgFamily};
pub use dyn_source::{BoxLink, BoxLinkRx, BoxLinkTx, DynLinkSource};
pub use failover::{EntryFailure, Failover, FailoverError, FailoverPolicy};
pub use link::{Link, LinkRx, LinkTx, Peer, Progress, SplitLink};
pub use listener_set::{BoxUpgrade, ListenerSet};
pub use memory::{
    MemoryConfig, MemoryConnector, MemoryLink, MemoryListener, MemoryNetwork, MemoryRx,
    MemorySource, MemoryTx, memory_link_pair, memory_listener,
};
pub use selfref::{BorrowsFromInput, Owned, SelfRef};
pub use source::{
    Attachment, LinkListener, LinkSource, is_fatal_kind, prepare_acceptor_attachment,
};
pub use source_listener::{SourceListener, UnreadHello};
pub use stable::{
    AckError, Candidate, ConfigError, ConnectError, DialHandshakeError, Drained, ListenerConfig,
    RecvError, RedialPolicy, SendError, SessionLost, StableConduit, StableConfig, StableListener,
    StablePermit, StableRx, StableSink, StableStream, StableTx, Stats, Status, SuspendCause,
    Unfinished,
};
