//! The bare conduit over memory links, under paused time: what it promises while its link lives.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "bare/cancellation.rs"]
mod cancellation;
#[path = "bare/ends.rs"]
mod ends;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use facet::Facet;
use rejoin_core::{
    BareConduit, BareConfig, BareRecvError, BareSendError, Codec, DecodeError, EncodeError, Link,
    LinkRx, LinkTx, MemoryConfig, MemoryLink, MsgFamily, Peer, Raw, SplitLink, memory_link_pair,
};
use tokio::task::yield_now;

#[derive(Facet, Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    id: u32,
    name: String,
    values: Vec<u16>,
}

pub(crate) fn reading(id: u32) -> Reading {
    Reading { id, name: format!("sensor/{id}"), values: vec![7; (id % 40) as usize] }
}

pub(crate) fn config(send_buffer: usize, inbox: usize) -> BareConfig {
    let mut config = BareConfig::default();
    config.send_buffer_bytes_max = send_buffer;
    config.inbox_bytes_max = inbox;
    config
}

/// Links that hold next to nothing.
pub(crate) fn tiny_links() -> (MemoryLink, MemoryLink) {
    memory_link_pair(MemoryConfig { capacity_bytes: 50, ..MemoryConfig::default() })
}

/// Two conduits of which each buffer holds two or three small messages.
pub(crate) fn tiny_pair<F: MsgFamily>() -> (BareConduit<F>, BareConduit<F>) {
    let (near, far) = tiny_links();
    let config = config(100, 100);
    (BareConduit::with_config(near, &config), BareConduit::with_config(far, &config))
}

/// Lets every task that can run do so until none can, as far as messages go.
pub(crate) async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
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

/// The receiving half of a link that always has more at hand.
#[derive(Default)]
pub(crate) struct Endless {
    given: Arc<AtomicU64>,
}

impl LinkRx for Endless {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        self.given.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Bytes::from_static(&[0; 68])))
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_read_than_there_is_room_for() {
    let rx = Endless::default();
    let given = Arc::clone(&rx.given);
    let (near, _far) = tiny_links();
    let link = SplitLink::new(near.split().0, rx, Peer::default());
    let (_tx, mut rx) = BareConduit::<Raw>::with_config(link, &config(100, 1000)).split();
    for received in 0..100 {
        settle().await;
        let waiting = given.load(Ordering::Relaxed) - received;
        // One more is taken from the link before the next batch begins.
        assert!((7..=12).contains(&waiting), "{waiting} wait");
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

/// Polls `future` at most `polls` times and then drops it; `None` if it was not ready by then.
pub(crate) async fn cancel_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
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

/// It waits for a driver only where one tells it when to go on, as that of a stable conduit does.
#[tokio::test(start_paused = true)]
async fn a_sender_of_large_messages_fills_the_room_there_is_when_its_link_stalls() {
    let (near, _far) =
        memory_link_pair(MemoryConfig { capacity_bytes: 20_000, ..MemoryConfig::default() });
    let conduit = BareConduit::<Raw>::with_config(near, &config(4 << 20, 1 << 20));
    let (tx, _rx) = conduit.split();
    let message = vec![7; 64 << 10];
    let sent = async {
        for _ in 0..60 {
            tx.send(&&message[..]).await.unwrap();
            settle().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(1), sent).await.unwrap();
}
