//! The driver's timer: set for the next time-out, at as little cost as can be.
//!
//! Nearly every message puts some time-out off. A timer that fires too early now and then costs less
//! than one that is set anew each time, and one that is set needs no look at it until it fires.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// A timer that wakes whoever asked it last, at the time asked for or before.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Pin<Box<Sleep>>,
    /// Whom it wakes at its deadline; absent when it is not set.
    wakes: Option<Waker>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { timer: Box::pin(tokio::time::sleep(Duration::ZERO)), wakes: None }
    }

    /// When it goes off, where it is set.
    pub(super) fn set_for(&self) -> Instant {
        self.timer.deadline().into_std()
    }

    /// Whether it goes off at a time that is yet to come, but no later than `at`, and wakes this task
    /// then.
    pub(super) fn is_set(&self, cx: &Context<'_>, now: Instant, at: Instant) -> bool {
        let wakes = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        wakes && now < self.set_for() && self.set_for() <= at
    }

    /// Ready when it is `at` by now; otherwise the task is woken then, or before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, at: Instant) -> Poll<()> {
        if at <= now {
            return Poll::Ready(());
        }
        if self.is_set(cx, now, at) {
            return Poll::Pending;
        }
        if self.set_for() <= now || self.set_for() > at {
            self.timer.as_mut().reset(tokio::time::Instant::from_std(at));
        }
        let polled = self.timer.as_mut().poll(cx);
        self.wakes = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// How long it takes until somebody who asks each time it is woken, and not again, is woken.
    async fn woken_after(alarm: &mut Alarm, at: Instant) -> Duration {
        let began = now();
        let mut asked = false;
        poll_fn(|cx| {
            let polled = alarm.poll(cx, now(), at);
            if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { polled }
        })
        .await;
        now() - began
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn wakes_at_the_time_asked_for_or_before() {
        let mut alarm = Alarm::new();
        assert_eq!(woken_after(&mut alarm, now() + SECOND).await, SECOND);
        assert_eq!(
            woken_after(&mut alarm, now() + SECOND).await,
            SECOND,
            "set again after it fired"
        );
        assert_eq!(woken_after(&mut alarm, now()).await, Duration::ZERO);
        // Asked for later, for the same and for earlier, each time without being woken in between.
        let start = now();
        for (seconds, wakes_after) in [(4, 4), (7, 4), (4, 4), (2, 2), (3, 2)] {
            let ask = poll_fn(|cx| Poll::Ready(alarm.poll(cx, now(), start + seconds * SECOND)));
            assert!(ask.await.is_pending());
            assert_eq!(alarm.timer.deadline().into_std(), start + wakes_after * SECOND);
        }
        assert_eq!(woken_after(&mut alarm, start + 9 * SECOND).await, 2 * SECOND, "too early");
        assert_eq!(woken_after(&mut alarm, start + 9 * SECOND).await, 7 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn wakes_the_task_that_asked_last() {
        let mut alarm = Alarm::new();
        let at = now() + SECOND;
        assert!(alarm.poll(&mut Context::from_waker(Waker::noop()), now(), at).is_pending());
        assert_eq!(woken_after(&mut alarm, at).await, SECOND);
    }
}
