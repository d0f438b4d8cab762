//! The way of links from a listener to one session: a few may wait, and while none does it holds next
//! to nothing. There is one for each session, and nearly always it is empty; a general channel sets
//! memory for dozens of links aside.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How many links may wait; the session's driver takes them as they come.
const WAITING_MAX: usize = 4;

/// Both ends of an empty queue.
pub(super) fn link_queue<T>() -> (LinkQueue<T>, QueuedLinks<T>) {
    let shared =
        Arc::new(Mutex::new(State { waiting: VecDeque::new(), closed: false, taker: None }));
    (LinkQueue(Arc::clone(&shared)), QueuedLinks(shared))
}

/// The listener's end.
pub(super) struct LinkQueue<T>(Arc<Mutex<State<T>>>);

/// The session's end.
pub(super) struct QueuedLinks<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    waiting: VecDeque<T>,
    /// Whether one of the ends is gone.
    closed: bool,
    /// Who waits for a link.
    taker: Option<Waker>,
}

/// A link that was not taken, and why.
#[derive(Debug)]
pub(super) enum NotQueued<T> {
    /// As many wait as may.
    Full(T),
    /// The session is over.
    Closed(T),
}

impl<T> LinkQueue<T> {
    /// Puts a link down for the session.
    pub(super) fn put(&self, link: T) -> Result<(), NotQueued<T>> {
        let mut state = lock(&self.0);
        if state.closed {
            return Err(NotQueued::Closed(link));
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(NotQueued::Full(link));
        }
        state.waiting.push_back(link);
        wake(state);
        Ok(())
    }

    /// Whether the session is over.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }
}

impl<T> QueuedLinks<T> {
    /// Waits for the next link; `None` when the listener is gone and has left no more. Dropping the
    /// future takes nothing.
    pub(super) async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        if let Some(link) = state.waiting.pop_front() {
            if state.waiting.is_empty() {
                state.waiting = VecDeque::new();
            }
            return Poll::Ready(Some(link));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for LinkQueue<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        wake(state);
    }
}

impl<T> Drop for QueuedLinks<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // A link closes when it is dropped, which is foreign code and not for under the lock.
        drop(waiting);
    }
}

/// Wakers are foreign code, which must not run under the lock.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let taker = state.taker.take();
    drop(state);
    if let Some(taker) = taker {
        taker.wake();
    }
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Debug, Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Polls `links` once, and gives the task that it wakes when it was pending.
    fn next(links: &mut QueuedLinks<u8>) -> Result<Option<u8>, Arc<Task>> {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        match pin!(links.next()).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(link) => Ok(link),
            Poll::Pending => Err(task),
        }
    }

    #[test]
    fn links_come_in_order_and_no_more_than_a_few_wait() {
        let (queue, mut links) = link_queue();
        let waiting_max = u8::try_from(WAITING_MAX).unwrap();
        for number in 0..waiting_max {
            assert!(queue.put(number).is_ok());
        }
        assert!(matches!(queue.put(9), Err(NotQueued::Full(9))));
        for number in 0..waiting_max {
            assert_eq!(next(&mut links).unwrap(), Some(number));
        }
        assert_eq!(lock(&links.0).waiting.capacity(), 0, "nothing waits, nothing is held");
        assert!(next(&mut links).is_err());
    }

    #[test]
    fn a_link_and_the_end_wake_the_session() {
        let (queue, mut links) = link_queue();
        let task = next(&mut links).unwrap_err();
        assert!(queue.put(1).is_ok() && task.0.load(Ordering::SeqCst));
        assert_eq!(next(&mut links).unwrap(), Some(1));
        let task = next(&mut links).unwrap_err();
        assert!(queue.put(2).is_ok());
        drop(queue);
        assert!(task.0.load(Ordering::SeqCst));
        assert_eq!(next(&mut links).unwrap(), Some(2), "what was left comes before the end");
        assert_eq!(next(&mut links).unwrap(), None);
    }

    #[test]
    fn a_session_that_is_over_takes_nothing_and_keeps_nothing() {
        let (queue, links) = link_queue();
        let link = Arc::new(());
        assert!(queue.put(Arc::clone(&link)).is_ok() && !queue.is_closed());
        drop(links);
        assert_eq!(Arc::strong_count(&link), 1);
        assert!(queue.is_closed());
        assert!(matches!(queue.put(link), Err(NotQueued::Closed(_))));
    }
}
