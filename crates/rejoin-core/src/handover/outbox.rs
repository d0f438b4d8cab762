//! The way from the handles to the driver: items, and what else the handles want.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::codec::EncodeError;
use crate::protocol::{Batch, CloseReason, Position, item_cost};

/// A batch is handed over as it is when it has grown to this size, and another one begun.
const BATCH_BYTES: usize = 64 * 1024;

/// Why an item was not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    Encode(EncodeError),
    TooLarge { bytes: usize, bytes_max: usize },
    Full,
    Expired,
    Ended,
}

/// An item that is of no use unless it is written soon. It has no position until then.
#[derive(Debug)]
pub(crate) struct Offer {
    item: Batch,
    cost: u64,
    expires_at: Instant,
    answer: oneshot::Sender<Result<Position, Refusal>>,
}

impl Offer {
    /// When it is to be given back.
    pub(crate) fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// What it takes of the send log and the peer's window.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Gives it back: it could not be written in time.
    pub(crate) fn expire(self) {
        // An error means that it was withdrawn.
        let _ = self.answer.send(Err(Refusal::Expired));
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.answer.is_closed()
    }
}

/// What the handles want of the driver, taken as a whole.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Items to send, in order.
    pub(crate) batches: Vec<Batch>,
    /// The cost of received items that the application has taken since the last time.
    pub(crate) consumed: u64,
    /// Close, after the items above.
    pub(crate) close: Option<CloseReason>,
    /// Do not wait for the next attempt.
    pub(crate) reconnect: bool,
    /// Nobody has a handle any more.
    pub(crate) abandoned: bool,
    /// Somebody waits for an acknowledgement, or for room that a full log would not show.
    pub(crate) ack_wanted: bool,
    /// The application acknowledges that many received items.
    pub(crate) acknowledged: Option<u64>,
    /// Items that expire.
    pub(crate) offers: Vec<Offer>,
    /// Those who want a new link in place of one that works.
    pub(crate) migrations: Vec<Migration>,
    /// Tell the peer that this side ends soon, and when to try again.
    pub(crate) going_away: Option<Duration>,
}

/// Is told whether a new link has taken the place of the old one.
pub(crate) type Migration = oneshot::Sender<io::Result<()>>;

/// The way from the handles to the driver.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
}

#[derive(Debug)]
struct OutboxState {
    filling: Batch,
    full: Vec<Batch>,
    spare: Option<Batch>,
    next: u64,
    /// Costs of all items accepted and released, from the first of the session.
    cost_accepted: u64,
    cost_released: u64,
    /// Room promised to permits.
    claims: u64,
    bytes_max: u64,
    item_bytes_max: usize,
    /// Those who wait for room, by the order in which they came.
    waiting: BTreeMap<u64, Waker>,
    tickets: u64,
    ended: bool,
    handles: usize,
    ack_waiters: usize,
    consumed: u64,
    close: Option<CloseReason>,
    reconnect: bool,
    acknowledged: Option<u64>,
    offers: Vec<Offer>,
    migrations: Vec<Migration>,
    going_away: Option<Duration>,
    news: bool,
    /// Present while the driver sleeps.
    driver: Option<Waker>,
}

impl Outbox {
    /// An empty outbox that accepts items while less than `bytes_max`, by cost, is not released.
    pub(crate) fn new(bytes_max: usize, item_bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(OutboxState {
                filling: Batch::default(),
                full: Vec::new(),
                spare: None,
                next: 0,
                cost_accepted: 0,
                cost_released: 0,
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
                reconnect: false,
                acknowledged: None,
                offers: Vec::new(),
                migrations: Vec::new(),
                going_away: None,
                news: false,
                driver: None,
            }),
        }
    }

    /// Accepts what `encode` writes as one item, if there is room and nobody waits for it.
    pub(crate) fn try_append(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        let mut state = self.lock();
        if !state.ended && (!state.waiting.is_empty() || !state.has_room()) {
            return Err(Refusal::Full);
        }
        let accepted = state.append(encode, u64::MAX);
        Self::announce(state);
        accepted
    }

    /// Waits for room, then accepts what `encode` writes as one item. Dropping the future before
    /// it is ready accepts nothing.
    pub(crate) async fn append(
        &self,
        mut encode: impl FnMut(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        let mut ticket = Ticket { outbox: self, number: None };
        poll_fn(|cx| ticket.poll_append(cx, &mut encode)).await
    }

    /// Waits for room and claims some for one item. Dropping the future before it is ready claims
    /// nothing.
    pub(crate) async fn claim(&self) -> Result<Claim<'_>, Refusal> {
        let mut ticket = Ticket { outbox: self, number: None };
        poll_fn(|cx| ticket.poll_claim(cx)).await?;
        Ok(Claim { outbox: self, used: false })
    }

    /// Offers what `encode` writes to the driver, which accepts it only if it can write it before
    /// `expires_at`. Dropping the future withdraws the offer, unless it was just written.
    pub(crate) async fn offer(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
        expires_at: Instant,
    ) -> Result<Position, Refusal> {
        let mut item = Batch::default();
        encode(item.buffer()).map_err(Refusal::Encode)?;
        let bytes = item.uncommitted();
        item.commit();
        let cost = item_cost(bytes);
        let deadline = tokio::time::Instant::from_std(expires_at);
        let Ok(claimed) = tokio::time::timeout_at(deadline, self.claim()).await else {
            return Err(Refusal::Expired);
        };
        let _room = claimed?;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.ended {
                return Err(Refusal::Ended);
            }
            if bytes > state.item_bytes_max {
                return Err(Refusal::TooLarge { bytes, bytes_max: state.item_bytes_max });
            }
            state.offers.push(Offer { item, cost, expires_at, answer });
            Self::tell_driver(state);
        }
        answered.await.unwrap_or(Err(Refusal::Ended))
    }

    /// The driver can write an offer now: gives the item out, with a position, unless items that
    /// were accepted before it wait to be taken.
    pub(crate) fn accept(&self, offer: Offer) -> Result<Batch, Offer> {
        let mut state = self.lock();
        if state.ended || !state.filling.is_empty() || !state.full.is_empty() {
            return Err(offer);
        }
        let position = Position::new(state.next);
        if offer.answer.send(Ok(position)).is_err() {
            return Ok(Batch::default());
        }
        state.next += 1;
        state.cost_accepted += offer.cost;
        Ok(offer.item)
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

    /// Turns a claim into an item, in one step.
    fn append_claimed(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        let mut state = self.lock();
        state.claims -= state.claim();
        // An item larger than the claim may overshoot the bound only where any item might.
        let cost_max = if state.has_room() { u64::MAX } else { state.claim() };
        let accepted = state.append(encode, cost_max);
        state.wake_next();
        Self::announce(state);
        accepted
    }

    /// Gives a claim back.
    fn unclaim(&self) {
        let mut state = self.lock();
        state.claims -= state.claim();
        state.wake_next();
    }

    /// The driver takes what there is. When there is nothing, `waker` is woken once there is.
    pub(crate) fn take(&self, waker: &Waker) -> Option<Requests> {
        let mut state = self.lock();
        if !state.news {
            match &mut state.driver {
                Some(present) => present.clone_from(waker),
                absent => *absent = Some(waker.clone()),
            }
            return None;
        }
        state.news = false;
        let spare = state.spare.take().unwrap_or_default();
        let last = std::mem::replace(&mut state.filling, spare);
        let mut batches = std::mem::take(&mut state.full);
        if !last.is_empty() {
            batches.push(last);
        } else {
            state.filling = last;
        }
        Some(Requests {
            batches,
            consumed: std::mem::take(&mut state.consumed),
            close: state.close.take(),
            reconnect: std::mem::take(&mut state.reconnect),
            abandoned: state.handles == 0,
            ack_wanted: state.ack_waiters > 0 || state.waits_for_acks(),
            acknowledged: state.acknowledged.take(),
            offers: std::mem::take(&mut state.offers),
            migrations: std::mem::take(&mut state.migrations),
            going_away: state.going_away.take(),
        })
    }

    /// The driver no longer holds items up to this cost, counted from the first of the session,
    /// and has a buffer to give back.
    pub(crate) fn release(&self, cost_total: u64, spare: Option<Batch>) {
        let mut state = self.lock();
        state.cost_released = cost_total;
        if spare.is_some() {
            state.spare = spare;
        }
        state.wake_next();
    }

    /// The peer takes items of at most this many bytes.
    pub(crate) fn limit_items(&self, bytes_max: usize) {
        let mut state = self.lock();
        state.item_bytes_max = state.item_bytes_max.min(bytes_max);
    }

    /// Accepts nothing any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.news = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }

    /// Accepts nothing any more, and asks the driver to close after what was accepted.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.end();
        let mut state = self.lock();
        state.close.get_or_insert(reason);
        Self::tell_driver(state);
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

    fn announce(mut state: MutexGuard<'_, OutboxState>) {
        // Whoever is next in the queue may find room, too: items differ in size.
        state.wake_next();
        if state.news {
            let driver = state.driver.take();
            drop(state);
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }

    fn tell_driver(mut state: MutexGuard<'_, OutboxState>) {
        state.news = true;
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // A codec that panics inside `append` leaves at worst uncommitted bytes in the batch, which
        // the next append rolls back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutboxState {
    fn has_room(&self) -> bool {
        self.cost_accepted - self.cost_released + self.claims < self.bytes_max
    }

    /// The room that a permit holds: enough for most items, and little enough for several permits.
    fn claim(&self) -> u64 {
        (self.bytes_max / 8).min(BATCH_BYTES as u64)
    }

    /// Takes a number and stores the bytes, in one step; on failure neither.
    fn append(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
        cost_max: u64,
    ) -> Result<Position, Refusal> {
        if self.ended {
            return Err(Refusal::Ended);
        }
        self.filling.rollback();
        let encoded = encode(self.filling.buffer()).map_err(Refusal::Encode);
        let bytes = self.filling.uncommitted();
        let cost = item_cost(bytes);
        let checked = encoded.and_then(|()| {
            if bytes > self.item_bytes_max {
                Err(Refusal::TooLarge { bytes, bytes_max: self.item_bytes_max })
            } else if cost > cost_max {
                Err(Refusal::Full)
            } else {
                Ok(())
            }
        });
        if let Err(refusal) = checked {
            self.filling.rollback();
            return Err(refusal);
        }
        self.filling.commit();
        if self.filling.committed() >= BATCH_BYTES {
            let next = self.spare.take().unwrap_or_default();
            self.full.push(std::mem::replace(&mut self.filling, next));
        }
        let position = Position::new(self.next);
        self.next += 1;
        self.cost_accepted += cost;
        self.news = true;
        Ok(position)
    }

    /// Whether somebody waits for room although the log is not full, because permits hold the rest.
    fn waits_for_acks(&self) -> bool {
        self.claims > 0 && !self.waiting.is_empty()
    }

    /// Lets the driver look again at what is wanted.
    fn wake_driver(&mut self) {
        self.news = true;
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn wake_next(&mut self) {
        if (self.ended || self.has_room())
            && let Some(first) = self.waiting.first_entry()
        {
            first.get().wake_by_ref();
        }
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
            return Poll::Pending;
        }
        let accepted = state.append(encode, u64::MAX);
        self.leave(&mut state);
        Outbox::announce(state);
        Poll::Ready(accepted)
    }

    /// Claims room for an item once it is this ticket's turn and there is some.
    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let mut state = self.outbox.lock();
        if self.must_wait(&mut state, cx) {
            return Poll::Pending;
        }
        self.leave(&mut state);
        let claimed = if state.ended {
            Err(Refusal::Ended)
        } else {
            state.claims += state.claim();
            Ok(())
        };
        state.wake_next();
        Poll::Ready(claimed)
    }

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
        let waited = state.waits_for_acks();
        state.waiting.insert(number, cx.waker().clone());
        if state.waits_for_acks() && !waited {
            state.wake_driver();
        }
        true
    }

    fn leave(&mut self, state: &mut OutboxState) {
        if let Some(number) = self.number.take() {
            state.waiting.remove(&number);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.number.is_some() {
            let mut state = self.outbox.lock();
            let waited = state.waits_for_acks();
            self.leave(&mut state);
            if waited && !state.waits_for_acks() {
                state.wake_driver();
            }
            // The wake-up may have been meant for this ticket.
            state.wake_next();
        }
    }
}

/// Room claimed for one item. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    outbox: &'a Outbox,
    used: bool,
}

impl Claim<'_> {
    /// Accepts what `encode` writes as one item.
    pub(crate) fn append(
        mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        self.used = true;
        self.outbox.append_claimed(encode)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.outbox.unclaim();
        }
    }
}
