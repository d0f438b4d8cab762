//! What the handles of a conduit and its driver share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::handover::{Inbox, Outbox};
use crate::protocol::{ITEM_COST, LossReason, Position, Session, SessionCounters};
use crate::stable::ages::{Ages, Lag};
use crate::stable::config::StableConfig;
use crate::stable::error::SessionLost;
use crate::stable::status::{Stats, Status};

/// How a session ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `None` when it was closed in good order.
    pub(super) lost: Option<SessionLost>,
    pub(super) unacknowledged: Mutex<VecDeque<(Position, Bytes)>>,
}

/// How far the peer has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Receipts {
    /// How many items it has acknowledged.
    pub(super) acknowledged: u64,
    /// To how many requests to close there is nothing more to do: the peer has confirmed our close, and
    /// was told so where it had closed, too.
    pub(super) closes: u64,
    /// Whether nothing will change any more.
    pub(super) ended: bool,
}

/// The figures of a conduit that change with the turns of its driver only.
#[derive(Debug, Clone, Copy, Default)]
struct Published {
    counters: SessionCounters,
    acknowledged: u64,
    received: u64,
    generation: u64,
    round_trip: Option<Duration>,
    oldest_at: Option<Instant>,
    ack_lag: Option<Lag>,
}

/// Shared by all handles of a conduit and its driver.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    pub(super) receipts: watch::Sender<Receipts>,
    pub(super) status: watch::Sender<Status>,
    /// What the driver published last.
    published: Mutex<Published>,
    pub(super) outcome: OnceLock<Outcome>,
    /// The cost of all items that the application has taken. The driver hears of it in portions.
    pub(super) consumed: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: &StableConfig) -> Arc<Self> {
        Arc::new(Self {
            outbox: Outbox::new(config.send_log_bytes_max, config.message_bytes_max),
            inbox: Inbox::new(config.inbox_bytes_max as u64),
            receipts: watch::Sender::default(),
            status: watch::Sender::new(Status::Connecting { attempts: 0 }),
            published: Mutex::default(),
            outcome: OnceLock::new(),
            consumed: AtomicU64::new(0),
        })
    }

    /// The figures as the driver published them last, less what was taken since.
    pub(super) fn stats(&self) -> Stats {
        let published = *self.published();
        let counters = published.counters;
        let received = counters.bytes_received + published.received * ITEM_COST;
        let inbox_bytes = received.saturating_sub(self.consumed.load(Ordering::Relaxed));
        let now = tokio::time::Instant::now().into_std();
        let oldest_unacknowledged = published.oldest_at.map(|at| now.saturating_duration_since(at));
        let (messages_accepted, send_log_bytes) = self.outbox.depth();
        Stats {
            messages_accepted,
            messages_acknowledged: published.acknowledged,
            messages_received: published.received,
            messages_replayed: counters.items_replayed,
            messages_duplicate: counters.items_duplicate,
            bytes_written: counters.bytes_written,
            bytes_received: counters.bytes_received,
            send_log_bytes,
            send_log_messages: messages_accepted - published.acknowledged,
            oldest_unacknowledged,
            ack_lag: published.ack_lag.map(Lag::duration),
            inbox_bytes,
            resumes: counters.resumes,
            generation: published.generation,
            round_trip: published.round_trip,
        }
    }

    /// Publishes the figures of `session`.
    #[inline]
    pub(super) fn publish_stats(&self, session: &Session, ages: &Ages) {
        *self.published() = Published {
            counters: session.counters(),
            acknowledged: session.log().acked(),
            received: session.received(),
            generation: session.generation().get(),
            round_trip: session.round_trip(),
            oldest_at: ages.oldest_at(),
            ack_lag: ages.ack_lag(),
        };
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the session was lost, if it was.
    pub(super) fn lost(&self) -> Option<&SessionLost> {
        self.outcome.get().and_then(|outcome| outcome.lost.as_ref())
    }

    /// What the peer has not acknowledged, once the session is over; nothing a second time.
    pub(super) fn take_unacknowledged(&self) -> Vec<(Position, Bytes)> {
        let Some(outcome) = self.outcome.get() else { return Vec::new() };
        let mut items = outcome.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *items).into()
    }

    /// Records the end of `session`, and why it was lost if it was, and tells everybody who waits.
    /// What was accepted since the driver's last turn goes with the rest.
    pub(super) fn end(&self, lost: Option<LossReason>, session: &mut Session, ages: &Ages) {
        if self.outcome.get().is_some() {
            return;
        }
        let in_order = lost.is_none();
        self.outbox.end_with(session, Session::append, |session, accepted| {
            // Before the log is emptied, which must not look like an acknowledgement.
            self.publish_stats(session, ages);
            let acknowledged = session.log().acked();
            let lost = lost.map(|reason| SessionLost { reason, acknowledged, accepted });
            let unacknowledged = Mutex::new(session.take_unacknowledged().into());
            // Nobody else records an end.
            let _ = self.outcome.set(Outcome { lost, unacknowledged });
        });
        self.inbox.end(in_order);
        self.receipts.send_modify(|receipts| receipts.ended = true);
    }
}
