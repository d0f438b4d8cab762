//! The contract of a link, and what a network does to one.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::{Link, LinkListener, LinkRx, LinkSource, LinkTx};

fn small(capacity_bytes: usize) -> MemoryConfig {
    MemoryConfig { capacity_bytes, payload_bytes_max: 1000, backlog_max: 1 }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn check_pending<F: Future>(future: F) {
    assert!(poll_once(future).is_pending());
}

async fn put(tx: &mut MemoryTx, payload: &'static [u8]) {
    tx.send(b"", Bytes::from_static(payload)).await.unwrap();
    tx.flush().await.unwrap();
}

#[tokio::test]
async fn payloads_arrive_whole_and_in_order_then_the_close() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let ((mut tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    let mut expected = Vec::new();
    let sender = async move {
        for size in [0, 1, 2, 1023, 1024, 1025, 70_000, 300_000].repeat(3) {
            let payload: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
            let (head, body) = payload.split_at(size.min(9));
            tx.send(head, Bytes::copy_from_slice(body)).await.unwrap();
            tx.send(b"", Bytes::new()).await.unwrap();
            expected.extend([payload, Vec::new()]);
        }
        tx.close().await.unwrap();
        expected
    };
    let receiver = async {
        let mut received = Vec::new();
        while let Some(payload) = rx.recv().await.unwrap() {
            received.push(payload.to_vec());
        }
        received
    };
    let (expected, received) = tokio::join!(sender, receiver);
    assert!(expected == received);
    assert_eq!(rx.recv().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_missed_between_threads() {
    let (near, far) = memory_link_pair(small(150));
    let ((mut tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    let sender = tokio::spawn(async move {
        for n in 0..20_000u32 {
            tx.send(&n.to_le_bytes(), Bytes::new()).await.unwrap();
            if n % 3 == 0 {
                tx.flush().await.unwrap();
            }
        }
        tx.close().await.unwrap();
    });
    let mut expected = 0..20_000u32;
    while let Some(payload) = rx.recv().await.unwrap() {
        assert_eq!(payload, &expected.next().unwrap().to_le_bytes()[..]);
    }
    assert!(expected.is_empty());
    sender.await.unwrap();
}

#[tokio::test]
async fn a_payload_is_not_handed_over_before_the_flush() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let ((mut tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    tx.send(b"a", Bytes::new()).await.unwrap();
    check_pending(rx.recv());
    tx.flush().await.unwrap();
    assert_eq!(rx.recv().await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn a_full_direction_makes_the_sender_wait() {
    let (near, far) = memory_link_pair(small(100));
    let ((mut tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    put(&mut tx, &[1; 18]).await;
    put(&mut tx, &[2; 18]).await;
    tx.send(b"", Bytes::from_static(&[3; 18])).await.unwrap();
    let mut flush = by_hand(tx.flush());
    assert!(flush.poll().is_pending());
    assert!(!flush.is_woken());
    assert_eq!(rx.recv().await.unwrap().unwrap(), &[1; 18][..]);
    assert!(flush.is_woken());
    assert!(flush.poll().is_ready());
}

#[tokio::test]
async fn empty_payloads_fill_a_direction_too() {
    let (near, _far) = memory_link_pair(small(320));
    let (mut tx, _near_rx) = near.split();
    for _ in 0..20 {
        tx.send(b"", Bytes::new()).await.unwrap();
    }
    check_pending(tx.send(b"", Bytes::new()));
}

#[tokio::test]
async fn a_payload_above_the_capacity_passes_when_the_direction_is_empty() {
    let (near, far) = memory_link_pair(small(10));
    let ((mut tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    put(&mut tx, &[7; 1000]).await;
    assert_eq!(rx.recv().await.unwrap().unwrap(), &[7; 1000][..]);
}

#[tokio::test]
async fn a_payload_above_the_limit_is_refused_and_the_link_goes_on() {
    let (near, far) = memory_link_pair(small(100));
    let ((mut tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    let error = tx.send(b"x", Bytes::from_static(&[0; 1000])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    put(&mut tx, b"next").await;
    assert_eq!(rx.recv().await.unwrap().unwrap(), "next");
}

#[tokio::test]
async fn a_dropped_half_is_an_error_after_what_was_flushed() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (mut tx, near_rx) = near.split();
    let (mut far_tx, mut rx) = far.split();
    put(&mut tx, b"flushed").await;
    tx.send(b"lost", Bytes::new()).await.unwrap();
    drop(tx);
    assert_eq!(rx.recv().await.unwrap().unwrap(), "flushed");
    for _ in 0..2 {
        assert_eq!(rx.recv().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    put(&mut far_tx, b"the other direction lives").await;
    drop(near_rx);
    far_tx.send(b"x", Bytes::new()).await.unwrap();
    assert_eq!(far_tx.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn the_death_of_the_peer_wakes_both_halves() {
    let (near, far) = memory_link_pair(small(40));
    let (mut tx, mut rx) = near.split();
    put(&mut tx, b"12345678").await;
    tx.send(b"x", Bytes::new()).await.unwrap();
    let (mut flush, mut recv) = (by_hand(tx.flush()), by_hand(rx.recv()));
    assert!(flush.poll().is_pending() && recv.poll().is_pending());
    drop(far);
    assert!(flush.is_woken() && recv.is_woken());
    assert!(
        matches!(flush.poll(), Poll::Ready(Err(error)) if error.kind() == ErrorKind::BrokenPipe)
    );
    assert!(matches!(recv.poll(), Poll::Ready(Err(_))));
}

#[tokio::test]
async fn a_cut_fails_both_ends_and_loses_what_is_in_flight() {
    let network = MemoryNetwork::new();
    let (near, far) = network.link_pair(MemoryConfig::default());
    let ((mut tx, mut near_rx), (far_tx, mut rx)) = (near.split(), far.split());
    put(&mut tx, b"in flight").await;
    network.freeze_links();
    network.cut_links();
    assert_eq!(rx.recv().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(near_rx.recv().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    tx.send(b"x", Bytes::new()).await.unwrap();
    assert_eq!(tx.flush().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(far_tx.close().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_frozen_link_swallows_up_to_its_capacity_until_it_thaws() {
    let network = MemoryNetwork::new();
    let (near, far) = network.link_pair(small(80));
    let ((mut tx, near_rx), (mut far_tx, mut rx)) = (near.split(), far.split());
    put(&mut tx, b"one").await;
    network.freeze_links();
    put(&mut tx, b"two").await;
    tx.send(b"three", Bytes::new()).await.unwrap();
    let mut recv = by_hand(rx.recv());
    assert!(recv.poll().is_pending());
    check_pending(tx.flush());
    drop(near_rx);
    put(&mut far_tx, b"swallowed").await;

    let (_near, fresh_far) = network.link_pair(small(80));
    drop(_near);
    assert!(fresh_far.split().1.recv().await.is_err(), "later links are not frozen");

    network.thaw_links();
    assert!(recv.is_woken());
    assert!(matches!(recv.poll(), Poll::Ready(Ok(Some(payload))) if payload == "one"));
    drop(recv);
    tx.flush().await.unwrap();
    tx.close().await.unwrap();
    assert_eq!(rx.recv().await.unwrap().unwrap(), "two");
    assert_eq!(rx.recv().await.unwrap().unwrap(), "three");
    assert_eq!(rx.recv().await.unwrap(), None);
    far_tx.send(b"x", Bytes::new()).await.unwrap();
    assert_eq!(far_tx.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn dials_reach_the_listener_and_wait_for_room() {
    let (mut listener, connector) = memory_listener(small(100));
    let near = connector.connect().await.unwrap();
    let mut source = connector.source();
    let mut second = by_hand(source.next_link());
    assert!(second.poll().is_pending(), "the backlog has one place");
    let far = listener.accept().await.unwrap().await.unwrap();
    assert_eq!(near.peer(), far.peer());
    assert!(near.peer().to_string().starts_with("memory:"));
    assert!(second.is_woken());
    assert!(matches!(second.poll(), Poll::Ready(Ok(_))));
}

#[tokio::test]
async fn a_listener_that_is_gone_refuses_until_there_is_a_new_one() {
    let (listener, connector) = memory_listener(small(100));
    let waiting = connector.connect().await.unwrap();
    assert_eq!(connector.listen_again().unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(listener);
    assert!(waiting.split().1.recv().await.is_err());
    assert_eq!(connector.connect().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let mut listener = connector.listen_again().unwrap();
    connector.connect().await.unwrap();
    listener.accept().await.unwrap().await.unwrap();
}

#[tokio::test]
async fn dials_can_be_refused_ignored_and_answered() {
    let (_listener, connector) = memory_listener(small(100));
    let network = connector.network();
    network.refuse_dials();
    assert_eq!(connector.connect().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    network.ignore_dials();
    let mut dial = by_hand(connector.connect());
    assert!(dial.poll().is_pending());
    network.answer_dials();
    assert!(dial.is_woken());
    assert!(matches!(dial.poll(), Poll::Ready(Ok(_))));
}

/// A future that is polled by hand and remembers whether it was woken since.
struct ByHand<F> {
    future: std::pin::Pin<Box<F>>,
    woken: std::sync::Arc<Flag>,
}

#[derive(Default)]
struct Flag(std::sync::atomic::AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

fn by_hand<F: Future>(future: F) -> ByHand<F> {
    ByHand { future: Box::pin(future), woken: std::sync::Arc::default() }
}

impl<F: Future> ByHand<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        self.woken.0.store(false, std::sync::atomic::Ordering::SeqCst);
        let waker = Waker::from(std::sync::Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
