//! `send_within`: an item that is written in time, or given back and never delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::protocol::Position;
use rejoin_core::{MemoryConfig, SendError, StableConfig};
use tokio::time::Instant;

use crate::common::{
    Rx, Tx, World, expect_all, fill, is_suspended, item, narrow, pass, poll_times, recv, room,
    send, send_all, settle, until, within,
};

const AGE: Duration = Duration::from_millis(2500);

async fn send_within(tx: &Tx, n: u64, age_max: Duration) -> Result<Position, SendError> {
    within(tx.send_within(&&item(n)[..], age_max)).await
}

/// Expires, and exactly when it should.
#[track_caller]
fn expires(tx: &Tx) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let result = send_within(tx, 999, AGE).await;
        assert!(matches!(result, Err(SendError::Expired)), "{result:?} at {caller}");
        // The timer wheel counts whole milliseconds.
        let late = start.elapsed().saturating_sub(AGE);
        assert!(start.elapsed() >= AGE && late <= Duration::from_millis(1), "{late:?} at {caller}");
    }
}

/// Nothing but `range` arrives.
async fn nothing_else(tx: &Tx, rx: &mut Rx, range: std::ops::Range<u64>) {
    expect_all(rx, range).await;
    within(tx.close()).await.unwrap();
    assert_eq!(within(recv(rx)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn it_expires_without_a_link() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    world.network.ignore_dials();
    world.network.cut_links();
    until(&mut tx.status(), is_suspended).await;
    expires(&tx).await;
    let (first, second) = tokio::join!(expires(&tx), expires(&tx));
    let ((), ()) = (first, second);
    world.network.answer_dials();
    assert_eq!(send_within(&tx, 0, Duration::from_secs(60)).await.unwrap().get(), 0);
    nothing_else(&tx, &mut rx, 0..1).await;
}

#[tokio::test(start_paused = true)]
async fn it_expires_when_the_window_is_closed() {
    let mut world = World::with(MemoryConfig::default(), room(10, 5));
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    send_all(&tx, 0..5).await;
    settle().await;
    expires(&tx).await;
    expect_all(&mut rx, 0..5).await;
    assert_eq!(send_within(&tx, 5, AGE).await.unwrap().get(), 5);
    nothing_else(&tx, &mut rx, 5..6).await;
}

#[tokio::test(start_paused = true)]
async fn it_expires_when_the_log_is_full() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(10, 10)).await;
    world.network.freeze_links();
    let accepted = fill(&tx);
    expires(&tx).await;
    // One that waits for room has its turn, and gives it up.
    let (waiting, ()) = tokio::join!(expires(&tx), expires(&tx));
    let () = waiting;
    world.network.cut_links();
    nothing_else(&tx, &mut rx, 0..accepted).await;
}

#[tokio::test(start_paused = true)]
async fn it_expires_behind_what_others_have_sent() {
    let mut world = World::with(narrow(4), StableConfig::default());
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    settle().await;
    world.network.freeze_links();
    send_all(&tx, 0..50).await;
    settle().await;
    expires(&tx).await;
    world.network.cut_links();
    nothing_else(&tx, &mut rx, 0..50).await;
}

#[tokio::test(start_paused = true)]
async fn ages_at_the_limits() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    let none = send_within(&tx, 9, Duration::ZERO).await;
    assert!(matches!(none, Err(SendError::Expired)), "{none:?}");
    assert_eq!(send_within(&tx, 0, Duration::MAX).await.unwrap().get(), 0);
    let large = vec![0; StableConfig::default().message_bytes_max + 1];
    let refused = within(tx.send_within(&&large[..], AGE)).await;
    assert!(matches!(refused, Err(SendError::TooLarge { .. })), "{refused:?}");
    nothing_else(&tx, &mut rx, 0..1).await;
}

/// The room of one that was dropped is there at once, and it is never sent.
#[tokio::test(start_paused = true)]
async fn it_is_withdrawn_when_dropped() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(10, 10)).await;
    world.network.ignore_dials();
    world.network.cut_links();
    until(&mut tx.status(), is_suspended).await;
    for times in 0..100 {
        let value = item(999);
        let value = &value[..];
        let sending = tx.send_within(&value, Duration::from_secs(3600));
        let given_up = poll_times(sending, times % 2, crate::common::Drop::Pending);
        assert!(within(given_up).await.is_none());
        if times % 10 == 0 {
            settle().await;
        }
    }
    assert_eq!(fill(&tx), 10);
    world.network.answer_dials();
    nothing_else(&tx, &mut rx, 0..10).await;
}

/// Nobody waits for the end of an age when the conduit has ended before.
#[tokio::test(start_paused = true)]
async fn a_close_gives_it_back() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    world.network.ignore_dials();
    world.network.cut_links();
    until(&mut tx.status(), is_suspended).await;
    let start = Instant::now();
    let (sent, ()) = tokio::join!(send_within(&tx, 999, Duration::from_secs(3600)), async {
        settle().await;
        let mut closing = std::pin::pin!(tx.close());
        let _ = poll_times(closing.as_mut(), 1, crate::common::Drop::Pending).await;
    });
    assert!(matches!(sent, Err(SendError::Closed)), "{sent:?}");
    assert!(start.elapsed() < Duration::from_secs(1));
    world.network.answer_dials();
    nothing_else(&tx, &mut rx, 0..0).await;
}

/// With and without an age, from several senders, over links that are cut: a position means that it
/// arrives there, and *expired* that it does not.
#[tokio::test(start_paused = true)]
async fn a_position_means_delivered_and_expired_means_not() {
    const SENDERS: u64 = 6;
    const EACH: u64 = 150;
    let mut world = World::with(narrow(6), room(20, 12));
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(20, 12)).await;
    let network = world.network.clone();
    let cutter = tokio::spawn(async move {
        for n in 0u64.. {
            pass_some(n * 37 % 90).await;
            network.freeze_links();
            pass_some(n * 53 % 40).await;
            network.cut_links();
        }
    });
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let tx = tx.clone();
            tokio::spawn(async move {
                let mut results = Vec::new();
                for n in 0..EACH {
                    let id = sender * EACH + n;
                    let result = match sender {
                        0 | 1 => within(send(&tx, id)).await,
                        _ => send_within(&tx, id, Duration::from_millis(n * 7 % 60)).await,
                    };
                    results.push((id, result));
                }
                results
            })
        })
        .collect();
    let receiving = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Some(id) = within(recv(&mut rx)).await.unwrap() {
            received.push(id);
            if id % 5 == 0 {
                pass_some(3).await;
            }
        }
        received
    });
    let (mut accepted, mut expired) = (BTreeMap::new(), 0);
    for sender in senders {
        for (id, result) in within(sender).await.unwrap() {
            match result {
                Ok(position) => assert_eq!(accepted.insert(position.get(), id), None),
                Err(SendError::Expired) => expired += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    cutter.abort();
    within(tx.close()).await.unwrap();
    let received = within(receiving).await.unwrap();
    assert_eq!(received, accepted.values().copied().collect::<Vec<_>>());
    assert!(accepted.keys().copied().eq(0..received.len() as u64), "no number is left out");
    assert!(expired > 50 && accepted.len() as u64 > 2 * EACH + 50, "{expired} expired");
}

async fn pass_some(millis: u64) {
    pass(Duration::from_millis(millis + 1)).await;
}

/// Room in the log within a time, or not.
#[tokio::test(start_paused = true)]
async fn a_wait_for_room_has_a_limit() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(5, 5)).await;
    world.network.freeze_links();
    let accepted = fill(&tx);
    let start = Instant::now();
    let result = within(tx.send_timeout(&&item(999)[..], AGE)).await;
    assert!(matches!(result, Err(SendError::Full)), "{result:?}");
    assert!(start.elapsed() >= AGE && start.elapsed() <= AGE + Duration::from_millis(1));
    world.network.cut_links();
    let value = item(accepted);
    let sent = within(tx.send_timeout(&&value[..], Duration::MAX)).await.unwrap();
    assert_eq!(sent.get(), accepted);
    nothing_else(&tx, &mut rx, 0..accepted + 1).await;
}
