//! A typed, ordered, exactly-once message conduit that outlives the link under it.

mod acceptor;
mod link;
mod memory;
mod source;

pub mod protocol;

pub use acceptor::{AcceptorConfig, AcceptorSource, AcceptorStats, AcceptorStatsHandle};
pub use link::{Link, LinkRx, LinkTx, Peer, SplitLink};
pub use memory::{
    MemoryConfig, MemoryConnector, MemoryLink, MemoryListener, MemoryNetwork, MemoryRx,
    MemorySource, MemoryTx, memory_link_pair, memory_listener,
};
pub use source::{
    Attachment, LinkListener, LinkSource, is_fatal_kind, prepare_acceptor_attachment,
};
