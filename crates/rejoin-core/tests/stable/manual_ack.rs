//! Manual acknowledgement: what the application has not acknowledged is what the sender gets back.

use std::time::Duration;

use rejoin_core::protocol::{LossReason, Position, Profile};
use rejoin_core::{MemoryConfig, StableConfig, Status};
use tokio::time::Instant;

use crate::common::{World, expect_all, number, pass, recv, send, send_all, settle, until, within};

/// The listener's side acknowledges by hand.
fn manual() -> World {
    let mut config = StableConfig::default();
    config.manual_ack = true;
    World::with(MemoryConfig::default(), config)
}

/// ACK-8.
#[tokio::test(start_paused = true)]
async fn acknowledgements_are_the_applications_and_cumulative() {
    let mut world = manual();
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves().await;
    assert_eq!(far_rx.last_position(), None);
    far_rx.acknowledge(Position::new(7));
    // More than would be acknowledged at once otherwise.
    send_all(&near_tx, 0..200).await;
    expect_all(&mut far_rx, 0..150).await;
    pass(Duration::from_secs(60)).await;
    assert_eq!(far_rx.last_position(), Some(Position::new(149)));
    assert_eq!(near_tx.stats().messages_acknowledged, 0, "not of itself, whatever time passes");

    for (acknowledged, total) in
        [(3, 4), (1, 4), (3, 4), (9, 10), (u64::MAX, 150), (1000, 150), (0, 150)]
    {
        far_rx.acknowledge(Position::new(acknowledged));
        settle().await;
        assert_eq!(near_tx.stats().messages_acknowledged, total, "after {acknowledged}");
    }
    within(near_tx.acked(Position::new(149))).await.unwrap();
    expect_all(&mut far_rx, 150..200).await;
    far_rx.acknowledge(far_rx.last_position().unwrap());
    within(near_tx.flush_acked()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_resume_acknowledges_nothing_and_delivers_nothing_twice() {
    let mut world = manual();
    let ((near_tx, _near_rx), (far_tx, mut far_rx)) = world.halves().await;
    send_all(&near_tx, 0..10).await;
    expect_all(&mut far_rx, 0..8).await;
    far_rx.acknowledge(Position::new(2));
    for generation in 2..6 {
        settle().await;
        world.network.cut_links();
        let up = |status: &Status| matches!(status, Status::Connected { generation: g, .. } if *g == generation);
        until(&mut near_tx.status(), up).await;
        settle().await;
        assert_eq!(near_tx.stats().messages_acknowledged, 3);
    }
    assert_eq!(near_tx.stats().messages_replayed, 0, "the session has them");
    // Said while there is no link, heard on the next.
    world.network.ignore_dials();
    world.network.cut_links();
    far_rx.acknowledge(Position::new(5));
    settle().await;
    world.network.answer_dials();
    within(near_tx.acked(Position::new(5))).await.unwrap();
    expect_all(&mut far_rx, 8..10).await;
    assert_eq!(far_tx.stats().messages_duplicate, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_given_back() {
    let mut world = manual();
    let ((near_tx, _near_rx), (far_tx, mut far_rx)) = world.halves().await;
    send_all(&near_tx, 0..9).await;
    expect_all(&mut far_rx, 0..6).await;
    far_rx.acknowledge(Position::new(3));
    settle().await;
    // As a process that is killed.
    std::mem::forget((far_tx, far_rx));
    world.network.ignore_dials();
    world.network.cut_links();
    let lost = within(near_tx.flush_acked()).await.unwrap_err();
    assert_eq!((lost.acknowledged, lost.accepted), (4, 9));
    let items = near_tx.take_unacknowledged();
    let items: Vec<_> = items.iter().map(|(at, bytes)| (at.get(), number(bytes))).collect();
    assert_eq!(items, (4..9).map(|n| (n, n)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_the_application_to_acknowledge() {
    let mut world = manual();
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves().await;
    send_all(&near_tx, 0..3).await;
    let closing = tokio::spawn(async move { near_tx.close().await });
    expect_all(&mut far_rx, 0..3).await;
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
    settle().await;
    far_rx.acknowledge(Position::new(1));
    pass(Duration::from_secs(5)).await;
    assert!(!closing.is_finished());
    far_rx.acknowledge(Position::new(2));
    within(closing).await.unwrap().unwrap();
    assert!(matches!(*far_rx.status().borrow(), Status::Closed { .. }));
}

/// CLOSE-9. The side that acknowledges ends first, and is asked how it ended.
#[tokio::test(start_paused = true)]
async fn a_close_that_is_never_acknowledged_is_a_loss() {
    for patient in [false, true] {
        let mut world = manual();
        let mut config = StableConfig::default();
        if patient {
            config.linger = Duration::from_secs(100);
        }
        let ((near_tx, _near_rx), (far_tx, mut far_rx)) = world.halves_with(config).await;
        send_all(&near_tx, 0..3).await;
        let start = Instant::now();
        let sender = near_tx.clone();
        let closing = tokio::spawn(async move { sender.close().await });
        expect_all(&mut far_rx, 0..3).await;
        far_rx.acknowledge(Position::new(0));
        let lost = within(closing).await.unwrap().unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(11));
        assert_eq!((lost.acknowledged, lost.accepted), (1, 3));
        assert_eq!(near_tx.take_unacknowledged().len(), 2);
        until(&mut far_tx.status(), Status::is_final).await;
        let end = far_tx.status().borrow().clone();
        assert!(matches!(end, Status::Lost(LossReason::LingerExpired)), "{end:?}");
    }
}

/// BASE-8. A hello in the base profile acknowledges, so it tells what the application did.
#[tokio::test(start_paused = true)]
async fn a_base_profile_peer_hears_the_application_only() {
    let mut world = manual();
    let mut config = StableConfig::default();
    config.profile = Profile::Base;
    let ((near_tx, _near_rx), (far_tx, mut far_rx)) = world.halves_with(config).await;
    send_all(&near_tx, 0..5).await;
    expect_all(&mut far_rx, 0..5).await;
    far_rx.acknowledge(Position::new(1));
    within(near_tx.acked(Position::new(1))).await.unwrap();
    world.network.cut_links();
    settle().await;
    assert_eq!(near_tx.stats().messages_acknowledged, 2);
    // Data carries it, too.
    far_rx.acknowledge(Position::new(2));
    settle().await;
    send(&far_tx, 0).await.unwrap();
    settle().await;
    assert_eq!(near_tx.stats().messages_acknowledged, 3);
    send_all(&near_tx, 5..6).await;
    expect_all(&mut far_rx, 5..6).await;
    far_rx.acknowledge(Position::new(5));
    within(near_tx.close()).await.unwrap();
}
