//! A typed, ordered, exactly-once message conduit that outlives the link under it.

mod acceptor;
mod bare;
mod codec;
mod conduit;
mod dyn_source;
mod failover;
mod handover;
mod link;
mod memory;
mod meter;
mod pump;
mod random;
mod selfref;
mod source;
mod stable;

pub mod observability;
pub mod protocol;

pub use acceptor::{AcceptorConfig, AcceptorSource, AcceptorStats, AcceptorStatsHandle};
pub use bare::{
    BareConduit, BareConfig, BarePermit, BareRecvError, BareRx, BareSendError, BareTx, LinkLost,
};
pub use codec::{
    Codec, DecodeError, EncodeError, FacetPostcard, FacetPostcardBorrowed, Raw, RawBytes,
};
#[cfg(feature = "serde")]
pub use codec::{Serde, SerdePostcard};
pub use conduit::{Conduit, ConduitRx, ConduitTx, ConduitTxPermit, MsgFamily};
pub use dyn_source::{BoxLink, BoxLinkRx, BoxLinkTx, DynLinkSource};
pub use failover::{EntryFailure, Failover, FailoverError, FailoverPolicy};
pub use link::{Link, LinkRx, LinkTx, Peer, SplitLink};
pub use memory::{
    MemoryConfig, MemoryConnector, MemoryLink, MemoryListener, MemoryNetwork, MemoryRx,
    MemorySource, MemoryTx, memory_link_pair, memory_listener,
};
pub use selfref::{BorrowsFromInput, SelfRef};
pub use source::{
    Attachment, LinkListener, LinkSource, is_fatal_kind, prepare_acceptor_attachment,
};
pub use stable::{
    AckError, Candidate, ConfigError, ConnectError, Drained, ListenerConfig, RecvError,
    RedialPolicy, SendError, SessionLost, StableConduit, StableConfig, StableListener,
    StablePermit, StableRx, StableTx, Stats, Status, SuspendCause, Unfinished,
};
