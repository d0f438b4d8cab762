//! Limits of a conduit that are checked, and figures that say how far it is behind.

use std::time::Duration;

use rejoin_core::protocol::{CloseReason, LossReason};
use rejoin_core::{
    ConfigError, ConnectError, ListenerConfig, MemoryConfig, RecvError, StableConfig, Status,
};

use crate::common::{
    Conduit, World, expect_all, is_connected, is_suspended, number, pass, send, send_all, settle,
    until, within,
};
use crate::faults::Plan;

#[tokio::test(start_paused = true)]
async fn an_outage_may_have_so_many_attempts() {
    let mut config = StableConfig::default();
    config.redial.attempts_max = Some(3);
    let mut world = World::new();
    let plan = Plan::new();
    let dial = Conduit::connect_with(plan.source(&world.connector), config.clone());
    let (near, _far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let (tx, _rx) = near.unwrap().split();
    let mut status = tx.status();
    // Two failures, and a success that ends the outage. Twice.
    for generation in 2..4 {
        send(&tx, generation).await.unwrap();
        within(tx.flush_acked()).await.unwrap();
        plan.dials_to_fail.store(2, std::sync::atomic::Ordering::Relaxed);
        world.network.cut_links();
        until(&mut status, is_suspended).await;
        until(&mut status, is_connected).await;
    }
    let dials = plan.dial_count();
    send(&tx, 9).await.unwrap();
    world.network.refuse_dials();
    world.network.cut_links();
    let lost = within(tx.flush_acked()).await;
    let lost = lost.expect_err("accepted, and never acknowledged");
    assert_eq!(lost.reason, LossReason::OutageLimit);
    assert_eq!(plan.dial_count() - dials, 3);
    assert_eq!(tx.take_unacknowledged().len(), 1);

    // The same holds before the first link.
    let error = world.connect(config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { attempts: 3, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_close_could_not_deliver_is_taken_from_the_same_handle() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let (tx, _rx) = near.split();
    world.network.ignore_dials();
    world.network.cut_links();
    send_all(&tx, 0..3).await;
    let lost = within(tx.close_with(CloseReason::new(5, "enough"))).await.unwrap_err();
    assert_eq!(lost.reason, LossReason::LingerExpired);
    assert_eq!(tx.take_unacknowledged().len(), 3);
    within(tx.close()).await.unwrap_err();
    drop(far);
}

/// The task that has sent is gone, and the one that receives hears of the loss.
#[tokio::test(start_paused = true)]
async fn what_is_lost_is_taken_from_the_receiving_handle_when_no_other_is_left() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let (tx, mut rx) = near.split();
    world.network.ignore_dials();
    world.network.cut_links();
    send_all(&tx, 0..3).await;
    drop(tx);
    assert!(rx.take_unacknowledged().is_empty(), "they may still be delivered");
    let RecvError::Lost(lost) = within(rx.recv()).await.unwrap_err() else { unreachable!() };
    assert_eq!(lost.reason, LossReason::OutageLimit);
    let taken: Vec<_> = rx.take_unacknowledged().iter().map(|(_, bytes)| number(bytes)).collect();
    assert_eq!(taken, [0, 1, 2]);
    assert!(rx.take_unacknowledged().is_empty(), "once");
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn the_figures_say_how_far_the_peer_is_behind() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let ((tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    settle().await;
    let idle = tx.stats();
    assert_eq!((idle.send_log_messages, idle.oldest_unacknowledged, idle.ack_lag), (0, None, None));
    world.network.freeze_links();
    send_all(&tx, 0..5).await;
    pass(Duration::from_secs(3)).await;
    send_all(&tx, 5..7).await;
    pass(Duration::from_secs(2)).await;
    let behind = tx.stats();
    assert_eq!((behind.send_log_messages, behind.ack_lag), (7, None));
    let oldest = behind.oldest_unacknowledged.unwrap().as_secs_f64();
    assert!((4.9..5.1).contains(&oldest), "{oldest}");
    world.network.cut_links();
    expect_all(&mut rx, 0..7).await;
    within(tx.flush_acked()).await.unwrap();
    let after = tx.stats();
    assert_eq!((after.send_log_messages, after.oldest_unacknowledged), (0, None));
    let lag = after.ack_lag.unwrap().as_secs_f64();
    assert!((1.9..2.2).contains(&lag), "of the last message: {lag}");
    send(&tx, 7).await.unwrap();
    within(tx.flush_acked()).await.unwrap();
    assert!(tx.stats().ack_lag.unwrap() < Duration::from_millis(100));
    assert!(is_connected(&tx.status().borrow()) && !Status::is_final(&tx.status().borrow()));
}

#[test]
fn nonsense_is_refused_by_name() {
    #[track_caller]
    fn check(change: impl Fn(&mut ListenerConfig), expected: Option<&str>) {
        let mut config = ListenerConfig::default();
        change(&mut config);
        match (config.validate(), expected) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (result, _) => panic!("{result:?}"),
        }
    }
    let zero = Duration::ZERO;
    check(|_| (), None);
    check(|it| it.conduit.message_bytes_max = 0, Some("message_bytes_max"));
    check(|it| it.conduit.message_bytes_max = usize::MAX, Some("message_bytes_max"));
    check(|it| it.conduit.send_log_bytes_max = 0, Some("send_log_bytes_max"));
    check(|it| it.conduit.inbox_bytes_max = 0, Some("inbox_bytes_max"));
    check(|it| it.conduit.ack_messages_max = 0, Some("ack_messages_max"));
    check(|it| it.conduit.ack_delay = zero, Some("ack_delay"));
    check(|it| it.conduit.ping_interval = zero, Some("ping_interval"));
    check(|it| it.conduit.peer_dead_after = Duration::MAX, Some("peer_dead_after"));
    check(|it| it.conduit.peer_dead_after = Duration::from_secs(5), Some("ping_interval"));
    check(|it| it.conduit.handshake_deadline = zero, Some("handshake_deadline"));
    check(|it| it.conduit.outage_max = zero, Some("outage_max"));
    check(|it| it.conduit.linger = zero, None);
    check(|it| it.conduit.linger = Duration::MAX, Some("linger"));
    check(|it| it.conduit.redial.backoff_min = zero, Some("redial.backoff_min"));
    check(|it| it.conduit.redial.backoff_max = zero, Some("redial.backoff_max"));
    check(|it| it.conduit.redial.backoff_min = Duration::from_secs(11), Some("redial.backoff_min"));
    check(|it| it.conduit.redial.attempt_deadline = zero, Some("redial.attempt_deadline"));
    check(|it| it.conduit.redial.connect_limit = zero, None);
    check(|it| it.conduit.redial.attempts_max = Some(0), Some("redial.attempts_max"));
    check(|it| it.conduit.redial.attempts_max = Some(1), None);
    check(|it| it.sessions_max = 0, Some("sessions_max"));
    check(|it| it.backlog_max = 0, Some("backlog_max"));
    check(|it| it.pending_handshakes_max = usize::MAX, Some("pending_handshakes_max"));
    check(|it| it.buffered_bytes_max = (16 << 20) - 1, Some("buffered_bytes_max"));
    check(|it| it.buffered_bytes_max = 16 << 20, None);
}

/// Wherever settings are taken, they are checked.
#[tokio::test(start_paused = true)]
async fn a_configuration_is_checked_before_it_is_used() {
    let world = World::new();
    let mut config = StableConfig::default();
    config.ping_interval = config.peer_dead_after;
    let error = world.connect(config.clone()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(ConfigError::PingTooRare)), "{error:?}");
    assert!(!error.is_transient());
    let mut listening = ListenerConfig::default();
    listening.conduit = config;
    let (listener, _connector) = rejoin_core::memory_listener(MemoryConfig::default());
    let listener =
        rejoin_core::StableListener::<rejoin_core::Raw>::with_config(listener, listening);
    assert_eq!(listener.unwrap_err(), ConfigError::PingTooRare);
}

/// A batch is a bound of one step, and nobody wakes the driver for what is left in the link.
#[tokio::test(start_paused = true)]
async fn more_than_a_batch_is_read_without_anything_else_to_happen() {
    let memory = MemoryConfig { capacity_bytes: 2 << 20, ..MemoryConfig::default() };
    let mut world = World::with(memory, StableConfig::default());
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves().await;
    let message = vec![7; 32 << 10];
    // The window, the budget and the log grow with what is used; only then nothing else happens.
    for in_one_go in [1, 1, 2, 4, 8, 16, 32, 32, 32] {
        let began = tokio::time::Instant::now();
        for _ in 0..in_one_go {
            tx.try_send(&&message[..]).unwrap();
        }
        for _ in 0..in_one_go {
            let received = within(rx.recv()).await.unwrap().expect("open");
            assert_eq!(received.get().len(), message.len());
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "no timer was needed for {in_one_go}");
        settle().await;
    }
}
