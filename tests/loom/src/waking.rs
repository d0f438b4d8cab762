//! Futures that share the driver's task, and are called from other threads.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::future::{AtomicWaker, block_on};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::on_call::OnCall;

/// What a socket is to a reader: becomes ready at some time, and wakes who waits for that.
#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    waiting: AtomicWaker,
}

impl Gate {
    fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.waiting.wake();
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.waiting.register_by_ref(cx.waker());
        if self.is_open.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn through(gate: &Arc<Gate>) -> OnCall<impl Future<Output = ()> + Unpin + use<>> {
    let gate = Arc::clone(gate);
    OnCall::new(poll_fn(move |cx| gate.poll(cx)))
}

/// A future that is called while its task asks whether it was, or goes to sleep.
pub fn a_call_is_heard_whenever_it_comes() {
    crate::explore(|| {
        let gate = Arc::new(Gate::default());
        let mut future = through(&gate);
        let opener = thread::spawn(move || gate.open());
        block_on(poll_fn(|cx| future.poll(cx)));
        opener.join().unwrap();
    });
}

/// As when a driver's task was moved, or a link is taken over from the task that made it.
pub fn a_call_reaches_the_task_that_asked_last() {
    crate::explore(|| {
        let gate = Arc::new(Gate::default());
        let mut future = through(&gate);
        let opener = thread::spawn(move || gate.open());
        if future.poll(&Context::from_waker(Waker::noop())).is_pending() {
            block_on(poll_fn(|cx| future.poll(cx)));
        }
        opener.join().unwrap();
    });
}
