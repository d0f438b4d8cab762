//! A typed, ordered, exactly-once message conduit that outlives the link under it.

mod link;
mod source;

pub mod protocol;

pub use link::{Link, LinkRx, LinkTx, Peer, SplitLink};
pub use source::{
    Attachment, LinkListener, LinkSource, is_fatal_kind, prepare_acceptor_attachment,
};
