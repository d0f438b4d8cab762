//! What the outbox promises its senders and its driver, step by step and under threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

use super::*;
use crate::protocol::SendLog;

pub(super) const ITEM: usize = 68;
/// What an item of [`ITEM`] bytes costs.
pub(super) const COST: u64 = 100;

/// Counts its wake-ups.
#[derive(Default)]
pub(super) struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    pub(super) fn wake_by_hand(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

/// A future that is polled by hand, with a waker of its own.
pub(super) struct ByHand<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    count: Arc<Count>,
}

impl<'a, T> ByHand<'a, T> {
    pub(super) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self { future: Box::pin(future), count: Arc::default() }
    }

    pub(super) fn poll(&mut self) -> Poll<T> {
        self.count.forget();
        let waker = Waker::from(Arc::clone(&self.count));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(super) fn is_woken(&self) -> bool {
        self.count.is_woken()
    }
}

pub(super) fn bytes(count: usize) -> impl Fn(&mut BytesMut) -> Result<(), EncodeError> {
    move |out| {
        out.resize(out.len() + count, 7);
        Ok(())
    }
}

/// An outbox with a bound of ten items of [`ITEM`] bytes, with `count` of them accepted.
fn filled(count: usize) -> Outbox {
    let outbox = Outbox::new(10 * 100, 1 << 20);
    for _ in 0..count {
        outbox.try_append(bytes(ITEM)).unwrap();
    }
    outbox
}

fn waiter(outbox: &Outbox, len: usize) -> ByHand<'_, Result<Position, Refusal>> {
    ByHand::new(outbox.append(bytes(len)))
}

fn held(outbox: &Outbox) -> u64 {
    outbox.lock().cost_held()
}

#[test]
fn waiters_get_room_in_the_order_in_which_they_came() {
    let outbox = filled(10);
    let mut waiters: Vec<_> = (0..3).map(|_| waiter(&outbox, ITEM)).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_pending()));
    outbox.release(3 * COST);
    assert!(matches!(outbox.try_append(bytes(0)), Err(Refusal::Full)), "others came before");
    assert!(!waiters[1].is_woken());
    assert!(waiters[1].poll().is_pending(), "it is the first one's turn");
    for (index, waiter) in waiters.iter_mut().enumerate() {
        assert!(waiter.is_woken() || index == 1, "{index}");
        let Poll::Ready(Ok(position)) = waiter.poll() else { panic!("no room for {index}") };
        assert_eq!(position.get(), 10 + index as u64);
    }
}

#[test]
fn a_wake_up_of_a_waiter_that_is_dropped_goes_to_the_next() {
    let outbox = filled(10);
    let mut first = waiter(&outbox, ITEM);
    let mut second = waiter(&outbox, ITEM);
    let mut third = ByHand::new(outbox.claim(outbox.permit_cost()));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    assert!(third.poll().is_pending());
    outbox.release(COST);
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken() && !third.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert!(matches!(third.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_waiter_that_is_refused_lets_the_next_one_pass() {
    let outbox = filled(10);
    let mut first = waiter(&outbox, 2 << 20);
    let mut second = waiter(&outbox, ITEM);
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    outbox.release(COST);
    assert!(matches!(first.poll(), Poll::Ready(Err(Refusal::TooLarge { .. }))));
    assert!(second.is_woken());
    assert!(matches!(second.poll(), Poll::Ready(Ok(position)) if position.get() == 10));
}

#[test]
fn a_waiter_moves_to_another_task() {
    let outbox = filled(10);
    let mut moved = waiter(&outbox, ITEM);
    assert!(moved.poll().is_pending());
    let old = std::mem::take(&mut moved.count);
    assert!(moved.poll().is_pending());
    outbox.release(COST);
    assert!(moved.is_woken());
    assert_eq!(old.0.load(Ordering::SeqCst), 0);
}

#[test]
fn a_claim_that_is_not_used_is_given_back() {
    let outbox = filled(9);
    let claim = ByHand::new(outbox.claim(outbox.permit_cost())).poll();
    assert!(matches!(claim, Poll::Ready(Ok(_))));
    let mut next = waiter(&outbox, ITEM);
    assert!(next.poll().is_pending(), "the room is promised");
    drop(claim);
    assert!(next.is_woken());
    assert!(matches!(next.poll(), Poll::Ready(Ok(_))));
    assert_eq!(held(&outbox), 10 * COST);
}

#[test]
fn a_claim_that_is_used_for_less_gives_the_rest_back() {
    let outbox = filled(9);
    let Poll::Ready(Ok(claim)) = ByHand::new(outbox.claim(outbox.permit_cost())).poll() else {
        panic!()
    };
    let mut next = waiter(&outbox, ITEM);
    assert!(next.poll().is_pending());
    claim.append(bytes(0)).unwrap();
    assert!(next.is_woken());
    assert!(matches!(next.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_claim_is_kept_whatever_others_send() {
    let outbox = filled(9);
    let Poll::Ready(Ok(claim)) = ByHand::new(outbox.claim(outbox.permit_cost())).poll() else {
        panic!()
    };
    assert_eq!(held(&outbox), 9 * COST + 125);
    assert!(matches!(outbox.try_append(bytes(0)), Err(Refusal::Full)));
    claim.append(bytes(125 - 32)).unwrap();
    assert_eq!(held(&outbox), 9 * COST + 125);
}

#[test]
fn even_the_smallest_outbox_has_room_for_a_claimed_item() {
    let outbox = Outbox::new(1, 1 << 20);
    let Poll::Ready(Ok(claim)) = ByHand::new(outbox.claim(outbox.permit_cost())).poll() else {
        panic!()
    };
    assert!(
        ByHand::new(outbox.claim(outbox.permit_cost())).poll().is_pending(),
        "claims are counted"
    );
    claim.append(bytes(500)).unwrap();
    assert!(matches!(outbox.try_append(bytes(0)), Err(Refusal::Full)));
    outbox.release(532);
    outbox.try_append(bytes(0)).unwrap();
}

#[test]
fn an_item_larger_than_the_room_passes_when_there_is_any() {
    let outbox = filled(9);
    outbox.try_append(bytes(5000)).unwrap();
    assert_eq!(held(&outbox), 9 * COST + 5032);
    let mut next = waiter(&outbox, 0);
    assert!(next.poll().is_pending());
    outbox.release(9 * COST);
    assert!(!next.is_woken(), "the large one is over the bound alone");
    outbox.release(9 * COST + 5032);
    assert!(next.is_woken());
}

#[test]
fn an_item_larger_than_its_claim_passes_only_where_any_would() {
    let outbox = filled(8);
    let Poll::Ready(Ok(first)) = ByHand::new(outbox.claim(outbox.permit_cost())).poll() else {
        panic!()
    };
    let Poll::Ready(Ok(second)) = ByHand::new(outbox.claim(outbox.permit_cost())).poll() else {
        panic!()
    };
    first.append(bytes(5000)).expect("there is room beside the other claim");
    assert!(matches!(second.append(bytes(126 - 32)), Err(Refusal::Full)));
    assert_eq!(held(&outbox), 8 * COST + 5032);
}

#[test]
fn a_refusal_leaves_nothing_behind() {
    let outbox = Outbox::new(1000, 100);
    let refused = outbox.try_append(|out| {
        out.extend_from_slice(b"half");
        Err(EncodeError::new("no"))
    });
    assert!(matches!(refused, Err(Refusal::Encode(_))));
    let refused = outbox.try_append(bytes(101));
    assert!(matches!(refused, Err(Refusal::TooLarge { bytes: 101, bytes_max: 100 })));
    outbox.limit_items(50);
    assert!(matches!(outbox.try_append(bytes(51)), Err(Refusal::TooLarge { .. })));
    assert!(take(&outbox).is_none(), "there is nothing to tell the driver");
    assert_eq!((held(&outbox), outbox.accepted()), (0, 0));
    assert_eq!(outbox.try_append(bytes(3)).unwrap().get(), 0);
    assert_eq!(drain(&outbox, &mut SendLog::default()), [vec![7; 3]]);
}

#[test]
fn a_codec_that_panics_leaves_the_outbox_usable() {
    fn panics(out: &mut BytesMut) -> Result<(), EncodeError> {
        out.extend_from_slice(b"half");
        panic!("a fault in the codec")
    }
    let outbox = filled(9);
    let Poll::Ready(Ok(claim)) = ByHand::new(outbox.claim(outbox.permit_cost())).poll() else {
        panic!()
    };
    let mut next = waiter(&outbox, ITEM);
    assert!(next.poll().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| claim.append(panics))).is_err());
    assert!(next.is_woken(), "the claim is given back");
    assert!(matches!(next.poll(), Poll::Ready(Ok(_))));

    let mut first = ByHand::new(outbox.append(panics));
    let mut second = waiter(&outbox, ITEM);
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    outbox.release(COST);
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll())).is_err());
    drop(first);
    assert!(second.is_woken(), "the place in the queue is given up");
    assert!(matches!(second.poll(), Poll::Ready(Ok(_))));

    let outbox = filled(0);
    assert!(catch_unwind(AssertUnwindSafe(|| outbox.try_append(panics))).is_err());
    outbox.try_append(bytes(2)).unwrap();
    assert_eq!(drain(&outbox, &mut SendLog::default()), [vec![7; 2]]);
}

#[test]
fn after_the_end_nobody_waits_and_nothing_is_accepted() {
    let outbox = filled(10);
    let mut appending = waiter(&outbox, ITEM);
    let mut claiming = ByHand::new(outbox.claim(outbox.permit_cost()));
    assert!(appending.poll().is_pending());
    assert!(claiming.poll().is_pending());
    outbox.close(CloseReason::default());
    assert!(appending.is_woken() && claiming.is_woken());
    assert!(matches!(appending.poll(), Poll::Ready(Err(Refusal::Ended))));
    assert!(matches!(claiming.poll(), Poll::Ready(Err(Refusal::Ended))));
    assert!(matches!(outbox.try_append(bytes(0)), Err(Refusal::Ended)));
    assert!(take(&outbox).is_some_and(|requests| requests.close.is_some()));
    assert_eq!(drain(&outbox, &mut SendLog::default()).len(), 10);
}

#[test]
fn a_sender_gives_way_once_when_the_driver_does_not_come() {
    let outbox = Outbox::new(2 << 20, 1 << 20);
    let mut gave_way = Vec::new();
    for number in 0..120 {
        let mut appending = ByHand::new(outbox.append(bytes(10_000)));
        if appending.poll().is_pending() {
            gave_way.push(number);
            assert_eq!(outbox.accepted(), number, "nothing is accepted before");
            assert!(appending.is_woken());
            assert!(matches!(appending.poll(), Poll::Ready(Ok(_))));
        }
    }
    assert_eq!(gave_way, [53, 106], "after 512 KiB each");
}

/// Sends until a sender is made to wait; gives that, and how many were accepted before.
fn pausing(outbox: &Outbox) -> (ByHand<'_, Result<Position, Refusal>>, u64) {
    let before = outbox.accepted();
    loop {
        let accepted = outbox.accepted();
        let mut appending = waiter(outbox, 10_000);
        if appending.poll().is_pending() {
            assert_eq!(outbox.accepted(), accepted, "nothing is accepted before");
            return (appending, accepted - before);
        }
    }
}

/// An outbox with room for much, to which the driver has just come for a large item.
fn swift(log: &mut SendLog) -> Outbox {
    let outbox = Outbox::new(8 << 20, 1 << 20);
    outbox.try_append(bytes(10_000)).unwrap();
    assert!(outbox.take_items_swiftly(|batch| log.append(batch)));
    outbox
}

#[test]
fn senders_of_large_items_wait_for_a_driver_that_comes_soon() {
    let mut log = SendLog::default();
    let outbox = swift(&mut log);
    let (mut first, sent) = pausing(&outbox);
    let (mut second, as_many) = pausing(&outbox);
    assert_eq!((sent, as_many), (53, 53), "512 KiB each");
    assert!(!first.is_woken() && !second.is_woken());
    outbox.try_append(bytes(10_000)).unwrap();
    assert_eq!(drain(&outbox, &mut log).len(), 1 + 53 + 53 + 1);
    assert!(first.is_woken() && second.is_woken());
    assert!(matches!(first.poll(), Poll::Ready(Ok(_))));
    assert!(matches!(second.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_sender_goes_on_when_the_driver_does_not_come_soon() {
    let outbox = swift(&mut SendLog::default());
    let (mut appending, _) = pausing(&outbox);
    assert!(!appending.is_woken());
    outbox.end_swift();
    assert!(appending.is_woken() && matches!(appending.poll(), Poll::Ready(Ok(_))));
    let (appending, sent) = pausing(&outbox);
    assert!(appending.is_woken() && sent == 53 - 1, "it gives way, and no more");
}

#[test]
fn a_driver_that_finds_nothing_need_not_come_again() {
    let mut log = SendLog::default();
    let outbox = swift(&mut log);
    assert!(!outbox.take_items_swiftly(|batch| log.append(batch)));
    assert!(!pausing(&outbox).0.is_woken(), "but has not said that it does not");
}

/// It has sent as much as it may, and then the session ends before it has come to wait.
#[test]
fn a_sender_does_not_begin_to_wait_after_the_end() {
    let outbox = swift(&mut SendLog::default());
    for _ in 0..53 {
        outbox.try_append(bytes(10_000)).unwrap();
    }
    outbox.end();
    assert_eq!(outbox.end_run(512 * 1024), Some(false));
}

#[test]
fn a_sender_that_waits_for_the_driver_learns_of_the_end() {
    let outbox = swift(&mut SendLog::default());
    let (mut appending, _) = pausing(&outbox);
    outbox.end();
    assert!(appending.is_woken());
    assert!(matches!(appending.poll(), Poll::Ready(Err(Refusal::Ended))));
}

#[test]
fn a_sender_does_not_wait_for_a_driver_that_would_not_tell() {
    let outbox = Outbox::new(8 << 20, 1 << 20);
    outbox.try_append(bytes(10_000)).unwrap();
    outbox.take_items(|batch| SendLog::default().append(batch));
    assert!(pausing(&outbox).0.is_woken());
}

#[test]
fn a_sender_of_small_items_does_not_wait_for_the_driver() {
    let (outbox, mut log) = (Outbox::new(8 << 20, 1 << 20), SendLog::default());
    outbox.try_append(bytes(10_000)).unwrap();
    outbox.try_append(bytes(1_000)).unwrap();
    assert!(!outbox.take_items_swiftly(|batch| log.append(batch)));
    assert!(pausing(&outbox).0.is_woken());
}

#[test]
fn the_driver_is_woken_only_when_it_found_nothing() {
    let outbox = filled(1);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let woken = || count.0.swap(0, Ordering::SeqCst);
    assert!(outbox.take().is_some());
    outbox.reconnect();
    assert!(!outbox.sleep(&waker, Items::Noted), "there is something to do");
    outbox.reconnect();
    assert_eq!(woken(), 0, "the driver comes again by itself");
    assert!(outbox.take().is_some() && outbox.take().is_none());
    assert!(!outbox.sleep(&waker, Items::Wanted), "there is an item");
    assert!(outbox.sleep(&waker, Items::Later));
    outbox.try_append(bytes(ITEM)).unwrap();
    assert_eq!(woken(), 0, "the driver comes for it when it is done with others");
    assert!(outbox.sleep(&waker, Items::Noted));
    outbox.try_append(bytes(ITEM)).unwrap();
    outbox.try_append(bytes(ITEM)).unwrap();
    assert_eq!(woken(), 1, "once until the driver has come");

    outbox.add_handle();
    type Request = fn(&Outbox);
    let requests: [(&str, Request); 5] = [
        ("consume", |outbox| outbox.consume(1)),
        ("reconnect", Outbox::reconnect),
        ("acknowledgement", |outbox| outbox.count_ack_waiter(true)),
        ("last handle", Outbox::remove_handle),
        ("close", |outbox| assert_eq!(outbox.close(CloseReason::default()), 1)),
    ];
    for (name, request) in requests {
        outbox.take();
        assert!(outbox.sleep(&waker, Items::Noted));
        request(&outbox);
        assert_eq!(woken(), 1, "{name}");
    }
}

/// What a driver takes that has no link.
fn take(outbox: &Outbox) -> Option<Requests> {
    outbox.take()
}

/// Takes everything to the log and gives out what is new there.
fn drain(outbox: &Outbox, log: &mut SendLog) -> Vec<Vec<u8>> {
    outbox.take_items(|batch| log.append(batch));
    std::iter::from_fn(|| log.write_next()).map(|(_, item)| item.to_vec()).collect()
}

/// Many threads send in all ways there are, some of them giving up half-way, to one that drives.
#[test]
fn each_item_of_many_threads_comes_once_and_in_order() {
    const SENDERS: u32 = 8;
    const ITEMS: u32 = 1500;
    const BOUND: u64 = 2000;
    const LARGEST: u64 = item_cost(300);

    let outbox = Outbox::new(usize::try_from(BOUND).unwrap(), 1 << 20);
    let done = AtomicBool::new(false);
    let mut received = vec![0; SENDERS as usize];
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn({
                    let outbox = &outbox;
                    move || send_all(outbox, sender, ITEMS)
                })
            })
            .collect();
        let (outbox, done, received) = (&outbox, &done, &mut received);
        let driver = scope.spawn(move || drive(outbox, done, received, BOUND + LARGEST));
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        done.store(true, Ordering::SeqCst);
        outbox.consume(0);
        driver.join().unwrap();
    });
    assert_eq!(received, vec![ITEMS; SENDERS as usize]);
    assert_eq!(held(&outbox), 0);
    assert!(outbox.lock().waiting.is_empty());
}

fn send_all(outbox: &Outbox, sender: u32, items: u32) {
    for number in 0..items {
        let encode = |out: &mut BytesMut| {
            out.extend_from_slice(&sender.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            out.resize(out.len() + (number % 5 * 73) as usize, 0);
            Ok(())
        };
        match number % 4 {
            0 => {
                while outbox.try_append(encode).is_err() {
                    std::thread::yield_now();
                }
            }
            1 => {
                give_up(outbox);
                block_on(outbox.append(encode)).unwrap();
            }
            2 => {
                while block_on(outbox.claim(outbox.permit_cost())).unwrap().append(encode).is_err()
                {
                }
            }
            _ => drop(block_on(outbox.append(encode)).unwrap()),
        }
    }
}

/// Waits for room and drops the future after one poll, wherever that was.
fn give_up(outbox: &Outbox) {
    let mut claiming = pin!(outbox.claim(outbox.permit_cost()));
    let _ = claiming.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

fn drive(outbox: &Outbox, done: &AtomicBool, received: &mut [u32], cost_max: u64) {
    let mut log = SendLog::default();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        let news = outbox.take().is_some();
        if !news && outbox.sleep(&waker, Items::Wanted) {
            if done.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park();
            continue;
        }
        outbox.take_items(|batch| log.append(batch));
        assert!(log.cost() <= cost_max, "{} is over the bound", log.cost());
        while let Some((_, item)) = log.write_next() {
            let number = |at: usize| u32::from_le_bytes(item[at..at + 4].try_into().unwrap());
            let next = &mut received[number(0) as usize];
            assert_eq!(number(4), *next, "of sender {}", number(0));
            *next += 1;
        }
        log.acknowledge(log.written());
        outbox.release(log.cost_acked());
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
