//! The hand-over between an application's handles and the driver of its conduit.
//!
//! Items cross in batches: a handle appends to a buffer under a lock held for the time of one
//! encoding, and the driver takes the whole buffer away; the driver puts a batch of received items
//! down, and the receiving handle takes all of it. Both directions are bounded in bytes. Neither
//! lock is ever held across an await point or an I/O call.

mod filling;
mod inbox;
mod offer;
mod outbox;
mod pool;
mod room;
mod runs;

pub(crate) use inbox::{Inbox, Taker};
pub(crate) use offer::Offer;
pub(crate) use outbox::{Items, Migration, Outbox, Refusal};
pub(crate) use pool::Pool;
pub(crate) use room::{Claim, Place};
pub(crate) use runs::{Runs, Taken};
