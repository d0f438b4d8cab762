//! The way from the handles to the driver: items, and what else the handles want.

use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{Notify, oneshot};

use crate::codec::EncodeError;
use crate::handover::Offer;
use crate::handover::filling::Filling;
use crate::protocol::{Batch, CloseReason, ITEM_COST, Position, item_cost};
use crate::sync::{Mutex, MutexGuard};

/// The room that a permit holds: enough for most items, and little enough for several permits.
const PERMIT_BYTES: u64 = 8 * 1024;

/// From this size on, what an item costs is its bytes, and where they lie; of smaller ones it is what is
/// done for each, and to wait for the driver would only make its batches smaller.
const LARGE_BYTES_MIN: usize = 8 * 1024;

/// Why an item was not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    Encode(EncodeError),
    TooLarge { bytes: usize, bytes_max: usize },
    Full,
    Expired,
    Ended,
}

/// What the handles want of the driver, taken as a whole.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// The cost of received items that the application has taken since the last time.
    pub(crate) consumed: u64,
    /// Close, after all items.
    pub(crate) close: Option<CloseReason>,
    /// How often it was asked to so far.
    pub(crate) closes: u64,
    /// Do not wait for the next attempt.
    pub(crate) reconnect: bool,
    /// Nobody has a handle any more.
    pub(crate) abandoned: bool,
    /// Somebody waits for an acknowledgement, or for the room that one would bring.
    pub(crate) ack_wanted: bool,
    /// The application acknowledges that many received items.
    pub(crate) acknowledged: Option<u64>,
    /// Items that expire.
    pub(crate) offers: Vec<Offer>,
    /// The cost of those that were withdrawn since the last time.
    pub(crate) withdrawn: u64,
    /// Those who want a new link in place of one that works.
    pub(crate) migrations: Vec<Migration>,
    /// Tell the peer that this side ends soon, and when to try again.
    pub(crate) going_away: Option<Duration>,
}

/// What a driver that goes to sleep makes of items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Items {
    /// It would take them at once.
    Wanted,
    /// It takes them when it is done with others, and is not to be woken for them.
    Later,
    /// It leaves them where they are, but is to know when another one comes.
    Noted,
}

/// Is told whether a new link has taken the place of the old one.
pub(crate) type Migration = oneshot::Sender<io::Result<()>>;

/// The way from the handles to the driver.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    /// Tells senders that pause to go on.
    pub(super) resumed: Notify,
}

#[derive(Debug)]
pub(super) struct OutboxState {
    pub(super) filling: Filling,
    pub(super) next: u64,
    /// Costs of all items accepted and released, from the first of the session.
    pub(super) cost_accepted: u64,
    cost_released: u64,
    /// The cost of what was accepted since the driver came, or since a sender let it run.
    run_cost: u64,
    /// Whether the driver came for large items a moment ago, and [says](Outbox::end_swift) when it
    /// does not come for more soon.
    is_swift: bool,
    /// Whether a sender may pause.
    pauses: bool,
    /// Room promised to permits.
    pub(super) claims: u64,
    pub(super) bytes_max: u64,
    pub(super) item_bytes_max: usize,
    /// Those who wait for room, by the order in which they came.
    pub(super) waiting: BTreeMap<u64, Waker>,
    pub(super) tickets: u64,
    pub(super) ended: bool,
    handles: usize,
    ack_waiters: usize,
    consumed: u64,
    close: Option<CloseReason>,
    closes: u64,
    reconnect: bool,
    acknowledged: Option<u64>,
    pub(super) offers: Vec<Offer>,
    pub(super) withdrawn: u64,
    migrations: Vec<Migration>,
    going_away: Option<Duration>,
    pub(super) news: bool,
    /// What the driver makes of an item that comes now.
    pub(super) items: Items,
    /// Whether the driver is to come for items.
    pub(super) items_wait: bool,
    /// Present while the driver sleeps.
    driver: Option<Waker>,
}

impl Outbox {
    /// How much room to claim for an item of unknown size: never so little that no item fits.
    pub(crate) fn permit_cost(&self) -> u64 {
        (self.lock().bytes_max / 8).clamp(2 * ITEM_COST, PERMIT_BYTES)
    }

    /// An empty outbox that accepts items while less than `bytes_max`, by cost, is not released.
    pub(crate) fn new(bytes_max: usize, item_bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(OutboxState {
                filling: Filling::new(),
                next: 0,
                cost_accepted: 0,
                cost_released: 0,
                run_cost: 0,
                is_swift: false,
                pauses: false,
                claims: 0,
                bytes_max: bytes_max as u64,
                item_bytes_max,
                waiting: BTreeMap::new(),
                tickets: 0,
                ended: false,
                handles: 0,
                ack_waiters: 0,
                consumed: 0,
                close: None,
                closes: 0,
                reconnect: false,
                acknowledged: None,
                offers: Vec::new(),
                withdrawn: 0,
                migrations: Vec::new(),
                going_away: None,
                news: false,
                items: Items::Noted,
                items_wait: false,
                driver: None,
            }),
            resumed: Notify::new(),
        }
    }

    /// Accepts what `encode` writes as one item, if there is room and nobody waits for it.
    pub(crate) fn try_append(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        self.append_now(u64::MAX, encode).unwrap_or(Err(Refusal::Full))
    }

    /// Accepts what `encode` writes as one item; `None` when it has to wait for room, or when items
    /// of `run_cost_max` were accepted and the driver has not come for them.
    #[inline]
    pub(super) fn append_now(
        &self,
        run_cost_max: u64,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Option<Result<Position, Refusal>> {
        let mut state = self.lock();
        let must_wait = !state.waiting.is_empty() || !state.has_room();
        if !state.ended && (must_wait || state.run_cost >= run_cost_max) {
            return None;
        }
        let accepted = state.append(encode, u64::MAX);
        Self::unlock(state);
        Some(accepted)
    }

    /// Begins another run where the driver has not come for as much as a sender sends in one; gives
    /// then whether it comes soon, so that the sender should wait until it is told to go on.
    pub(super) fn end_run(&self, run_cost_max: u64) -> Option<bool> {
        let mut state = self.lock();
        if state.run_cost < run_cost_max {
            return None;
        }
        state.run_cost = 0;
        state.pauses |= state.is_swift;
        Some(state.is_swift)
    }

    /// The application acknowledges the first `count` items received.
    pub(crate) fn acknowledge(&self, count: u64) {
        let mut state = self.lock();
        state.acknowledged = state.acknowledged.max(Some(count));
        Self::tell_driver(state);
    }

    /// Asks for a new link in place of the present one.
    pub(crate) fn migrate(&self) -> oneshot::Receiver<io::Result<()>> {
        let (done, wait) = oneshot::channel();
        let mut state = self.lock();
        state.migrations.push(done);
        Self::tell_driver(state);
        wait
    }

    /// Asks the driver to tell the peer that this side ends soon.
    pub(crate) fn go_away(&self, retry_after: Duration) {
        let mut state = self.lock();
        state.going_away = Some(retry_after);
        Self::tell_driver(state);
    }

    /// The driver takes all but the items; `None` when there is nothing.
    #[inline]
    pub(crate) fn take(&self) -> Option<Requests> {
        let mut state = self.lock();
        std::mem::take(&mut state.news).then(|| state.take_requests())
    }

    /// The driver takes the items, in order. It need not be woken for others: it comes again, or
    /// [goes to sleep](Self::sleep).
    #[inline]
    pub(crate) fn take_items(&self, take: impl FnMut(&mut Batch)) {
        self.take_all(take, false);
    }

    /// The same, for a driver for whose next coming senders may wait if the items were large. Gives
    /// whether it took such: then it comes again soon, or [says](Self::end_swift) that it does not.
    #[inline]
    #[must_use]
    pub(crate) fn take_items_swiftly(&self, take: impl FnMut(&mut Batch)) -> bool {
        self.take_all(take, true)
    }

    #[inline]
    fn take_all(&self, take: impl FnMut(&mut Batch), swiftly: bool) -> bool {
        let mut state = self.lock();
        let took = !state.filling.is_empty();
        if took {
            state.is_swift = swiftly && state.filling.item_bytes() >= LARGE_BYTES_MIN;
            state.filling.take(take);
        }
        let took_large = took && state.is_swift;
        state.run_cost = 0;
        state.items_wait = false;
        state.items = Items::Later;
        self.resume(state);
        took_large
    }

    /// The driver does not come for items soon; whoever waits for that goes on.
    pub(crate) fn end_swift(&self) {
        let mut state = self.lock();
        state.is_swift = false;
        self.resume(state);
    }

    /// The driver has nothing more to do: `waker` is woken once there is something. `false` where that
    /// is so already.
    #[must_use]
    #[inline]
    pub(crate) fn sleep(&self, waker: &Waker, items: Items) -> bool {
        let mut state = self.lock();
        if state.news || (items == Items::Wanted && !state.filling.is_empty()) {
            return false;
        }
        (state.items, state.items_wait) = (items, false);
        match &mut state.driver {
            Some(present) => present.clone_from(waker),
            absent => *absent = Some(waker.clone()),
        }
        true
    }

    /// The driver no longer holds items up to this cost, counted from the first of the session; gives
    /// how many were accepted, and [what is held](OutboxState::cost_held) of them.
    #[inline]
    pub(crate) fn release(&self, cost_total: u64) -> (u64, u64) {
        let mut state = self.lock();
        state.cost_released = cost_total;
        let accepted = (state.next, state.cost_held());
        Self::unlock(state);
        accepted
    }

    /// Gives memory back that was not needed since the last time; gives whether there is more to
    /// give back if it is not needed until the next time, either.
    pub(crate) fn trim(&self) -> bool {
        self.lock().filling.trim()
    }

    /// From now on, accepts items while less than `bytes_max`, by cost, is not released. A bound that
    /// is lower than before and exceeded already is refused with `false`.
    pub(crate) fn set_bytes_max(&self, bytes_max: u64) -> bool {
        let mut state = self.lock();
        let fits = bytes_max >= state.bytes_max || state.cost_held() <= bytes_max;
        if fits {
            state.bytes_max = bytes_max;
        }
        Self::unlock(state);
        fits
    }

    /// The peer takes items of at most this many bytes.
    pub(crate) fn limit_items(&self, bytes_max: usize) {
        let mut state = self.lock();
        state.item_bytes_max = state.item_bytes_max.min(bytes_max);
    }

    /// Accepts nothing any more.
    pub(crate) fn end(&self) {
        self.refuse_all(self.lock());
    }

    /// Accepts nothing any more, for good. Before anybody can see that, `take` is given the items
    /// that were accepted and not taken, and then `record` the number of all: whoever is refused
    /// finds recorded why.
    pub(crate) fn end_with<S>(
        &self,
        session: &mut S,
        take: impl Fn(&mut S, &mut Batch),
        record: impl FnOnce(&mut S, u64),
    ) {
        let mut state = self.lock();
        state.filling.take(|batch| take(session, batch));
        record(session, state.next);
        let offers = std::mem::take(&mut state.offers);
        self.refuse_all(state);
        drop(offers);
    }

    /// Accepts nothing any more, and asks the driver to close after what was accepted; gives how often
    /// it was asked to so far.
    pub(crate) fn close(&self, reason: CloseReason) -> u64 {
        self.end();
        let mut state = self.lock();
        state.close.get_or_insert(reason);
        state.closes += 1;
        let closes = state.closes;
        Self::tell_driver(state);
        closes
    }

    /// Asks the driver not to wait for its next attempt.
    pub(crate) fn reconnect(&self) {
        let mut state = self.lock();
        state.reconnect = true;
        Self::tell_driver(state);
    }

    /// The application has taken received items of this cost.
    pub(crate) fn consume(&self, cost: u64) {
        let mut state = self.lock();
        state.consumed += cost;
        Self::tell_driver(state);
    }

    /// One more handle holds on to the conduit.
    pub(crate) fn add_handle(&self) {
        self.lock().handles += 1;
    }

    /// One handle less holds on to the conduit.
    pub(crate) fn remove_handle(&self) {
        let mut state = self.lock();
        state.handles -= 1;
        if state.handles == 0 {
            Self::tell_driver(state);
        }
    }

    /// One more, or one less, waits for an acknowledgement.
    pub(crate) fn count_ack_waiter(&self, arrives: bool) {
        let mut state = self.lock();
        if arrives {
            state.ack_waiters += 1;
        } else {
            state.ack_waiters -= 1;
        }
        Self::tell_driver(state);
    }

    /// How many items were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.lock().next
    }

    /// How many items were accepted, and the cost of those that are not released.
    pub(crate) fn depth(&self) -> (u64, u64) {
        let state = self.lock();
        (state.next, state.cost_accepted - state.cost_released)
    }

    fn refuse_all(&self, mut state: MutexGuard<'_, OutboxState>) {
        state.ended = true;
        state.news = true;
        state.is_swift = false;
        let waiting = std::mem::take(&mut state.waiting);
        self.resume(state);
        waiting.into_values().for_each(Waker::wake);
    }

    /// Tells senders that pause to go on.
    #[inline]
    fn resume(&self, mut state: MutexGuard<'_, OutboxState>) {
        let pauses = std::mem::take(&mut state.pauses);
        drop(state);
        if pauses {
            self.resumed.notify_waiters();
        }
    }

    pub(super) fn tell_driver(mut state: MutexGuard<'_, OutboxState>) {
        state.news = true;
        Self::unlock(state);
    }

    /// Ends a change: wakes the driver where there is news for it, and whoever is next in the queue
    /// where there is room. Wakers are foreign code, which must not run under the lock.
    #[inline]
    pub(super) fn unlock(state: MutexGuard<'_, OutboxState>) {
        if (state.wants_driver() && state.driver.is_some()) || !state.waiting.is_empty() {
            Self::unlock_and_wake(state);
        }
    }

    #[inline(never)]
    fn unlock_and_wake(mut state: MutexGuard<'_, OutboxState>) {
        let driver = if state.wants_driver() { state.driver.take() } else { None };
        let next = state.next_waiting();
        drop(state);
        driver.into_iter().chain(next).for_each(Waker::wake);
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // A codec that panics inside `append` leaves at worst uncommitted bytes in the batch, which
        // the next append rolls back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutboxState {
    /// The cost of what is accepted and not released, and of what is promised.
    #[inline]
    pub(super) fn cost_held(&self) -> u64 {
        self.cost_accepted - self.cost_released + self.claims
    }

    fn wants_driver(&self) -> bool {
        self.news || self.items_wait
    }

    /// An item may be larger than the room that is left, or else none larger than the bound could
    /// ever pass. So what is held stays below the bound and one item.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.cost_held() < self.bytes_max
    }

    /// Refuses an item that is larger than this side or the peer takes.
    #[inline]
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Refusal> {
        let bytes_max = self.item_bytes_max;
        if bytes > bytes_max { Err(Refusal::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    #[inline(never)]
    fn take_requests(&mut self) -> Requests {
        Requests {
            consumed: std::mem::take(&mut self.consumed),
            close: self.close.take(),
            closes: self.closes,
            reconnect: std::mem::take(&mut self.reconnect),
            abandoned: self.handles == 0,
            ack_wanted: self.ack_waiters > 0 || !self.has_room(),
            acknowledged: self.acknowledged.take(),
            offers: std::mem::take(&mut self.offers),
            withdrawn: std::mem::take(&mut self.withdrawn),
            migrations: std::mem::take(&mut self.migrations),
            going_away: self.going_away.take(),
        }
    }

    /// Takes a number and stores the bytes, in one step; on failure neither.
    pub(super) fn append(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
        cost_max: u64,
    ) -> Result<Position, Refusal> {
        if self.ended {
            return Err(Refusal::Ended);
        }
        let batch = self.filling.batch();
        let encoded = encode(batch.buffer()).map_err(Refusal::Encode);
        let bytes = batch.uncommitted();
        let cost = item_cost(bytes);
        let checked = encoded
            .and_then(|()| self.check_size(bytes))
            .and_then(|()| if cost > cost_max { Err(Refusal::Full) } else { Ok(()) });
        if let Err(refusal) = checked {
            self.filling.rollback();
            return Err(refusal);
        }
        self.filling.commit();
        let position = Position::new(self.next);
        self.next += 1;
        self.cost_accepted += cost;
        self.run_cost += cost;
        self.items_wait |= self.items == Items::Wanted;
        self.news |= self.items == Items::Noted || !self.has_room();
        Ok(position)
    }

    /// Who is next in the queue, if there is room. Stays in the queue until it has come for it.
    fn next_waiting(&self) -> Option<Waker> {
        let (_, first) = self.waiting.first_key_value()?;
        self.has_room().then(|| first.clone())
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "outbox_orders.rs"]
mod orders;
