//! Every future of a bare conduit, dropped at every poll.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use rejoin_core::{BareConduit, Raw};
use tokio::task::yield_now;

use crate::{cancel_after, tiny_pair};

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
