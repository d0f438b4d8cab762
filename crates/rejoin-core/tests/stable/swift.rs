//! Senders of large messages keep pace with a link that is swift, and with nothing else.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rejoin_core::SendError;
use rejoin_core::protocol::Position;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};

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

/// Lets the drivers' alarms come while nobody sends.
async fn nothing_arrives(rx: &mut Rx, wait: Duration) {
    assert!(timeout(wait, rx.recv()).await.is_err());
}

/// Polls sends until one has to wait, without anybody else running; gives that, and how many did not.
fn send_until_pending(tx: &Tx) -> (impl Future<Output = Result<Position, SendError>>, usize) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = 0;
    loop {
        let mut sending = Box::pin(tx.send(&LARGE));
        match sending.as_mut().poll(&mut cx) {
            Poll::Ready(result) => drop(result.unwrap()),
            Poll::Pending => return (sending, sent),
        }
        sent += 1;
        assert!(sent < 10, "nothing waits");
    }
}

#[tokio::test(start_paused = true)]
async fn they_wait_for_the_link_that_has_just_taken_some() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    exchange(&tx, &mut rx).await;
    let (mut waiting, sent) = send_until_pending(&tx);
    let again = Pin::new(&mut waiting).poll(&mut Context::from_waker(Waker::noop()));
    assert!(again.is_pending(), "it waits for the driver, and not for one turn of others");
    let began = Instant::now();
    within(waiting).await.unwrap();
    receive_all(&mut rx, sent + 1).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "it waited for the driver, and for no timer");
}

/// Nobody sends, so there is nothing that the driver would have to come for or to say.
#[test]
fn a_conduit_that_is_idle_again_is_not_woken_for_them() {
    let parks = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&parks);
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).on_thread_park(move || {
        counting.fetch_add(1, Ordering::Relaxed);
    });
    builder.build().unwrap().block_on(async {
        let mut world = World::new();
        let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
        exchange(&tx, &mut rx).await;
        nothing_arrives(&mut rx, Duration::from_secs(1)).await;
        let before = parks.load(Ordering::Relaxed);
        nothing_arrives(&mut rx, Duration::from_secs(60)).await;
        let woken = parks.load(Ordering::Relaxed) - before;
        assert!(woken < 600, "{woken} times in a minute");
    });
}

/// What goes out then was not foreseen when the driver's alarm was set for something later.
#[tokio::test(start_paused = true)]
async fn they_go_on_soon_also_after_a_message_that_waits_for_its_acknowledgement() {
    let mut world = World::new();
    let ((tx, mut near_rx), (far_tx, mut rx)) = world.halves().await;
    exchange(&tx, &mut rx).await;
    nothing_arrives(&mut rx, Duration::from_millis(2_500)).await;
    far_tx.send(&&b"small"[..]).await.unwrap();
    within(near_rx.recv()).await.unwrap().unwrap();
    exchange(&tx, &mut rx).await;
    world.network.freeze_links();
    let began = Instant::now();
    for _ in 0..MANY - 1 {
        send_large(&tx).await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_millis(3), "{:?}", began.elapsed());
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
    let (waiting, _) = send_until_pending(&tx);
    drop(runtime);
    let told = pin!(waiting).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(told, Poll::Ready(Err(SendError::Lost(_)))), "{told:?}");
}
