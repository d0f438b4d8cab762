//! One direction of a memory link: a queue of payloads, bounded in bytes, with one sender and one
//! receiver. It knows nothing of links, and wakes nobody while it holds its lock.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// What a payload costs beyond its length, so that a flood of empty ones is bounded as well.
const PLACE_BYTES: usize = size_of::<Bytes>();

/// What a queued payload of `len` bytes counts as.
pub(super) const fn cost(len: usize) -> usize {
    len.saturating_add(PLACE_BYTES)
}

#[derive(Debug)]
pub(super) struct Channel {
    capacity_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    /// Invariant: the sum of the costs in `queue`; above the capacity only if one payload is.
    queued_bytes: usize,
    end: Option<End>,
    receiver_dropped: bool,
    /// Nothing arrives, neither payloads nor the news that an end is gone.
    frozen: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

/// How the sending of payloads ended. What is queued is received first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Closed,
    Dropped,
    /// The network cut the link, for both ends and together with what was queued.
    Cut,
}

impl Channel {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self { capacity_bytes, state: Mutex::default() }
    }

    /// Takes payloads from the front of `batch` while there is room, and is ready when it has all.
    pub(super) fn poll_push(
        &self,
        cx: &mut Context<'_>,
        batch: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.check_sendable()?;
        while let Some(payload) = batch.front() {
            let cost = cost(payload.len());
            let has_room = state.queued_bytes.saturating_add(cost) <= self.capacity_bytes;
            if !has_room && !state.queue.is_empty() {
                break;
            }
            state.queued_bytes += cost;
            state.queue.extend(batch.pop_front());
        }
        let done = batch.is_empty();
        if !done {
            remember(&mut state.sender, cx);
        }
        let receiver = if state.frozen { None } else { state.receiver.take() };
        drop(state);
        wake(receiver);
        if done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Takes the next payload; `None` after a close.
    pub(super) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut state = self.lock();
        if state.end == Some(End::Cut) {
            return Poll::Ready(Err(cut_error()));
        }
        if state.frozen {
            remember(&mut state.receiver, cx);
            return Poll::Pending;
        }
        if let Some(payload) = state.queue.pop_front() {
            state.queued_bytes -= cost(payload.len());
            let sender = state.sender.take();
            drop(state);
            wake(sender);
            return Poll::Ready(Ok(Some(payload)));
        }
        match state.end {
            None => {
                remember(&mut state.receiver, cx);
                Poll::Pending
            }
            Some(End::Closed) => Poll::Ready(Ok(None)),
            Some(End::Dropped | End::Cut) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the peer dropped the memory link",
            ))),
        }
    }

    /// No more payloads will come, by intention.
    pub(super) fn close(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.end == Some(End::Cut) {
            return Err(cut_error());
        }
        state.end = Some(End::Closed);
        let receiver = state.receiver.take();
        drop(state);
        wake(receiver);
        Ok(())
    }

    pub(super) fn drop_sender(&self) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Dropped);
        state.sender = None;
        let receiver = state.receiver.take();
        drop(state);
        wake(receiver);
    }

    pub(super) fn drop_receiver(&self) {
        let mut state = self.lock();
        state.receiver_dropped = true;
        state.receiver = None;
        // While frozen the queue stays as it is, or a full one would take more than before.
        let garbage = if state.frozen { VecDeque::new() } else { state.take_queue() };
        let sender = state.sender.take();
        drop(state);
        drop(garbage);
        wake(sender);
    }

    pub(super) fn cut(&self) {
        let mut state = self.lock();
        state.end = Some(End::Cut);
        let garbage = state.take_queue();
        let wakers = (state.sender.take(), state.receiver.take());
        drop(state);
        drop(garbage);
        wake(wakers.0);
        wake(wakers.1);
    }

    pub(super) fn freeze(&self) {
        self.lock().frozen = true;
    }

    pub(super) fn thaw(&self) {
        let mut state = self.lock();
        state.frozen = false;
        let garbage = if state.receiver_dropped { state.take_queue() } else { VecDeque::new() };
        let wakers = (state.sender.take(), state.receiver.take());
        drop(state);
        drop(garbage);
        wake(wakers.0);
        wake(wakers.1);
    }

    /// Every update leaves the state whole, so one that another thread's panic followed is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_sendable(&self) -> io::Result<()> {
        if self.end == Some(End::Cut) {
            return Err(cut_error());
        }
        if self.receiver_dropped && !self.frozen {
            return Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the peer no longer receives from the memory link",
            ));
        }
        Ok(())
    }

    fn take_queue(&mut self) -> VecDeque<Bytes> {
        self.queued_bytes = 0;
        std::mem::take(&mut self.queue)
    }
}

fn cut_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the memory link was cut")
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
