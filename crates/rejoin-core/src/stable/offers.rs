//! Messages that are sent only if they can be written at once before they expire.

use std::collections::VecDeque;
use std::time::Instant;

use crate::handover::{Offer, Outbox};
use crate::protocol::Session;

/// Less than an idle writer takes at a time, so that what is accepted is also written.
const ACCEPTED_MAX: u64 = 64 * 1024;

/// Offers that wait for a link to be idle, oldest first.
#[derive(Debug, Default)]
pub(super) struct Offers {
    queue: VecDeque<Offer>,
}

impl Offers {
    pub(super) fn extend(&mut self, offers: Vec<Offer>) {
        self.queue.extend(offers);
    }

    /// Moves the offers that would be written at once into the session.
    pub(super) fn accept(&mut self, now: Instant, session: &mut Session, outbox: &Outbox) {
        if self.queue.is_empty() {
            return;
        }
        let mut room = session.writable().min(ACCEPTED_MAX);
        while room > 0
            && let Some(offer) = self.queue.pop_front()
        {
            let cost = offer.cost();
            if offer.expires_at() <= now {
                offer.expire();
                continue;
            }
            match outbox.accept(offer) {
                Ok(item) => {
                    session.append(item);
                    room = room.saturating_sub(cost);
                }
                Err(offer) => {
                    self.queue.push_front(offer);
                    return;
                }
            }
        }
    }

    /// Gives back the offers that have expired.
    pub(super) fn expire(&mut self, now: Instant) {
        for offer in std::mem::take(&mut self.queue) {
            if offer.expires_at() <= now {
                offer.expire();
            } else if !offer.is_withdrawn() {
                self.queue.push_back(offer);
            }
        }
    }

    /// When the next offer expires.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.queue.iter().map(Offer::expires_at).min()
    }
}
