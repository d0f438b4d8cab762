//! The stable conduit: the protocol of [`protocol`](crate::protocol), driven over real links.

mod adapters;
mod ages;
mod allowance;
mod backoff;
mod conduit;
mod config;
mod dial;
mod driver;
mod error;
mod link_queue;
mod listener;
mod live_link;
mod offers;
mod packing;
mod refuse;
mod registrar;
mod rx;
mod shared;
mod status;

pub use adapters::{StableSink, StableStream};
pub use conduit::{StableConduit, StablePermit, StableTx};
pub use config::{ConfigError, ListenerConfig, RedialPolicy, StableConfig};
pub use error::{AckError, ConnectError, DialHandshakeError, RecvError, SendError, SessionLost};
pub use listener::{Candidate, Drained, StableListener, Unfinished};
pub use rx::StableRx;
pub use status::{Stats, Status, SuspendCause};
