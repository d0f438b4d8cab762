//! What has happened on a line, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened on a line so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LineStats {
    /// Links that were opened.
    pub links: u64,
    /// Links that ended because something came that was not what was sent.
    pub damaged: u64,
    /// Links that the peer reported as damaged.
    pub damaged_there: u64,
    /// Chunks that were no frames and came while there was no link: noise, boot loaders, the rest of
    /// earlier links.
    pub skipped: u64,
}

/// Tells the numbers of a line, or of several one after another. Clones tell of the same ones.
#[derive(Clone, Debug, Default)]
pub struct LineStatsHandle(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    links: AtomicU64,
    damaged: AtomicU64,
    damaged_there: AtomicU64,
    skipped: AtomicU64,
}

impl LineStatsHandle {
    /// The numbers now.
    #[must_use]
    pub fn get(&self) -> LineStats {
        LineStats {
            links: self.0.links.load(Ordering::Relaxed),
            damaged: self.0.damaged.load(Ordering::Relaxed),
            damaged_there: self.0.damaged_there.load(Ordering::Relaxed),
            skipped: self.0.skipped.load(Ordering::Relaxed),
        }
    }

    pub(super) fn link(&self) {
        self.0.links.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn damaged(&self) {
        self.0.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn damaged_there(&self) {
        self.0.damaged_there.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self) {
        self.0.skipped.fetch_add(1, Ordering::Relaxed);
    }
}
