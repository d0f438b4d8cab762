//! Waiting for room in an outbox, in the order of arrival, and keeping room for later.

mod place;

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::task::yield_now;

use crate::codec::EncodeError;
use crate::handover::outbox::OutboxState;
use crate::handover::{Outbox, Refusal};
use crate::protocol::Position;
use crate::sync::MutexGuard;

pub(crate) use place::Place;

/// How much a sender that is never made to wait sends before it lets the driver run, which may
/// have nothing but the sender's thread to run on. What was sent just now is still in the caches
/// then.
const RUN_COST_MAX: u64 = 512 * 1024;

impl Outbox {
    /// Waits for room, then accepts what `encode` writes as one item. Dropping the future before
    /// it is ready accepts nothing.
    pub(crate) async fn append(
        &self,
        mut encode: impl FnMut(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        // Nearly always there is room and nobody waits for it; then no place in the queue is needed.
        if let Some(accepted) = self.append_now(RUN_COST_MAX, &mut encode) {
            return accepted;
        }
        let resumed = self.resumed.notified();
        match self.end_run(RUN_COST_MAX) {
            None => {}
            Some(true) => resumed.await,
            Some(false) => yield_now().await,
        }
        let mut ticket = Ticket { outbox: self, number: None };
        poll_fn(|cx| ticket.poll_append(cx, &mut encode)).await
    }

    /// Waits for room and claims `cost` of it for one item. Dropping the future before it is ready
    /// claims nothing.
    pub(crate) async fn claim(&self, cost: u64) -> Result<Claim<'_>, Refusal> {
        let mut ticket = Ticket { outbox: self, number: None };
        poll_fn(|cx| ticket.poll_claim(cx, cost)).await?;
        Ok(Claim { outbox: self, cost })
    }
}

/// A place in the queue for room. Given up when dropped.
#[derive(Debug)]
struct Ticket<'a> {
    outbox: &'a Outbox,
    number: Option<u64>,
}

impl Ticket<'_> {
    /// Appends an item once it is this ticket's turn and there is room.
    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Poll<Result<Position, Refusal>> {
        let mut state = self.outbox.lock();
        if self.must_wait(&mut state, cx) {
            Outbox::unlock(state);
            return Poll::Pending;
        }
        let accepted = state.append(encode, u64::MAX);
        // Whoever is next may find room, too: items differ in size.
        self.leave(state);
        Poll::Ready(accepted)
    }

    /// Claims room for an item once it is this ticket's turn and there is some.
    fn poll_claim(&mut self, cx: &mut Context<'_>, cost: u64) -> Poll<Result<(), Refusal>> {
        let mut state = self.outbox.lock();
        if self.must_wait(&mut state, cx) {
            Outbox::unlock(state);
            return Poll::Pending;
        }
        let claimed = if state.ended {
            Err(Refusal::Ended)
        } else {
            state.claims += cost;
            Ok(())
        };
        self.leave(state);
        Poll::Ready(claimed)
    }

    #[inline]
    fn must_wait(&mut self, state: &mut OutboxState, cx: &mut Context<'_>) -> bool {
        if state.ended {
            return false;
        }
        let first = state.waiting.first_key_value().map(|(&number, _)| number);
        if state.has_room() && (first.is_none() || first == self.number) {
            return false;
        }
        let number = *self.number.get_or_insert_with(|| {
            state.tickets += 1;
            state.tickets
        });
        // The first to wait is news to the driver: some peers have to be asked for acknowledgements.
        state.news |= state.waiting.is_empty();
        state.waiting.insert(number, cx.waker().clone());
        true
    }

    fn leave(&mut self, mut state: MutexGuard<'_, OutboxState>) {
        let left = self.number.take().and_then(|number| state.waiting.remove(&number));
        Outbox::unlock(state);
        drop(left);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.number.is_some() {
            // A wake-up that was meant for this ticket goes to the next.
            self.leave(self.outbox.lock());
        }
    }
}

/// Room claimed for one item. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    outbox: &'a Outbox,
    cost: u64,
}

impl Claim<'_> {
    /// Accepts what `encode` writes as one item.
    ///
    /// The claim is given back when this returns or panics: for a moment the item and its claim
    /// are both counted, so nobody else can take the room in between.
    pub(crate) fn append(
        self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        let mut state = self.outbox.lock();
        // An item larger than the claim may overshoot the bound only where any item might.
        let others = state.cost_held() - self.cost;
        let cost_max = if others < state.bytes_max { u64::MAX } else { self.cost };
        let accepted = state.append(encode, cost_max);
        Outbox::unlock(state);
        accepted
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        state.claims -= self.cost;
        Outbox::unlock(state);
    }
}
