//! Typed messages over one link: a conduit that dies with it.
//!
//! There are no numbers, acknowledgements or retries here; for those there is
//! [`StableConduit`](crate::StableConduit). One message is one link payload.

mod driver;
mod error;
mod handles;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

pub use error::{BareRecvError, BareSendError, LinkLost};
pub use handles::{BareConduit, BarePermit, BareRx, BareTx};

use crate::handover::{Inbox, Outbox};

const MIB: usize = 1024 * 1024;

/// Settings of a bare conduit.
///
/// # Memory
///
/// A conduit holds at most `send_buffer_bytes_max + inbox_bytes_max + 2 × message_bytes_max` bytes
/// of messages, besides what its link holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BareConfig {
    /// The largest message, in bytes of its encoding. Default 16 MiB.
    pub message_bytes_max: usize,
    /// How much may wait to be written before senders wait. Each message counts its bytes and 32
    /// more. Default 1 MiB.
    pub send_buffer_bytes_max: usize,
    /// How much may wait for the application before the link is read no further. Counted likewise.
    /// Default 1 MiB.
    pub inbox_bytes_max: usize,
}

impl Default for BareConfig {
    fn default() -> Self {
        Self { message_bytes_max: 16 * MIB, send_buffer_bytes_max: MIB, inbox_bytes_max: MIB }
    }
}

/// What the handles of a conduit and its driver share.
#[derive(Debug)]
struct Shared {
    outbox: Outbox,
    inbox: Inbox,
    inbox_bytes_max: u64,
    /// Whether the sending direction is over: closed and flushed, or dead.
    send_ended: watch::Sender<bool>,
    lost: Mutex<Option<LinkLost>>,
}

impl Shared {
    fn new(config: &BareConfig) -> Arc<Self> {
        Arc::new(Self {
            outbox: Outbox::new(config.send_buffer_bytes_max, config.message_bytes_max),
            inbox: Inbox::new(),
            inbox_bytes_max: config.inbox_bytes_max as u64,
            send_ended: watch::Sender::new(false),
            lost: Mutex::default(),
        })
    }

    /// Why the link died, if it did.
    fn lost(&self) -> Option<LinkLost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
