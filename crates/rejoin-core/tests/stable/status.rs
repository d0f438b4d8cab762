//! What a conduit tells of itself.

use std::time::Duration;

use rejoin_core::{MemoryConfig, StableConfig, Status, SuspendCause};
use tokio::time::Instant;

use crate::common::{
    Conduit, Tx, World, expect_all, is_connected, is_suspended, recv, send, send_all, settle,
    until, within,
};
use crate::faults::Plan;

#[tokio::test(start_paused = true)]
async fn the_status_goes_through_the_life_of_a_conduit() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let mut status = near.status();
    assert!(matches!(&*status.borrow(), Status::Connected { generation: 1, .. }));
    settle().await;

    world.network.ignore_dials();
    world.network.cut_links();
    let Status::Suspended { cause, attempts, .. } = until(&mut status, is_suspended).await else {
        unreachable!()
    };
    assert!(matches!(cause, SuspendCause::LinkFailed(_)), "{cause}");
    assert_eq!(attempts, 0);
    world.network.refuse_dials();
    let mut seen = 0;
    while seen < 5 {
        // The cause becomes that of the last attempt, and the wait for the next one shows.
        let waiting = |status: &Status| matches!(status, Status::Suspended { attempts, retry_at: Some(_), .. } if *attempts > seen);
        let Status::Suspended { cause, attempts, retry_at } = until(&mut status, waiting).await
        else {
            unreachable!()
        };
        assert!(matches!(cause, SuspendCause::AttemptFailed(_)), "{cause}");
        assert!(retry_at.unwrap() >= Instant::now());
        seen = attempts;
    }
    world.network.answer_dials();
    until(&mut status, is_connected).await;
    assert!(matches!(&*status.borrow(), Status::Connected { generation: 2, .. }));
    let (tx, _rx) = near.split();
    within(tx.close()).await.unwrap();
    drop(far);
    let end = until(&mut status, Status::is_final).await;
    assert!(matches!(end, Status::Closed { .. }), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_outage_counts_its_attempts_from_the_beginning() {
    let mut world = World::new();
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves().await;
    let mut status = near_tx.status();
    for n in 0..3 {
        send(&near_tx, n).await.unwrap();
        expect_all(&mut far_rx, n..n + 1).await;
        within(near_tx.flush_acked()).await.unwrap();
        world.network.ignore_dials();
        world.network.cut_links();
        let suspended = until(&mut status, is_suspended).await;
        assert!(matches!(suspended, Status::Suspended { attempts: 0, .. }), "{suspended:?}");
        world.network.refuse_dials();
        crate::common::pass(Duration::from_secs(20)).await;
        world.network.answer_dials();
        until(&mut status, is_connected).await;
    }
}

/// On either side, whoever is sending, or nobody.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_the_cause() {
    let dead_after = StableConfig::default().peer_dead_after;
    for (near_sends, far_sends) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new();
        let ((near_tx, _near_rx), (far_tx, _far_rx)) = world.halves().await;
        settle().await;
        world.network.ignore_dials();
        world.network.freeze_links();
        let start = Instant::now();
        let trickle = async |tx: &Tx, sends: bool| {
            for n in 0.. {
                if sends {
                    within(send(tx, n)).await.unwrap();
                }
                crate::common::pass(Duration::from_secs(1)).await;
            }
        };
        for tx in [&near_tx, &far_tx] {
            let mut status = tx.status();
            let suspended = tokio::select! {
                status = until(&mut status, is_suspended) => status,
                () = trickle(&near_tx, near_sends) => unreachable!("sends for ever"),
                () = trickle(&far_tx, far_sends) => unreachable!("sends for ever"),
            };
            let Status::Suspended { cause, .. } = suspended else { unreachable!() };
            assert!(matches!(cause, SuspendCause::PeerSilent), "{cause}");
            assert!(start.elapsed() <= dead_after, "{:?}", start.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reconnect_now_cuts_the_wait_short() {
    let mut config = StableConfig::default();
    config.redial.backoff_min = Duration::from_secs(200);
    config.redial.backoff_max = Duration::from_secs(200);
    let mut world = World::with(MemoryConfig::default(), config.clone());
    let plan = Plan::new();
    let dial = Conduit::connect_with(plan.source(&world.connector), config);
    let (near, _far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let near = near.unwrap();
    let mut status = near.status();
    world.network.refuse_dials();
    world.network.cut_links();
    let waits = |status: &Status| matches!(status, Status::Suspended { retry_at: Some(_), .. });
    until(&mut status, waits).await;
    let start = Instant::now();
    // Still refused: the next wait begins.
    let dials = plan.dial_count();
    near.reconnect_now();
    tokio::task::yield_now().await;
    until(&mut status, waits).await;
    assert_eq!(plan.dial_count(), dials + 1);
    world.network.answer_dials();
    near.reconnect_now();
    until(&mut status, is_connected).await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    // Nothing happens to a link that is there.
    near.reconnect_now();
    settle().await;
    assert!(is_connected(&status.borrow()));
    assert_eq!(near.stats().resumes, 1);
}

#[tokio::test(start_paused = true)]
async fn the_figures_add_up() {
    let mut world = World::new();
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = world.halves().await;
    let mut status = near_tx.status();
    send_all(&near_tx, 0..30).await;
    expect_all(&mut far_rx, 0..30).await;
    within(near_tx.flush_acked()).await.unwrap();
    // Written, and on no account received.
    world.network.freeze_links();
    send_all(&near_tx, 30..50).await;
    settle().await;
    assert_eq!(near_tx.stats().send_log_bytes, 20 * 40);
    world.network.cut_links();
    until(&mut status, |status| matches!(status, Status::Connected { generation: 2, .. })).await;
    within(near_tx.flush_acked()).await.unwrap();
    assert_eq!(far_tx.stats().inbox_bytes, 20 * 40);
    expect_all(&mut far_rx, 30..50).await;
    send_all(&far_tx, 0..5).await;
    expect_all(&mut near_rx, 0..5).await;
    within(far_tx.flush_acked()).await.unwrap();
    settle().await;

    let (near, far) = (near_tx.stats(), far_tx.stats());
    assert_eq!((near.messages_accepted, near.messages_acknowledged), (50, 50));
    assert_eq!((far.messages_received, far.messages_duplicate), (50, 0));
    assert_eq!((near.messages_replayed, near.bytes_written), (20, 70 * 8));
    assert_eq!((far.bytes_received, far.inbox_bytes, near.send_log_bytes), (50 * 8, 0, 0));
    assert_eq!((near.resumes, near.generation, far.generation), (1, 2, 2));
    assert_eq!((far.messages_accepted, near.messages_received, far.messages_replayed), (5, 5, 0));
    within(near_tx.close()).await.unwrap();
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
}

/// On threads of their own, a driver may run at any time while an application receives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_received_is_in_the_figures() {
    let mut world = World::new();
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves().await;
    let sending = tokio::spawn(async move {
        for n in 0..100_000 {
            send(&near_tx, n).await.unwrap();
        }
        near_tx
    });
    for n in 0..100_000 {
        assert_eq!(recv(&mut far_rx).await.unwrap(), Some(n));
        let counted = far_rx.stats().messages_received;
        assert!(counted > n, "{counted} counted when {n} was given out");
    }
    within(sending.await.unwrap().close()).await.unwrap();
}
