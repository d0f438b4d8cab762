//! The bare conduit over memory links, under paused time: what it promises while its link lives,
//! and what each side learns when it dies.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use facet::Facet;
use rejoin_core::{
    BareConduit, BareConfig, BareRecvError, BareSendError, Codec, DecodeError, EncodeError, Link,
    LinkRx, LinkTx, MemoryConfig, MemoryLink, MsgFamily, Raw, memory_link_pair,
};
use tokio::task::yield_now;

#[derive(Facet, Debug, Clone, PartialEq)]
struct Reading {
    id: u32,
    name: String,
    values: Vec<u16>,
}

fn reading(id: u32) -> Reading {
    Reading { id, name: format!("sensor/{id}"), values: vec![7; (id % 40) as usize] }
}

fn config(send_buffer: usize, inbox: usize) -> BareConfig {
    let mut config = BareConfig::default();
    config.send_buffer_bytes_max = send_buffer;
    config.inbox_bytes_max = inbox;
    config
}

/// Links that hold next to nothing.
fn tiny_links() -> (MemoryLink, MemoryLink) {
    memory_link_pair(MemoryConfig { capacity_bytes: 50, ..MemoryConfig::default() })
}

/// Two conduits of which each buffer holds two or three small messages.
fn tiny_pair<F: MsgFamily>() -> (BareConduit<F>, BareConduit<F>) {
    let (near, far) = tiny_links();
    let config = config(100, 100);
    (BareConduit::with_config(near, &config), BareConduit::with_config(far, &config))
}

/// Lets every task that can run do so until none can, as far as messages go.
async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

async fn exchange(near: BareConduit<Reading>, far: BareConduit<Reading>, count: u32) {
    let side = |conduit: BareConduit<Reading>| async move {
        let (tx, mut rx) = conduit.split();
        let sender = tokio::spawn(async move {
            for id in 0..count {
                assert_eq!(tx.send(&reading(id)).await.unwrap().get(), u64::from(id));
            }
            tx.close().await.unwrap();
        });
        for id in 0..count {
            assert_eq!(*rx.recv().await.unwrap().expect("no end yet"), reading(id));
        }
        assert!(rx.recv().await.unwrap().is_none());
        assert!(rx.recv().await.unwrap().is_none(), "the end stays the end");
        sender.await.unwrap();
    };
    tokio::join!(side(near), side(far));
}

#[tokio::test(start_paused = true)]
async fn messages_cross_both_ways_at_full_speed() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    exchange(BareConduit::new(near), BareConduit::new(far), 20_000).await;
    let (near, far) = tiny_pair();
    exchange(near, far, 1000).await;
    let (near, far) = tiny_links();
    let zero = config(0, 0);
    exchange(BareConduit::with_config(near, &zero), BareConduit::with_config(far, &zero), 100)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_is_one_payload_without_a_prefix() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::new(near).split();
    let (mut far_tx, mut far_rx) = far.split();
    for message in [&b"hello"[..], b"", &[0; 300]] {
        tx.send(&message).await.unwrap();
        assert_eq!(far_rx.recv().await.unwrap().unwrap(), message);
        far_tx.send(b"", Bytes::copy_from_slice(message)).await.unwrap();
        far_tx.flush().await.unwrap();
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), message);
    }

    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Reading>::new(near).split();
    let (mut far_tx, mut far_rx) = far.split();
    let message = Reading { id: 300, name: "a".into(), values: vec![1, 128] };
    let postcard = [0xac, 2, 1, b'a', 2, 1, 0x80, 1];
    tx.send(&message).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().unwrap()[..], postcard);
    far_tx.send(&postcard[..2], Bytes::copy_from_slice(&postcard[2..])).await.unwrap();
    far_tx.flush().await.unwrap();
    assert_eq!(*rx.recv().await.unwrap().unwrap(), message);
}

#[tokio::test(start_paused = true)]
async fn permits_hold_their_room() {
    let (near, _far) = tiny_links();
    let (tx, _rx) = BareConduit::<Raw>::with_config(near, &config(200, 100)).split();
    // One permit holds 64 bytes of the 200; four of them leave no room.
    let mut permits = Vec::new();
    for _ in 0..4 {
        permits.push(tx.reserve().await.unwrap());
    }
    assert!(matches!(tx.try_send(&&b""[..]), Err(BareSendError::Full)));
    assert!(cancel_after(3, tx.reserve()).await.is_none());
    for (position, permit) in permits.drain(..3).enumerate() {
        assert_eq!(permit.send(&&[1; 32][..]).unwrap().get(), position as u64);
    }
    assert!(matches!(tx.try_send(&&b""[..]), Err(BareSendError::Full)));
    drop(permits);
    assert_eq!(tx.try_send(&&b""[..]).unwrap().get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_sent_is_bounded() {
    let (near, far) = tiny_links();
    let (tx, _rx) = BareConduit::<Raw>::with_config(near, &config(1000, 100)).split();
    let (_far_tx, mut far_rx) = far.split();
    let message = [0; 68];
    let (mut sent, mut received) = (0u64, 0u64);
    for round in 0..500 {
        settle().await;
        while tx.try_send(&&message[..]).is_ok() {
            sent += 1;
        }
        // The bound and one message, one more in the link and one in its sending half.
        assert!(sent - received <= 10 + 1 + 2, "{} wait in round {round}", sent - received);
        far_rx.recv().await.unwrap().unwrap();
        received += 1;
    }
    assert!(sent >= 500);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_received_is_bounded() {
    let (near, far) = tiny_links();
    let (_tx, mut rx) = BareConduit::<Raw>::with_config(near, &config(100, 1000)).split();
    let (mut far_tx, _far_rx) = far.split();
    let (waiting, mut arrivals) = tokio::sync::watch::channel(0u64);
    tokio::spawn(async move {
        loop {
            far_tx.send(b"", Bytes::from_static(&[0; 68])).await.unwrap();
            far_tx.flush().await.unwrap();
            waiting.send_modify(|sent| *sent += 1);
        }
    });
    for received in 0..500 {
        settle().await;
        let sent = *arrivals.borrow_and_update();
        // The bound, what was given out and not reported, one in the link, one in its sender.
        assert!(sent - received <= 10 + 2 + 2, "{} wait", sent - received);
        assert!(sent - received >= 5, "only {} got through", sent - received);
        rx.recv().await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_a_limit_is_refused() {
    let links = MemoryConfig { payload_bytes_max: 10, ..MemoryConfig::default() };
    let (near, _far) = memory_link_pair(links);
    let mut config = BareConfig::default();
    config.message_bytes_max = 20;
    let (tx, _rx) = BareConduit::<Raw>::with_config(near, &config).split();
    let refused = tx.send(&&[0; 11][..]).await;
    assert!(matches!(refused, Err(BareSendError::TooLarge { bytes: 11, bytes_max: 10 })));
    assert_eq!(tx.send(&&[0; 10][..]).await.unwrap().get(), 0);

    let (near, _far) = memory_link_pair(MemoryConfig::default());
    let (tx, _rx) = BareConduit::<Raw>::with_config(near, &config).split();
    let refused = tx.reserve().await.unwrap().send(&&[0; 21][..]);
    assert!(matches!(refused, Err(BareSendError::TooLarge { bytes: 21, bytes_max: 20 })));
}

#[tokio::test(start_paused = true)]
async fn one_direction_goes_on_after_the_other_is_closed() {
    let (near, far) = tiny_pair::<String>();
    let (tx, mut rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    let clone = tx.clone();
    tx.send(&"last".into()).await.unwrap();
    tx.close().await.unwrap();
    clone.clone().close().await.expect("it is closed already");
    assert!(matches!(clone.send(&"late".into()).await, Err(BareSendError::Closed)));
    assert!(matches!(clone.try_send(&"late".into()), Err(BareSendError::Closed)));
    assert!(matches!(clone.reserve().await, Err(BareSendError::Closed)));
    assert_eq!(*far_rx.recv().await.unwrap().unwrap(), "last");
    assert!(far_rx.recv().await.unwrap().is_none());
    for n in 0..50 {
        far_tx.send(&format!("answer {n}")).await.unwrap();
        assert_eq!(*rx.recv().await.unwrap().unwrap(), format!("answer {n}"));
    }
    far_tx.close().await.unwrap();
    assert!(rx.recv().await.unwrap().is_none());
    settle().await;
    assert_eq!(tasks(), 0, "both drivers are done, handles or not");
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_peer_that_does_not_read() {
    let (near, far) = tiny_pair::<Raw>();
    let (tx, _rx) = near.split();
    let (_far_tx, mut far_rx) = far.split();
    let mut sent = 0;
    while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {
        sent += 1;
    }
    let mut close = pin!(tx.close());
    assert!(cancel_after(5, close.as_mut()).await.is_none());
    for _ in 0..sent {
        far_rx.recv().await.unwrap().unwrap();
    }
    assert!(far_rx.recv().await.unwrap().is_none());
    close.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_abrupt_death_shows_after_everything_received() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    let (mut far_tx, far_rx) = far.split();
    for n in 0..200u8 {
        far_tx.send(b"", Bytes::copy_from_slice(&[n])).await.unwrap();
    }
    far_tx.flush().await.unwrap();
    drop((far_tx, far_rx));
    // The inbox is full, so that sending is first to notice.
    settle().await;
    while tx.send(&&b"x"[..]).await.is_ok() {}
    for n in 0..200u8 {
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), [n]);
    }
    for _ in 0..2 {
        let error = rx.recv().await.unwrap_err();
        assert!(matches!(error, BareRecvError::Lost(_)));
        let cause = error.source().and_then(Error::source).expect("the link's own error");
        assert!(cause.is::<std::io::Error>() || cause.to_string().contains("peer"), "{cause}");
    }
    assert!(matches!(tx.send(&&b"x"[..]).await, Err(BareSendError::Lost(_))));
    assert!(matches!(tx.reserve().await, Err(BareSendError::Lost(_))));
    tx.close().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_while_this_side_sends_is_read_to_its_end() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    let (mut far_tx, far_rx) = far.split();
    for n in 0..200u8 {
        far_tx.send(b"", Bytes::copy_from_slice(&[n])).await.unwrap();
    }
    far_tx.close().await.unwrap();
    drop(far_rx);
    let lost = loop {
        if let Err(error) = tx.send(&&b"x"[..]).await {
            break error;
        }
    };
    assert!(matches!(lost, BareSendError::Lost(_)));
    // However late the application reads.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    for n in 0..200u8 {
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), [n]);
    }
    assert!(rx.recv().await.unwrap().is_none(), "that is how the peer ended it");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_dead_one_way_is_given_up_after_a_while() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::new(near).split();
    let (mut far_tx, far_rx) = far.split();
    drop(far_rx);
    while tx.send(&&b"x"[..]).await.is_ok() {}
    far_tx.send(b"", Bytes::from_static(b"late")).await.unwrap();
    far_tx.flush().await.unwrap();
    assert_eq!(*rx.recv().await.unwrap().unwrap().get(), b"late");
    assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))), "although nobody closed");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_has_succeeded_stays_so() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::new(near).split();
    let clone = tx.clone();
    tx.close().await.unwrap();
    drop(far);
    assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))));
    clone.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_handles_what_was_accepted_is_still_written() {
    let (near, far) = tiny_links();
    let near = BareConduit::<Reading>::with_config(near, &config(100_000, 100));
    let (tx, rx) = near.split();
    for id in 0..500 {
        tx.try_send(&reading(id)).unwrap();
    }
    drop((tx, rx));
    let (_tx, mut rx) = BareConduit::<Reading>::new(far).split();
    for id in 0..500 {
        assert_eq!(*rx.recv().await.unwrap().unwrap(), reading(id));
    }
    assert!(rx.recv().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn without_handles_no_driver_is_left_behind() {
    // Both have much to say, and neither listens.
    let (near, far) = tiny_pair::<Raw>();
    let (near_tx, near_rx) = near.split();
    let (far_tx, far_rx) = far.split();
    for tx in [&near_tx, &far_tx] {
        while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {}
    }
    settle().await;
    assert_eq!(tasks(), 2);
    drop((near_tx, near_rx, far_tx, far_rx));
    settle().await;
    assert_eq!(tasks(), 0);

    // The peer takes nothing.
    let (near, _far) = tiny_links();
    let (tx, rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {}
    drop((tx, rx));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(tasks(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_stops_sending_does_not_keep_a_driver_alive() {
    let (near, far) = tiny_links();
    let (tx, rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {}
    drop((tx, rx));
    let (mut far_tx, _far_rx) = far.split();
    let started = tokio::time::Instant::now();
    let flood = async {
        while far_tx.send(b"", Bytes::from_static(b"more")).await.is_ok()
            && far_tx.flush().await.is_ok()
        {
            // Time passes only while all tasks wait.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    flood.await;
    assert!(started.elapsed() < Duration::from_secs(11));
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_does_not_stop_the_next() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (mut tx, _far_rx) = far.split();
    let (_tx, mut rx) = BareConduit::<String>::new(near).split();
    for payload in [&b"\x01a"[..], b"\xff", b"", b"\x01b"] {
        tx.send(b"", Bytes::copy_from_slice(payload)).await.unwrap();
    }
    tx.close().await.unwrap();
    assert_eq!(*rx.recv().await.unwrap().unwrap(), "a");
    for (at, expected) in [(1, &b"\xff"[..]), (2, b"")] {
        let Err(BareRecvError::Decode { position, bytes, .. }) = rx.recv().await else {
            panic!("no message is encoded so")
        };
        assert_eq!((position.get(), &bytes[..]), (at, expected));
    }
    assert_eq!(*rx.recv().await.unwrap().unwrap(), "b");
    assert!(rx.recv().await.unwrap().is_none());
}

/// Numbers of which the odd ones have no encoding, and 100 makes the codec panic.
struct Even;

impl MsgFamily for Even {
    type Msg<'a> = u8;
    type Codec = Even;

    fn shorten<'short, 'long: 'short>(msg: &'short u8) -> &'short u8 {
        msg
    }
}

impl Codec<Even> for Even {
    fn encode(item: &u8, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.extend_from_slice(&[*item]);
        assert_ne!(*item, 100, "a fault in the codec");
        if item.is_multiple_of(2) { Ok(()) } else { Err(EncodeError::new("odd")) }
    }

    fn decode(bytes: &[u8]) -> Result<u8, DecodeError> {
        bytes.first().copied().ok_or_else(|| DecodeError::new("empty"))
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_encoded_takes_no_position() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, _rx) = BareConduit::<Even>::new(near).split();
    let (_far_tx, mut rx) = BareConduit::<Even>::new(far).split();
    assert_eq!(tx.send(&2).await.unwrap().get(), 0);
    assert!(matches!(tx.send(&3).await, Err(BareSendError::Encode(_))));
    assert!(matches!(tx.try_send(&5), Err(BareSendError::Encode(_))));
    let permit = tx.reserve().await.unwrap();
    assert!(matches!(permit.send(&7), Err(BareSendError::Encode(_))));
    let clone = tx.clone();
    let panicked = tokio::spawn(async move { clone.reserve().await.unwrap().send(&100).is_ok() });
    assert!(panicked.await.unwrap_err().is_panic());
    for n in 0..20 {
        assert_eq!(tx.send(&(2 * n)).await.unwrap().get(), 1 + u64::from(n));
    }
    tx.close().await.unwrap();
    let mut received = Vec::new();
    while let Some(number) = rx.recv().await.unwrap() {
        received.push(*number);
    }
    let expected: Vec<u8> = std::iter::once(2).chain((0..20).map(|n| 2 * n)).collect();
    assert_eq!(received, expected);
}

#[test]
fn a_runtime_that_stops_is_a_lost_link() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let own = runtime();
    let (far, (tx, mut rx)) = own.block_on(async {
        let (near, far) = memory_link_pair(MemoryConfig::default());
        let halves = BareConduit::<Raw>::new(near).split();
        let (mut far_tx, far_rx) = far.split();
        far_tx.send(b"", Bytes::from_static(b"received")).await.unwrap();
        far_tx.flush().await.unwrap();
        settle().await;
        ((far_tx, far_rx), halves)
    });
    let waiting = tx.clone();
    let other = runtime();
    let mut close = Box::pin(waiting.close());
    other.block_on(async { assert!(cancel_after(1, &mut close).await.is_none()) });
    drop(own);
    other.block_on(async {
        close.await.unwrap_err();
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), b"received");
        assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))));
        assert!(matches!(tx.send(&&b""[..]).await, Err(BareSendError::Lost(_))));
        assert!(matches!(tx.reserve().await, Err(BareSendError::Lost(_))));
    });
    drop(far);
}

/// Polls `future` at most `polls` times and then drops it; `None` if it was not ready by then.
async fn cancel_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    let result = poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                // Also without a wake-up, so that a future that is never woken comes to its end.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await;
    if result.is_none() {
        yield_now().await;
    }
    result
}

/// As [`cancel_after`], waiting for a wake-up between two polls.
async fn cancel_after_woken<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    let result = poll_fn(|cx| {
        let Some(rest) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = rest;
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if result.is_none() {
        yield_now().await;
    }
    result
}

/// Each future is dropped after 0, 1, 2, … polls, in turn, while both sides send over buffers that
/// hold two or three messages.
#[tokio::test(start_paused = true)]
async fn dropping_a_future_at_any_poll_loses_nothing() {
    const SENDERS: u32 = 3;
    const COUNT: u32 = 400;

    async fn send(tx: rejoin_core::BareTx<Raw>, sender: u32) -> usize {
        let mut dropped = 0;
        let mut polls = 0;
        for number in 0..COUNT {
            let message = [sender.to_le_bytes(), number.to_le_bytes()].concat();
            loop {
                polls = (polls + 1) % 7;
                let sent = if number % 2 == 0 {
                    cancel_after_woken(polls, tx.send(&&message[..])).await.map(drop_ok)
                } else {
                    let permit = cancel_after_woken(polls, tx.reserve()).await;
                    permit.map(|permit| drop_ok(permit.unwrap().send(&&message[..])))
                };
                if sent.is_some() {
                    break;
                }
                dropped += 1;
            }
        }
        dropped
    }

    fn drop_ok<T, E: std::fmt::Debug>(result: Result<T, E>) {
        result.unwrap();
    }

    async fn side(conduit: BareConduit<Raw>) {
        let (tx, mut rx) = conduit.split();
        let senders: Vec<_> =
            (0..SENDERS).map(|sender| tokio::spawn(send(tx.clone(), sender))).collect();
        let closer = tokio::spawn(async move {
            for sender in senders {
                assert!(sender.await.unwrap() > 100, "most had to be tried again");
            }
            tx.close().await.unwrap();
        });
        let mut next = [0; SENDERS as usize];
        let mut polls = 0;
        loop {
            polls = (polls + 1) % 5;
            let Some(received) = cancel_after_woken(polls, rx.recv()).await else { continue };
            let Some(message) = received.unwrap() else { break };
            let number = |at| u32::from_le_bytes(message.get()[at..at + 4].try_into().unwrap());
            let expected = &mut next[number(0) as usize];
            assert_eq!(number(4), *expected, "of sender {}", number(0));
            *expected += 1;
        }
        assert_eq!(next, [COUNT; SENDERS as usize]);
        closer.await.unwrap();
    }

    let (near, far) = tiny_pair::<Raw>();
    tokio::join!(side(near), side(far));
}

#[tokio::test(start_paused = true)]
async fn a_close_goes_on_after_its_future_is_dropped() {
    for polls in 0..8 {
        let (near, far) = tiny_pair::<Raw>();
        let (tx, _rx) = near.split();
        let (_far_tx, mut far_rx) = far.split();
        for n in 0..2 {
            tx.send(&&[n; 40][..]).await.unwrap();
        }
        let other = tx.clone();
        let closed = cancel_after(polls, tx.close()).await;
        if polls == 0 {
            other.send(&&[2; 40][..]).await.expect("a close that was never polled is none");
            drop(other);
            drop(_rx);
        } else {
            assert!(closed.is_some() || other.send(&&[2; 40][..]).await.is_err());
        }
        let mut received = Vec::new();
        while let Some(message) = far_rx.recv().await.unwrap() {
            received.push(message.get()[0]);
        }
        let expected: &[u8] = if polls == 0 { &[0, 1, 2] } else { &[0, 1] };
        assert_eq!(received, expected, "after {polls} polls");
    }
}
