//! Messages that are sent only if they can be written at once before they expire.

use std::collections::VecDeque;
use std::time::Instant;

use crate::handover::{Offer, Outbox};
use crate::protocol::Session;

/// How much is accepted at a time, by cost and by number. Less than an idle writer takes, together
/// with what else the session may have to say, so that what is accepted is also written.
const ACCEPTED_COST_MAX: u64 = 64 * 1024;
const ACCEPTED_MAX: usize = 512;

/// Offers that wait for a link to be idle, oldest first.
#[derive(Debug, Default)]
pub(super) struct Offers {
    queue: VecDeque<Offer>,
    /// What the queue holds, by cost, and how much of it was withdrawn at most.
    cost: u64,
    withdrawn: u64,
    /// No offer expires before this.
    next_at: Option<Instant>,
}

impl Offers {
    pub(super) fn extend(&mut self, offers: Vec<Offer>) {
        let first = offers.iter().map(Offer::expires_at).min();
        self.next_at = self.next_at.into_iter().chain(first).min();
        self.cost += offers.iter().map(Offer::cost).sum::<u64>();
        self.queue.extend(offers);
    }

    /// Offers of this cost were withdrawn. Room was given back for them, so they must not pile up
    /// until they expire; looking for them when they are half of all pays for the look.
    pub(super) fn withdraw(&mut self, cost: u64) {
        self.withdrawn += cost;
        if self.withdrawn > self.cost / 2 {
            self.retain(|offer| !offer.is_withdrawn());
        }
    }

    /// Moves the offers that would be written at once into the session.
    pub(super) fn accept(&mut self, now: Instant, session: &mut Session, outbox: &Outbox) {
        let mut room = session.writable().min(ACCEPTED_COST_MAX);
        for _ in 0..ACCEPTED_MAX {
            if room == 0 {
                return;
            }
            let Some(offer) = self.queue.pop_front() else { return };
            let cost = offer.cost();
            self.cost -= cost;
            if offer.expires_at() <= now {
                offer.expire();
                continue;
            }
            match outbox.accept(offer) {
                Ok(mut item) => {
                    session.append(&mut item);
                    room = room.saturating_sub(cost);
                }
                Err(offer) => {
                    self.cost += cost;
                    self.queue.push_front(offer);
                    return;
                }
            }
        }
    }

    /// Whether none wait.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives back the offers that have expired.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_at.is_none_or(|at| at > now) {
            return;
        }
        self.retain(|offer| offer.expires_at() > now && !offer.is_withdrawn());
    }

    /// Gives all offers back: nothing is accepted any more.
    pub(super) fn refuse_all(&mut self) {
        *self = Self::default();
    }

    /// When to call [`expire`](Self::expire) next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Keeps the offers that `keep` says, and lets the others expire.
    fn retain(&mut self, keep: impl Fn(&Offer) -> bool) {
        (self.cost, self.withdrawn, self.next_at) = (0, 0, None);
        for offer in std::mem::take(&mut self.queue) {
            if keep(&offer) {
                self.cost += offer.cost();
                self.next_at = self.next_at.into_iter().chain([offer.expires_at()]).min();
                self.queue.push_back(offer);
            } else {
                offer.expire();
            }
        }
    }
}
