//! Futures that share a task with others and are polled only when they have woken it themselves.
//! Knows nothing of what they do.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{AtomicBool, Mutex, Ordering};

/// A future that is polled only after it has woken its task.
///
/// Without that, each time anything wakes the task, all that it waits for would have to be asked.
pub(crate) struct OnCall<F> {
    future: F,
    line: Arc<Line>,
    /// Wakes `line`.
    waker: Waker,
    /// What `line` wakes, to be compared without its lock.
    task: Option<Waker>,
}

/// Between a future and its task.
struct Line {
    called: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> OnCall<F> {
    /// The future, which is polled the first time in any case.
    pub(crate) fn new(future: F) -> Self {
        let line = Arc::new(Line { called: AtomicBool::new(true), task: Mutex::default() });
        Self { future, waker: Waker::from(Arc::clone(&line)), line, task: None }
    }

    /// Polls the future the next time though it has not asked for that. Wakes nobody.
    pub(crate) fn call(&self) {
        self.line.called.store(true, Ordering::Relaxed);
    }

    /// Polls the future if [`is_called`](Self::is_called). Once it was ready, it is not to be polled
    /// again.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<F::Output> {
        if self.is_called(cx) { self.poll_called() } else { Poll::Pending }
    }

    /// Whether the future has woken its task since it was polled last. If not, it will wake the one
    /// that asks.
    #[inline]
    pub(crate) fn is_called(&mut self, cx: &Context<'_>) -> bool {
        // First, so that a call that is missed below finds the task to wake.
        if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            self.connect(cx.waker());
        }
        self.was_called()
    }

    /// Whether the future has woken its task since it was polled last.
    #[inline]
    pub(crate) fn was_called(&self) -> bool {
        self.line.called.load(Ordering::Relaxed)
    }

    fn poll_called(&mut self) -> Poll<F::Output> {
        self.line.called.swap(false, Ordering::Acquire);
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&self.waker))
    }

    #[cold]
    fn connect(&mut self, task: &Waker) {
        self.task = Some(task.clone());
        *self.line.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Release);
        // Wakers are foreign code, which must not run under the lock.
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn is_polled_at_first_and_then_when_it_asked_for_it() {
        let asked = Arc::new(Mutex::new((0, None)));
        let shared = Arc::clone(&asked);
        let mut future = OnCall::new(Box::pin(poll_fn(move |cx| {
            let mut asked = shared.lock().unwrap();
            *asked = (asked.0 + 1, Some(cx.waker().clone()));
            if asked.0 == 4 { Poll::Ready(()) } else { Poll::Pending }
        })));
        let polls = || asked.lock().unwrap().0;
        let call = || asked.lock().unwrap().1.take().unwrap().wake();
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut poll = move || future.poll(&Context::from_waker(&waker));

        assert!(poll().is_pending() && poll().is_pending());
        assert_eq!(polls(), 1);
        call();
        assert!(task.0.swap(false, Ordering::SeqCst), "the task is woken");
        assert!(poll().is_pending() && poll().is_pending());
        assert_eq!(polls(), 2);
        call();
        assert!(poll().is_pending());
        call();
        assert!(poll().is_ready());
    }

    #[test]
    fn wakes_the_task_that_polled_last() {
        let waker = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&waker);
        let mut future = OnCall::new(Box::pin(poll_fn(move |cx| {
            *shared.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
        for task in &tasks {
            let waker = Waker::from(Arc::clone(task));
            assert!(future.poll(&Context::from_waker(&waker)).is_pending());
        }
        waker.lock().unwrap().take().unwrap().wake();
        assert_eq!(tasks.map(|task| task.0.load(Ordering::SeqCst)), [false, true]);
    }

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
