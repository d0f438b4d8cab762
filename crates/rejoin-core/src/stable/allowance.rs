//! How much the sessions of one listener may buffer, each and together.
//!
//! A session begins with little room for its send log and its inbox, and gets more as it needs it,
//! out of a budget that all sessions of the listener share. When the budget runs short, sessions
//! give back what they do not use, and senders wait. What every session has from the beginning is
//! not part of the budget: none is ever without room.
//!
//! A message larger than the room of a session passes all the same, one at a time. What there is
//! of it, from its first bytes on, is taken from the budget, too: where that is used up, the
//! session's link is not read until others have given something back. One message at a time may go
//! beyond the budget: without that, several that are half there could wait for each other. While others
//! wait for that right, it lasts no longer than anybody may have to wait.
//!
//! What counts against the budget is what was promised: a sender may fill its log to the bound that it
//! has, and a peer the window that it was told, whatever the application meant to give back since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::protocol::Session;
use crate::stable::config::StableConfig;
use crate::stable::shared::Shared;

/// What a session has in either direction without asking, in bytes by cost.
pub(super) const ALLOWANCE_MIN: u64 = 64 * 1024;

/// How often a session to which nothing happens looks whether others need what it does not.
const REVIEW_INTERVAL: Duration = Duration::from_secs(5);

/// How soon a session that waits for the budget in order to read on tries again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The bytes that all sessions of a listener may buffer together beyond their minimum.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    /// At most `bytes_max`, and what one message takes.
    used: AtomicU64,
    /// Whether a message has the right to go beyond `bytes_max`.
    exceeded: AtomicBool,
    /// Whether another was refused that right since this was last asked.
    refused: AtomicBool,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: bytes_max as u64,
            used: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        })
    }

    fn try_take(&self, bytes: u64) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&used| used <= self.bytes_max)
            })
            .is_ok()
    }

    /// Takes `bytes` whether or not they are there, where `exceeds` or nobody else does that; gives
    /// whether it has.
    fn exceed(&self, bytes: u64, exceeds: &mut bool) -> bool {
        *exceeds |= !self.exceeded.swap(true, Ordering::Relaxed);
        if *exceeds {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.refused.store(true, Ordering::Relaxed);
        }
        *exceeds
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether less than an eighth is left.
    fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.bytes_max / 8 * 7
    }
}

/// What one session may buffer in one direction.
///
/// Invariant: `bytes_min <= bytes <= held <= bytes_max`, and all of `held` but `bytes_min` is taken
/// from the budget.
#[derive(Debug)]
pub(super) struct Allowance {
    /// What may be promised from now on.
    bytes: u64,
    /// What may be in use by reason of earlier promises.
    held: u64,
    bytes_min: u64,
    bytes_max: u64,
    budget: Option<Arc<Budget>>,
    /// Whether this is the one that may go beyond the budget.
    exceeds: bool,
}

impl Allowance {
    /// Up to `bytes_max`, at once where there is no budget to keep to.
    pub(super) fn new(bytes_max: usize, budget: Option<Arc<Budget>>) -> Self {
        let bytes_max = bytes_max as u64;
        let bytes_min = if budget.is_some() { bytes_max.min(ALLOWANCE_MIN) } else { bytes_max };
        Self { bytes: bytes_min, held: bytes_min, bytes_min, bytes_max, budget, exceeds: false }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is more than the minimum to give back.
    fn can_shrink(&self) -> bool {
        self.bytes > self.bytes_min
    }

    /// Doubles when `used` bytes fill it, and halves as often as they fit while the budget is short;
    /// gives whether it has changed. What it shrinks by is given back by
    /// [`settle`](Self::settle).
    pub(super) fn adjust(&mut self, used: u64) -> bool {
        let Some(budget) = &self.budget else { return false };
        if used >= self.bytes && self.bytes < self.bytes_max {
            let bytes = self.bytes_max.min(2 * self.bytes);
            let granted = bytes <= self.held || budget.try_take(bytes - self.held);
            if granted {
                self.bytes = bytes;
                self.held = self.held.max(bytes);
            }
            granted
        } else if self.bytes > self.bytes_min && used <= self.bytes / 2 && budget.is_short() {
            self.bytes = (self.bytes / 2).max(self.bytes_min);
            true
        } else {
            false
        }
    }

    /// Has room for exactly `bytes`, but for the minimum; gives whether the budget has that, or this
    /// is the one that may go beyond it.
    fn cover(&mut self, bytes: u64) -> bool {
        let Some(budget) = &self.budget else { return true };
        let wanted = bytes.max(self.bytes_min);
        if wanted == self.held && wanted == self.bytes {
            return true;
        }
        let more = wanted.saturating_sub(self.held);
        if more > 0 && !budget.try_take(more) && !budget.exceed(more, &mut self.exceeds) {
            return false;
        }
        budget.give_back(self.held.saturating_sub(wanted));
        (self.bytes, self.held) = (wanted, wanted);
        if wanted == self.bytes_min {
            self.let_others_exceed();
        }
        true
    }

    fn let_others_exceed(&mut self) {
        if std::mem::take(&mut self.exceeds)
            && let Some(budget) = &self.budget
        {
            budget.exceeded.store(false, Ordering::Relaxed);
        }
    }

    /// Gives back what is neither to be promised nor `promised` any more.
    pub(super) fn settle(&mut self, promised: u64) {
        let Some(budget) = &self.budget else { return };
        let held = self.bytes.max(promised).min(self.held);
        budget.give_back(self.held - held);
        self.held = held;
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(self.held - self.bytes_min);
        }
        self.let_others_exceed();
    }
}

/// What one session may buffer in both directions.
#[derive(Debug)]
pub(super) struct Room {
    log: Allowance,
    window: Allowance,
    /// What a message takes that is being read, or has been read and goes beyond the window.
    large: Allowance,
    /// When to try to read on, where the budget does not allow it now.
    retry_at: Option<Instant>,
    /// For how long a message may go beyond the budget while others wait, and when to see whether they
    /// do.
    exceed_for: Duration,
    exceeded_until: Option<Instant>,
    /// What the application has taken since the window was adjusted.
    consumed: u64,
    /// When to see whether others need more, though nothing happens here.
    review_at: Option<Instant>,
}

impl Room {
    pub(super) fn new(config: &StableConfig, budget: Option<&Arc<Budget>>) -> Self {
        Self {
            log: Allowance::new(config.send_log_bytes_max, budget.cloned()),
            window: Allowance::new(config.inbox_bytes_max, budget.cloned()),
            large: Allowance::new(config.message_bytes_max, budget.cloned()),
            retry_at: None,
            exceed_for: config.peer_dead_after,
            exceeded_until: None,
            consumed: 0,
            review_at: None,
        }
    }

    /// The application has taken received items of this cost.
    pub(super) fn consume(&mut self, cost: u64) {
        self.consumed += cost;
    }

    /// How much may wait for the application.
    pub(super) fn window(&self) -> u64 {
        self.window.bytes()
    }

    /// Whether the link may be read, where `partial` bytes have come of a message that is not
    /// complete, and items of `inbox` bytes, by cost, wait for the application.
    #[inline]
    pub(super) fn may_read(&mut self, now: Instant, partial: u64, inbox: u64) -> bool {
        let may_read = self.large.cover(partial + inbox.saturating_sub(self.window.held));
        self.retry_at = (!may_read).then(|| now + RETRY_INTERVAL);
        may_read
    }

    /// Whether a message of which `partial` bytes have come goes beyond the budget for too long, while
    /// others wait for that.
    #[inline]
    pub(super) fn holds_others_up(&mut self, now: Instant, partial: u64) -> bool {
        let Some(budget) = self.large.budget.as_ref().filter(|_| self.large.exceeds && partial > 0)
        else {
            self.exceeded_until = None;
            return false;
        };
        match self.exceeded_until {
            None => {
                budget.refused.store(false, Ordering::Relaxed);
                self.exceeded_until = Some(now + self.exceed_for);
                false
            }
            Some(until) if until <= now => {
                self.exceeded_until = Some(now + REVIEW_INTERVAL);
                budget.refused.swap(false, Ordering::Relaxed)
            }
            Some(_) => false,
        }
    }

    /// There is no link, and so nothing of a message that is not complete. Items of `inbox` bytes,
    /// by cost, wait for the application.
    pub(super) fn link_gone(&mut self, inbox: u64) {
        // They are here already, whether or not the budget has room for them.
        let _covered = self.large.cover(inbox.saturating_sub(self.window.held));
        (self.retry_at, self.exceeded_until) = (None, None);
    }

    /// When there is something to do for which nobody wakes the driver.
    pub(super) fn next_at(&self) -> Option<Instant> {
        [self.review_at, self.retry_at, self.exceeded_until].into_iter().flatten().min()
    }

    /// Asks for more room where it is short, and gives back what others need more, where the outbox
    /// and the log hold items of this cost; gives whether the session may have something to tell the
    /// peer of it.
    #[must_use]
    #[inline]
    pub(super) fn adjust(
        &mut self,
        now: Instant,
        session: &mut Session,
        shared: &Shared,
        held: u64,
    ) -> bool {
        self.log.budget.is_some() && self.adjust_to_budget(now, session, shared, held)
    }

    fn adjust_to_budget(
        &mut self,
        now: Instant,
        session: &mut Session,
        shared: &Shared,
        held: u64,
    ) -> bool {
        // The window is in use when the application has taken a whole one since the last time.
        let window = self.window.bytes();
        let window_used = if self.consumed >= window {
            self.consumed = 0;
            window
        } else {
            session.inbox_cost().min(window - 1)
        };
        let log_changed = self.log.adjust(held);
        let changed = self.window.adjust(window_used) || log_changed;
        if changed {
            self.apply(session, shared);
        }
        self.window.settle(session.window_promised());
        let can_shrink = self.log.can_shrink() || self.window.can_shrink();
        self.review_at = can_shrink.then(|| now + REVIEW_INTERVAL);
        changed
    }

    /// Tells the others how much room there is.
    pub(super) fn apply(&mut self, session: &mut Session, shared: &Shared) {
        // Where senders were faster, the bound stays where it was, and is all held.
        if shared.outbox.set_bytes_max(self.log.bytes()) {
            self.log.settle(0);
        } else {
            self.log.bytes = self.log.held;
        }
        shared.inbox.set_window(self.window.bytes());
        session.set_window(self.window.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn grows_while_it_is_filled_and_the_budget_lasts() {
        let budget = Budget::new(MIB);
        let mut first = Allowance::new(4 * MIB, Some(Arc::clone(&budget)));
        while first.adjust(first.bytes()) {}
        assert_eq!(first.bytes(), MIB as u64, "512 KiB more would take more than the budget has");
        let mut second = Allowance::new(4 * MIB, Some(Arc::clone(&budget)));
        assert_eq!(second.bytes(), ALLOWANCE_MIN, "has its minimum all the same");
        assert!(second.adjust(second.bytes()), "64 KiB are left");
        assert!(!second.adjust(second.bytes()), "now nothing is left");
        drop(first);
        assert!(second.adjust(second.bytes()));
    }

    #[test]
    fn gives_back_what_is_not_used_when_the_budget_is_short() {
        let budget = Budget::new(MIB);
        let mut idle = Allowance::new(4 * MIB, Some(Arc::clone(&budget)));
        while idle.adjust(idle.bytes()) {}
        let promised = idle.bytes();
        assert!(idle.adjust(promised / 2));
        idle.settle(promised);
        assert!(!budget.try_take(MIB as u64 / 2), "what was promised is not given back");
        idle.settle(promised / 2);
        assert!(budget.try_take(MIB as u64 / 2));
        budget.give_back(MIB as u64 / 2);
        assert!(!idle.adjust(idle.bytes() / 2), "the budget is not short any more");
        assert_eq!(idle.bytes(), MIB as u64 / 2);
        drop(idle);
        assert!(budget.try_take(MIB as u64), "all is given back in the end");
    }

    #[test]
    fn a_large_message_takes_what_there_is_of_it() {
        let budget = Budget::new(MIB);
        assert!(budget.exceed(0, &mut false), "this one may not");
        let mut large = Allowance::new(4 * MIB, Some(Arc::clone(&budget)));
        assert!(large.cover(ALLOWANCE_MIN), "the minimum takes nothing");
        assert!(large.cover(MIB as u64 / 2));
        assert!(!large.cover(2 * MIB as u64));
        assert!(!budget.try_take(MIB as u64 * 3 / 4), "a refusal changes nothing");
        assert!(large.cover(0));
        assert!(budget.try_take(MIB as u64));
        assert!(!large.cover(ALLOWANCE_MIN + 1));
        budget.give_back(1);
        assert!(large.cover(ALLOWANCE_MIN + 1));
    }

    #[test]
    fn one_message_at_a_time_may_go_beyond_the_budget() {
        let budget = Budget::new(MIB);
        let [mut first, mut second, mut third] =
            [0; 3].map(|_| Allowance::new(4 * MIB, Some(Arc::clone(&budget))));
        assert!(first.cover(MIB as u64 / 2) && second.cover(MIB as u64 / 2));
        assert!(first.cover(MIB as u64) && !second.cover(MIB as u64));
        assert!(first.cover(2 * MIB as u64), "as far as it needs");
        assert!(first.cover(MIB as u64 / 4) && !third.cover(MIB as u64), "it is still the one");
        assert!(first.cover(0) && third.cover(4 * MIB as u64), "the next may");
        assert!(!second.cover(MIB as u64));
        drop(third);
        assert!(second.cover(4 * MIB as u64));
        drop((first, second));
        assert!(budget.try_take(MIB as u64), "all is given back in the end");
    }

    #[test]
    fn a_message_counts_no_more_once_its_link_is_gone() {
        let config = StableConfig { message_bytes_max: 4 * MIB, ..StableConfig::default() };
        let budget = Budget::new(MIB);
        assert!(budget.exceed(0, &mut false), "this one may not");
        let mut room = Room::new(&config, Some(&budget));
        let now = Instant::now();
        assert!(room.may_read(now, MIB as u64, 0));
        assert!(!room.may_read(now, 2 * MIB as u64, 0));
        assert!(room.next_at().is_some(), "tries again");
        room.link_gone(0);
        assert_eq!(room.next_at(), None, "there is nothing to try");
        assert!(budget.try_take(MIB as u64));
    }

    #[test]
    fn is_all_there_without_a_budget() {
        let mut allowance = Allowance::new(4 * MIB, None);
        assert_eq!(allowance.bytes(), 4 * MIB as u64);
        assert!(!allowance.adjust(u64::MAX));
    }
}
