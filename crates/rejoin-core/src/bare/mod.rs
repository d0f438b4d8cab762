//! Typed messages over one link: a conduit that dies with it.
//!
//! There are no numbers, acknowledgements or retries here; for those there is
//! [`StableConduit`](crate::StableConduit). One message is one link payload.

mod adapters;
mod driver;
mod error;
mod handles;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use adapters::{BareSink, BareStream};
pub use error::{BareRecvError, BareSendError, LinkLost};
pub use handles::{BareConduit, BarePermit, BareRx, BareTx};

use crate::handover::{Inbox, Outbox};

const MIB: usize = 1024 * 1024;

/// Settings of a bare conduit.
///
/// # Memory
///
/// A conduit holds at most `send_buffer_bytes_max + inbox_bytes_max + 2 × message_bytes_max` bytes
/// of messages, besides what its link holds. Buffers of messages to send can be twice as large as
/// what is in them.
///
/// Settings outside of their range count as the nearest that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BareConfig {
    /// The largest message to send, in bytes of its encoding, unless the link's limit is lower.
    /// Messages to receive are limited by the link alone. Default 16 MiB; at most 1 GiB.
    pub message_bytes_max: usize,
    /// How much may wait to be written before senders wait. Each message counts its bytes and 32
    /// more, and one may overshoot. Default 1 MiB; at least 1.
    pub send_buffer_bytes_max: usize,
    /// How much may wait for the application before the link is read no further. Counted
    /// likewise, and one message may overshoot. Default 1 MiB; at least 1.
    pub inbox_bytes_max: usize,
    /// How long the end of a link may take: until what was accepted is written, once all handles
    /// are dropped; and until the link says that it is dead for reading too, once nothing can be
    /// written and nothing arrives any more. Default 10 s.
    pub linger: Duration,
}

impl Default for BareConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 * MIB,
            send_buffer_bytes_max: MIB,
            inbox_bytes_max: MIB,
            linger: Duration::from_secs(10),
        }
    }
}

/// What the handles of a conduit and its driver share.
#[derive(Debug)]
struct Shared {
    outbox: Outbox,
    inbox: Inbox,
    inbox_bytes_max: u64,
    linger: Duration,
    /// How the sending direction ended, once it has.
    send_ended: watch::Sender<Option<SendEnd>>,
    lost: Mutex<Option<LinkLost>>,
}

/// How the sending direction ended.
#[derive(Clone, Debug)]
enum SendEnd {
    /// Everything is with the link, which was told that no more comes.
    Closed,
    Lost(LinkLost),
}

impl Shared {
    fn new(config: &BareConfig) -> Arc<Self> {
        let message_bytes_max = config.message_bytes_max.min(1024 * MIB);
        Arc::new(Self {
            outbox: Outbox::new(config.send_buffer_bytes_max.max(1), message_bytes_max),
            inbox: Inbox::new(config.inbox_bytes_max as u64),
            inbox_bytes_max: config.inbox_bytes_max.max(1) as u64,
            linger: config.linger,
            send_ended: watch::Sender::new(None),
            lost: Mutex::default(),
        })
    }

    /// Nothing can be sent any more.
    fn end_sending(&self, end: SendEnd) {
        if let SendEnd::Lost(lost) = &end {
            let mut known = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert_with(|| lost.clone());
        }
        self.outbox.end();
        self.send_ended.send_if_modified(|known| {
            let news = known.is_none();
            if news {
                *known = Some(end);
            }
            news
        });
    }

    /// Neither direction can be used any more. What was received before can still be read.
    fn end(&self, lost: LinkLost) {
        self.end_sending(SendEnd::Lost(lost));
        self.inbox.end(false);
    }

    /// Why the link died, if it did.
    fn lost(&self) -> Option<LinkLost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
