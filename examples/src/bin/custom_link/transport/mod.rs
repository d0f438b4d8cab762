//! The transport of this example: messages through the standard input and output of a child process.
//!
//! A child such as `ssh host program relay` is a link: its input carries what we send, its output
//! what the peer sends, and when it dies, the link is dead. The session lives in the two processes at
//! the far ends, the one that starts the children and the one that they connect to, so it outlives
//! any number of them.
//!
//! | file | what it has | what was to be decided |
//! | --- | --- | --- |
//! | [`link`] | `PipeLink` | how an end that is meant is told from a death |
//! | [`source`] | [`ProcessSource`] | what one attempt is, and which failures are for good |
//! | [`child`] | `Leash` | when a child that nobody needs has to go |
//! | [`listener`] | [`RelayListener`] | nothing: accept, and never wait for a peer |
//!
//! There is no framing here, which is `rejoin-stream`'s, and nothing about sessions, which is the
//! core's. `tests/conformance_custom_link.rs` is the conformance run.

mod child;
mod link;
mod listener;
mod source;

pub(crate) use listener::RelayListener;
pub(crate) use source::ProcessSource;
