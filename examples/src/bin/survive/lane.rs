//! One direction of the traffic: what one side sends and the other receives, and how far both are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rejoin_tcp::{RecvError, SendError, StableRx, StableTx};
use tokio::sync::{Notify, watch};

use crate::checker::{Checker, Numbered, Tally};

/// How far one direction is.
#[derive(Debug)]
pub(crate) struct Lane {
    tx: StableTx<Numbered>,
    /// How many messages the sender has begun to send.
    pub(crate) begun: AtomicU64,
    /// How many the conduit has accepted.
    pub(crate) accepted: Counter,
    /// How many were received.
    pub(crate) received: Counter,
    /// The message last begun has to wait for room in the send log.
    waits_for_room: AtomicBool,
    /// How many messages may be sent for now.
    gate: watch::Sender<u64>,
    /// Tells the messages of one direction from those of the other.
    salt: u64,
    /// Kept here and not by the task that receives, so that they outlive a run that fails.
    books: Mutex<Books>,
}

/// What is known about the messages received.
#[derive(Debug)]
struct Books {
    checker: Checker,
    last: Option<Instant>,
    longest_pause: Duration,
}

impl Lane {
    /// A direction for `messages` messages of `size` bytes.
    pub(crate) fn new(tx: StableTx<Numbered>, salt: u64, messages: u64, size: u32) -> Self {
        let checker = Checker::new(messages, size, salt);
        Self {
            tx,
            begun: AtomicU64::new(0),
            accepted: Counter::default(),
            received: Counter::default(),
            waits_for_room: AtomicBool::new(false),
            gate: watch::Sender::new(0),
            salt,
            books: Mutex::new(Books { checker, last: None, longest_pause: Duration::ZERO }),
        }
    }

    /// Lets the sender go on up to `messages`, if it may not go further already.
    pub(crate) fn open_to(&self, messages: u64) {
        self.gate.send_if_modified(|open| {
            let further = messages > *open;
            *open = messages.max(*open);
            further
        });
    }

    /// Lets the sender go on by one more message.
    pub(crate) fn open_by_one(&self) {
        self.gate.send_modify(|open| *open += 1);
    }

    /// The conduit that sends.
    pub(crate) fn tx(&self) -> &StableTx<Numbered> {
        &self.tx
    }

    /// Sends all messages, as the gate allows, and waits until the peer has them.
    pub(crate) async fn send(&self, messages: u64, size: u32) -> Result<(), SendError> {
        let mut gate = self.gate.subscribe();
        let mut open = 0;
        let mut message = Numbered::blank(size);
        for number in 0..messages {
            if number >= open {
                // It cannot be closed: `self` holds the sender.
                open = gate.wait_for(|open| *open > number).await.map_or(messages, |open| *open);
            }
            message.fill(self.salt, number);
            self.begun.store(number + 1, Ordering::SeqCst);
            match self.tx.try_send(&message) {
                Err(SendError::Full) => {
                    self.waits_for_room.store(true, Ordering::SeqCst);
                    self.accepted.wake();
                    self.tx.send(&message).await?;
                    self.waits_for_room.store(false, Ordering::SeqCst);
                }
                sent => drop(sent?),
            }
            self.accepted.count();
        }
        self.tx.flush_acked().await.map_err(SendError::Lost)
    }

    /// Waits until the peer has acknowledged `messages` messages, or nothing more can be expected.
    pub(crate) async fn acknowledged(&self, messages: u64) {
        self.accepted.wait_for(messages, || false).await;
        // An error ends the run elsewhere.
        let _ = self.tx.flush_acked().await;
    }

    /// Whether a message is on its way that was sent after this direction was frozen, when `begun`
    /// messages were begun; or one cannot even set out, because the send log is full of others.
    pub(crate) fn is_in_flight(&self, begun: u64) -> bool {
        self.accepted.get() > begun
            || (self.waits_for_room.load(Ordering::SeqCst) && self.is_unacknowledged())
    }

    /// Whether something was sent that the peer has not acknowledged.
    pub(crate) fn is_unacknowledged(&self) -> bool {
        self.accepted.get() > self.tx.stats().messages_acknowledged
    }

    /// Receives and checks everything up to the peer's close.
    pub(crate) async fn receive(&self, mut rx: StableRx<Numbered>) -> Result<(), RecvError> {
        while let Some(message) = rx.recv().await? {
            self.books().check(&message);
            self.received.count();
        }
        Ok(())
    }

    /// How many messages were sent so far, what became of them, and the longest time between two.
    pub(crate) fn result(&self) -> (u64, Tally, Duration) {
        let books = self.books();
        // A message can come before its sender has counted it.
        let sent = self.accepted.get().max(books.checker.distinct());
        (sent, books.checker.tally(sent), books.longest_pause)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn check(&mut self, message: &Numbered) {
        self.checker.check(message);
        let now = Instant::now();
        let pause = self.last.map_or(Duration::ZERO, |last| now - last);
        self.longest_pause = self.longest_pause.max(pause);
        self.last = Some(now);
    }
}

/// A count that one task at a time can wait for.
#[derive(Debug)]
pub(crate) struct Counter {
    count: AtomicU64,
    /// From which count on to wake the task that waits; nobody does most of the time.
    awaited: AtomicU64,
    reached: Notify,
}

impl Default for Counter {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), awaited: AtomicU64::new(u64::MAX), reached: Notify::new() }
    }
}

impl Counter {
    pub(crate) fn get(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn count(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count >= self.awaited.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.reached.notify_one();
    }

    /// Waits until the count is at least `count`, or `or_else` holds when the task is woken.
    pub(crate) async fn wait_for(&self, count: u64, or_else: impl Fn() -> bool) {
        self.awaited.store(count, Ordering::SeqCst);
        while self.get() < count && !or_else() {
            self.reached.notified().await;
        }
        self.awaited.store(u64::MAX, Ordering::SeqCst);
    }
}
