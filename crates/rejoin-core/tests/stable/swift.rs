//! Senders of large messages keep pace with a link that is swift, and with nothing else.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rejoin_core::SendError;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::common::{Rx, Tx, World, is_suspended, until, within};

static LARGE: &[u8] = &[7; 64 * 1024];

/// More than what a sender sends before it waits, and nearly as much as a log takes.
const MANY: usize = 60;

async fn send_large(tx: &Tx) -> Result<(), SendError> {
    within(tx.send(&LARGE)).await.map(drop)
}

/// One large message that the link takes at once.
async fn exchange(tx: &Tx, rx: &mut Rx) {
    send_large(tx).await.unwrap();
    receive_all(rx, 1).await;
}

async fn receive_all(rx: &mut Rx, count: usize) {
    for _ in 0..count {
        assert_eq!(within(rx.recv()).await.unwrap().unwrap().get().len(), LARGE.len());
    }
}

/// Polls `tx.send` until one has to wait, without anybody else running; gives how many did not.
fn send_until_pending(tx: &Tx) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    (0..MANY)
        .take_while(|_| match pin!(tx.send(&LARGE)).poll(&mut cx) {
            Poll::Ready(sent) => sent.is_ok(),
            Poll::Pending => false,
        })
        .count()
}

#[tokio::test(start_paused = true)]
async fn they_wait_for_the_link_that_has_just_taken_some() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    exchange(&tx, &mut rx).await;
    let sent = send_until_pending(&tx);
    assert!(sent < 10, "{sent} sent");
    let began = Instant::now();
    send_large(&tx).await.unwrap();
    receive_all(&mut rx, sent + 1).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "it waited for the driver, and for no timer");
}

#[tokio::test(start_paused = true)]
async fn they_fill_the_log_of_a_link_that_stalls() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    exchange(&tx, &mut rx).await;
    world.network.freeze_links();
    let began = Instant::now();
    for _ in 0..MANY {
        send_large(&tx).await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_millis(3), "{:?}", began.elapsed());
    world.network.cut_links();
    receive_all(&mut rx, MANY).await;
}

#[tokio::test(start_paused = true)]
async fn they_fill_the_log_where_the_link_is_gone() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    exchange(&tx, &mut rx).await;
    world.network.ignore_dials();
    world.network.cut_links();
    let began = Instant::now();
    for _ in 0..MANY {
        send_large(&tx).await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_millis(3), "{:?}", began.elapsed());
    until(&mut tx.status(), is_suspended).await;
    world.network.answer_dials();
    receive_all(&mut rx, MANY).await;
}

/// There is room, which is all that was asked for.
#[tokio::test(start_paused = true)]
async fn one_with_little_time_does_not_fail_for_that() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    exchange(&tx, &mut rx).await;
    world.network.freeze_links();
    for number in 0..MANY {
        let sent = tx.send_timeout(&LARGE, Duration::ZERO).await;
        assert!(sent.is_ok(), "{number}: {sent:?}");
    }
    for _ in 0..4 {
        // The log takes what it takes.
        let _ = tx.try_send(&LARGE);
    }
    let sent = tx.send_timeout(&LARGE, Duration::ZERO).await;
    assert!(matches!(sent, Err(SendError::Full)), "{sent:?}");
}

/// Nobody else can end the wait then: the driver and its timers belong to that runtime.
#[test]
fn they_are_told_when_the_runtime_of_the_driver_ends() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (tx, _near_rx, _far) = runtime.block_on(async {
        let ((tx, near_rx), (far_tx, mut far_rx)) = World::new().halves().await;
        exchange(&tx, &mut far_rx).await;
        (tx, near_rx, (far_tx, far_rx))
    });
    let mut cx = Context::from_waker(Waker::noop());
    assert!(send_until_pending(&tx) < 10);
    let mut waiting = pin!(tx.send(&LARGE));
    while let Poll::Ready(sent) = waiting.as_mut().poll(&mut cx) {
        sent.unwrap();
        waiting.set(tx.send(&LARGE));
    }
    drop(runtime);
    let told = waiting.poll(&mut cx);
    assert!(matches!(told, Poll::Ready(Err(SendError::Lost(_)))), "{told:?}");
}
