//! The numbers that an acceptor keeps. They are independent of each other: a snapshot taken while
//! the acceptor works may show one event in one number and not yet in another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What an [`AcceptorSource`](crate::AcceptorSource) has seen so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AcceptorStats {
    /// Peers that the listener accepted.
    pub accepted: u64,
    /// Transient errors of the listener.
    pub accept_failed: u64,
    /// Peers whose upgrade failed, such as a TLS handshake, or panicked.
    pub upgrade_failed: u64,
    /// Peers whose first payload was not a hello.
    pub bad_hello: u64,
    /// Peers that were not done by the deadline.
    pub timed_out: u64,
    /// Peers that closed the link, or whose link failed, before the hello.
    pub closed_early: u64,
    /// Handshakes that were given up to make room for a newer one.
    pub evicted: u64,
    /// Handshakes that are under way, or done and not yet taken.
    pub pending: usize,
}

/// Reads the numbers of an [`AcceptorSource`](crate::AcceptorSource), also after its end.
#[derive(Clone, Debug)]
pub struct AcceptorStatsHandle {
    counters: Arc<Counters>,
}

impl AcceptorStatsHandle {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters }
    }

    /// The numbers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> AcceptorStats {
        self.counters.snapshot()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) accept_failed: AtomicU64,
    pub(super) upgrade_failed: AtomicU64,
    pub(super) bad_hello: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) closed_early: AtomicU64,
    pub(super) evicted: AtomicU64,
    pending: AtomicUsize,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_pending(&self, pending: usize) {
        self.pending.store(pending, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> AcceptorStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AcceptorStats {
            accepted: read(&self.accepted),
            accept_failed: read(&self.accept_failed),
            upgrade_failed: read(&self.upgrade_failed),
            bad_hello: read(&self.bad_hello),
            timed_out: read(&self.timed_out),
            closed_early: read(&self.closed_early),
            evicted: read(&self.evicted),
            pending: self.pending.load(Ordering::Relaxed),
        }
    }
}
