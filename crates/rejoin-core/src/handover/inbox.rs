//! The way from the driver to the receiving handle.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker, ready};

use crate::handover::{Outbox, Pool, Runs, Taken};
use crate::protocol::{Position, item_cost};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// How many items lie together at most, unless they came together. Many items thus lie in many
/// pieces of the same size, which are used again, instead of a large one that has to grow.
const CHUNK_ITEMS: usize = 1024;

/// The way from the driver to the receiving handle.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    /// How much the application takes before the driver is told.
    report_after: AtomicU64,
}

#[derive(Debug, Default)]
struct InboxState {
    /// What was put down, in order; no chunk is empty.
    chunks: VecDeque<Runs>,
    spares: Pool<Runs>,
    ended: bool,
    complete: bool,
    reader: Option<Waker>,
}

impl Inbox {
    /// An inbox for a window of this many bytes.
    pub(crate) fn new(window: u64) -> Self {
        let inbox = Self { state: Mutex::default(), report_after: AtomicU64::new(0) };
        inbox.set_window(window);
        inbox
    }

    /// From now on the peer has a window of this many bytes.
    pub(crate) fn set_window(&self, window: u64) {
        // A quarter at a time is soon enough for a peer that waits for room.
        self.report_after.store((window / 4).max(1), Ordering::Relaxed);
    }

    /// Puts received items down, and leaves `items` empty.
    pub(crate) fn put(&self, items: &mut Runs) {
        if items.is_empty() {
            return;
        }
        let mut state = self.lock();
        match state.chunks.back_mut() {
            Some(last) if last.len() + items.len() <= CHUNK_ITEMS => last.append(items),
            _ => {
                let spare = state.spares.take();
                state.chunks.push_back(std::mem::replace(items, spare));
            }
        }
        Self::wake_reader(state);
    }

    /// Nothing comes after what was put down; `complete` when the peer said so itself.
    pub(crate) fn end(&self, complete: bool) {
        let mut state = self.lock();
        state.ended = true;
        state.complete |= complete;
        Self::wake_reader(state);
    }

    /// Whether the peer itself said that nothing more comes.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// Gives memory back that was not needed since the last time; gives whether there is more to
    /// give back if it is not needed until the next time, either.
    pub(crate) fn trim(&self) -> bool {
        let mut state = self.lock();
        let (unneeded, more) = state.spares.trim();
        if state.chunks.is_empty() {
            state.chunks = VecDeque::new();
        }
        drop(state);
        drop(unneeded);
        more
    }

    /// Takes items into `items`, which must be empty, and is kept to be filled again; `false` when
    /// nothing will ever come.
    fn poll_take(&self, cx: &mut Context<'_>, items: &mut Runs) -> Poll<bool> {
        let mut state = self.lock();
        if items.has_memory() {
            items.clear();
            state.spares.put(std::mem::take(items));
        }
        if let Some(chunk) = state.chunks.pop_front() {
            *items = chunk;
            return Poll::Ready(true);
        }
        if state.ended {
            return Poll::Ready(false);
        }
        match &mut state.reader {
            Some(present) => present.clone_from(cx.waker()),
            absent => *absent = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn wake_reader(mut state: MutexGuard<'_, InboxState>) {
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving handle's end of an inbox.
#[derive(Debug, Default)]
pub(crate) struct Taker {
    /// Taken from the inbox and not given out yet.
    items: Runs,
    next: Position,
    /// The cost of what was given out since the driver was told.
    consumed: u64,
}

impl Taker {
    /// The position of the next item.
    pub(crate) fn next_position(&self) -> Position {
        self.next
    }

    /// The position of the item that was given out last.
    pub(crate) fn last_position(&self) -> Option<Position> {
        self.next.previous()
    }

    /// Waits for the next item; `None` when nothing more comes. A poll that is pending has taken
    /// nothing.
    #[inline(always)]
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &Inbox,
        outbox: &Outbox,
    ) -> Poll<Option<Taken<'_>>> {
        if self.items.is_empty() && !ready!(inbox.poll_take(cx, &mut self.items)) {
            return Poll::Ready(None);
        }
        let Some(taken) = self.items.pop() else { return Poll::Ready(None) };
        self.next = self.next.next();
        self.consumed += item_cost(taken.as_slice().len());
        if self.consumed >= inbox.report_after.load(Ordering::Relaxed) {
            outbox.consume(std::mem::take(&mut self.consumed));
        }
        Poll::Ready(Some(taken))
    }
}
