//! The design's table of questions, row by row, where the answer shows to an application that
//! dials. What shows on the accepting side is in `listener`, the base profile in `base`; rows that
//! are defects of the reference, too, are in `defects`.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rejoin_core::protocol::{CloseReason, LossReason, RejectReason};
use rejoin_core::{
    ConnectError, LinkListener, MemoryConfig, RecvError, SendError, StableConfig, StableListener,
    Status, SuspendCause, memory_listener,
};
use tokio::time::Instant;

use crate::common::{
    Conduit, World, expect_all, fill, is_connected, is_suspended, item, narrow, number, recv, room,
    send, send_all, settle, until, within,
};
use crate::faults::Plan;
use crate::peer::{EXTENDED, Peer};

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_never_waits_for_data() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let (near_tx, _near_rx) = near.split();
    let start = Instant::now();
    let position = send(&near_tx, 0).await.unwrap();
    within(near_tx.acked(position)).await.unwrap();
    assert!(start.elapsed() <= StableConfig::default().ack_delay + Duration::from_millis(2));
    assert_eq!(near_tx.stats().send_log_bytes, 0);
    assert_eq!(far.stats().messages_accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_the_sender_and_nothing_else() {
    let mut world = World::with(narrow(5), room(20, 10));
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = world.halves_with(room(20, 10)).await;
    let sender = near_tx.clone();
    let sending = tokio::spawn(async move { send_all(&sender, 0..200).await });
    crate::common::pass(Duration::from_secs(120)).await;
    assert!(!sending.is_finished());
    let stats = far_tx.stats();
    assert!(stats.inbox_bytes <= 11 * 40, "a window and an item: {stats:?}");
    assert_eq!(stats.resumes, 0, "pings pass a full inbox");
    // The other direction is free, and so are its acknowledgements.
    send_all(&far_tx, 0..10).await;
    within(far_tx.flush_acked()).await.unwrap();
    expect_all(&mut near_rx, 0..10).await;
    expect_all(&mut far_rx, 0..200).await;
    within(sending).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_full_inboxes_are_no_deadlock() {
    let mut world = World::with(narrow(2), room(5, 5));
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = world.halves_with(room(5, 5)).await;
    let sending = [near_tx, far_tx].map(|tx| {
        tokio::spawn(async move {
            send_all(&tx, 0..100).await;
            tx
        })
    });
    crate::common::pass(Duration::from_secs(60)).await;
    world.network.cut_links();
    crate::common::pass(Duration::from_secs(60)).await;
    expect_all(&mut near_rx, 0..100).await;
    expect_all(&mut far_rx, 0..100).await;
    for sending in sending {
        within(within(sending).await.unwrap().flush_acked()).await.unwrap();
    }
}

/// Larger than the link, the window and the log.
#[tokio::test(start_paused = true)]
async fn one_message_may_overshoot_every_bound() {
    let mut world = World::with(narrow(2), room(2, 2));
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves_with(room(2, 2)).await;
    let large = vec![7; 100_000];
    for _ in 0..3 {
        within(near_tx.send(&&large[..])).await.unwrap();
        assert_eq!(within(far_rx.recv()).await.unwrap().unwrap().get(), &&large[..]);
    }
    let error = near_tx.send(&&vec![0; 17 << 20][..]).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_first_hello_that_is_repeated_finds_its_session() {
    let mut world = World::new();
    let plan = Plan::new();
    plan.answers_to_lose.store(4, Ordering::Relaxed);
    let dial = Conduit::connect(plan.source(&world.connector));
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let (near_tx, _near_rx) = near.unwrap().split();
    let (_far_tx, mut far_rx) = far.unwrap().split();
    send(&near_tx, 3).await.unwrap();
    expect_all(&mut far_rx, 3..4).await;
    assert_eq!(world.listener.sessions(), 1);
    let more = tokio::time::timeout(Duration::from_secs(60), world.listener.accept()).await;
    assert!(more.is_err(), "only one");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_acceptor_does_not_know_the_key() {
    let mut world = World::new();
    let (near, _far) = world.open().await;
    let mut status = near.status();
    let (tx, mut rx) = near.split();
    send_all(&tx, 0..5).await;
    within(tx.flush_acked()).await.unwrap();
    world.network.refuse_dials();
    world.network.cut_links();
    until(&mut status, is_suspended).await;
    send_all(&tx, 5..8).await;
    drop(world.listener);
    settle().await;
    let again = world.connector.listen_again().unwrap();
    let _listener = StableListener::<rejoin_core::Raw>::new(again);
    world.network.answer_dials();

    let reason = LossReason::Rejected(RejectReason::UnknownKey);
    let expected = within(tx.flush_acked()).await.unwrap_err();
    assert_eq!((&expected.reason, expected.acknowledged, expected.accepted), (&reason, 5, 8));
    let error = within(recv(&mut rx)).await.unwrap_err();
    assert!(matches!(error, RecvError::Lost(lost) if lost == expected));
    let error = send(&tx, 8).await.unwrap_err();
    assert!(matches!(error, SendError::Lost(lost) if lost == expected));
    assert!(matches!(&*status.borrow(), Status::Lost(it) if *it == reason));
    let back = tx.take_unacknowledged();
    let back: Vec<_> = back.iter().map(|(at, bytes)| (at.get(), number(bytes))).collect();
    assert_eq!(back, [(5, 5), (6, 6), (7, 7)]);
    assert!(tx.take_unacknowledged().is_empty(), "given back once");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_link_is_given_up_and_nothing_is_lost() {
    for sends in [(true, false), (false, true), (true, true), (false, false)] {
        let mut world = World::new();
        let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = world.halves().await;
        settle().await;
        let start = Instant::now();
        world.network.freeze_links();
        if sends.0 {
            send_all(&near_tx, 0..3).await;
        }
        if sends.1 {
            send_all(&far_tx, 0..3).await;
        }
        until(&mut near_tx.status(), |status| {
            matches!(status, Status::Connected { generation: 2.., .. })
        })
        .await;
        if sends.0 {
            expect_all(&mut far_rx, 0..3).await;
        }
        if sends.1 {
            expect_all(&mut near_rx, 0..3).await;
        }
        assert!(start.elapsed() < Duration::from_secs(21), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_gives_its_reason_and_lets_the_other_side_finish() {
    let mut world = World::with(narrow(2), room(5, 50));
    let (near, far) = world.open_with(room(5, 50)).await;
    let (near_status, far_status) = (near.status(), far.status());
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = (near.split(), far.split());
    send_all(&near_tx, 0..5).await;
    send_all(&far_tx, 0..5).await;
    within(near_tx.close_with(CloseReason::new(42, "done for today"))).await.unwrap();
    expect_all(&mut far_rx, 0..5).await;
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
    expect_all(&mut near_rx, 0..5).await;
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    within(far_tx.flush_acked()).await.unwrap();
    settle().await;
    assert!(matches!(&*near_status.borrow(), Status::Closed { by_peer: None }));
    let Status::Closed { by_peer: Some(reason) } = &*far_status.borrow() else { panic!() };
    assert_eq!((reason.code(), reason.text()), (42, "done for today"));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_reaches_nobody_says_what_is_missing() {
    let mut world = World::new();
    let (near, _far) = world.open().await;
    let (tx, mut rx) = near.split();
    world.network.refuse_dials();
    world.network.cut_links();
    send_all(&tx, 0..2).await;
    let clone = tx.clone();
    let start = Instant::now();
    let lost = within(tx.close()).await.unwrap_err();
    assert_eq!((lost.acknowledged, lost.accepted), (0, 2));
    assert_eq!(lost.reason, LossReason::LingerExpired);
    assert_eq!(start.elapsed(), StableConfig::default().linger);
    assert_eq!(clone.take_unacknowledged().len(), 2);
    assert!(matches!(within(recv(&mut rx)).await.unwrap_err(), RecvError::Lost(_)));
}

/// `Ok(None)` says that the peer has closed, and so that everything it sent was received.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_linger_is_not_a_close_by_the_peer() {
    let mut world = World::new();
    let ((near_tx, mut near_rx), (far_tx, _far_rx)) = world.halves().await;
    settle().await;
    world.network.refuse_dials();
    world.network.cut_links();
    send(&far_tx, 0).await.unwrap();
    // This side has nothing to send, the peer has, and is not there.
    let _ = within(near_tx.close()).await;
    let error = within(recv(&mut near_rx)).await.expect_err("the peer did not close");
    let RecvError::Lost(lost) = error else { panic!("{error}") };
    assert_eq!(lost.reason, LossReason::LingerExpired);
}

/// The end of what the peer sends is told when it has come, whatever becomes of the rest.
#[tokio::test(start_paused = true)]
async fn a_close_by_the_peer_is_read_before_and_after_the_other_direction_fails() {
    let (mut near_config, mut far_config) = (room(50, 50), room(50, 3));
    near_config.linger = Duration::from_secs(5);
    far_config.linger = Duration::from_secs(500);
    let mut world = World::with(narrow(2), far_config);
    let (near, far) = world.open_with(near_config).await;
    let mut status = near.status();
    // The peer never reads.
    let ((near_tx, mut near_rx), (far_tx, _far_rx)) = (near.split(), far.split());
    send_all(&near_tx, 0..20).await;
    send_all(&far_tx, 0..2).await;
    expect_all(&mut near_rx, 0..2).await;
    settle().await;
    let start = Instant::now();
    let (received, closed) =
        within(async { tokio::join!(recv(&mut near_rx), far_tx.close()) }).await;
    assert_eq!((received.unwrap(), closed), (None, Ok(())));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(is_connected(&status.borrow()), "{:?}", *status.borrow());
    assert!(near_tx.stats().send_log_messages > 10, "{:?}", near_tx.stats());
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);

    let end = until(&mut status, Status::is_final).await;
    assert!(matches!(end, Status::Lost(LossReason::LingerExpired)), "{end:?}");
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    assert!(near_tx.take_unacknowledged().len() > 10);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_link_is_not_a_close() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let dial = tokio::spawn(Conduit::connect(connector.source()));
    let mut peer = Peer::accept(&mut listener).await;
    assert!(!peer.recv_client_hello().await.resumes());
    peer.send_server_hello(EXTENDED, [1; 16], None).await;
    peer.send_settings(1 << 20).await;
    let near = within(dial).await.unwrap().unwrap();
    let mut status = near.status();
    let (_tx, mut rx) = near.split();
    peer.send_item(0, None, &item(0)).await;
    peer.close().await;
    expect_all(&mut rx, 0..1).await;
    let Status::Suspended { cause, .. } = until(&mut status, is_suspended).await else {
        unreachable!()
    };
    assert!(matches!(cause, SuspendCause::LinkClosed), "{cause}");
    let mut peer = Peer::accept(&mut listener).await;
    let hello = peer.recv_client_hello().await;
    assert_eq!((hello.key, hello.last()), ([1; 16], Some(0)));
    peer.send_server_hello(EXTENDED, [2; 16], None).await;
    peer.send_settings(1 << 20).await;
    peer.send_item(1, None, &item(1)).await;
    expect_all(&mut rx, 1..2).await;
}

#[tokio::test(start_paused = true)]
async fn redialling_backs_off_with_jitter_and_begins_at_once() {
    let mut config = StableConfig::default();
    config.outage_max = Duration::from_secs(3600);
    let mut world = World::with(MemoryConfig::default(), config.clone());
    let plan = Plan::new();
    let dial = Conduit::connect_with(plan.source(&world.connector), config.clone());
    let (near, _far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let near = near.unwrap();
    let mut status = near.status();
    crate::common::pass(Duration::from_secs(60)).await;
    plan.dials.lock().unwrap().clear();
    plan.dials_to_fail.store(60, Ordering::Relaxed);
    let start = Instant::now();
    world.network.cut_links();
    until(&mut status, is_suspended).await;
    until(&mut status, |status| is_connected(status) || status.is_final()).await;
    let dials = plan.dials.lock().unwrap().clone();
    assert_eq!(dials[0], start, "the first at once");
    let (mut limit, mut longest) = (config.redial.backoff_min, Duration::ZERO);
    for pair in dials.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap <= limit + Duration::from_millis(2), "{gap:?} > {limit:?}");
        limit = (2 * limit).min(config.redial.backoff_max);
        longest = longest.max(gap);
    }
    assert!(longest > config.redial.backoff_max / 2, "it really backs off: {longest:?}");
}

/// A link that comes up, proves itself and dies, again and again, is one outage.
#[tokio::test(start_paused = true)]
async fn links_that_bring_nothing_are_not_redialled_without_delay() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let plan = Plan::new();
    let dial = tokio::spawn(Conduit::connect(plan.source(&connector)));
    let serving = tokio::spawn(async move {
        for _ in 0..200 {
            let mut peer = Peer::on(listener.accept().await.unwrap().await.unwrap());
            peer.recv_client_hello().await;
            peer.send_server_hello(EXTENDED, [1; 16], None).await;
            peer.send_settings(1 << 20).await;
        }
    });
    let _near = within(dial).await.unwrap().unwrap();
    crate::common::pass(Duration::from_secs(60)).await;
    serving.abort();
    assert!((5..60).contains(&plan.dial_count()), "{}", plan.dial_count());
}

#[tokio::test(start_paused = true)]
async fn fatal_errors_end_at_once_and_transient_ones_do_not() {
    for (kind, fatal) in [
        (io::ErrorKind::PermissionDenied, true),
        (io::ErrorKind::InvalidInput, true),
        (io::ErrorKind::ConnectionRefused, false),
        (io::ErrorKind::Other, false),
    ] {
        let world = World::new();
        let plan = Plan::new();
        *plan.dials_fail_with.lock().unwrap() = kind;
        plan.dials_to_fail.store(usize::MAX, Ordering::Relaxed);
        let start = Instant::now();
        let error =
            within(Conduit::connect(plan.source(&world.connector))).await.expect_err("no link");
        assert_eq!(error.is_transient(), !fatal);
        match error {
            ConnectError::Fatal(source) => {
                assert_eq!((source.kind(), fatal), (kind, true));
                assert_eq!((start.elapsed(), plan.dial_count()), (Duration::ZERO, 1));
            }
            ConnectError::Unreachable { attempts, source } => {
                assert_eq!((source.kind(), fatal), (kind, false));
                assert_eq!(attempts as usize, plan.dial_count());
                let limit = StableConfig::default().redial.connect_limit;
                assert!(start.elapsed() <= limit + Duration::from_millis(2));
                assert!(attempts > 3);
            }
            error => panic!("{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_in_an_outage_ends_the_session() {
    let mut world = World::new();
    let plan = Plan::new();
    let dial = Conduit::connect(plan.source(&world.connector));
    let (near, _far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let near = near.unwrap();
    *plan.dials_fail_with.lock().unwrap() = io::ErrorKind::PermissionDenied;
    plan.dials_to_fail.store(1, Ordering::Relaxed);
    world.network.cut_links();
    let end = until(&mut near.status(), Status::is_final).await;
    assert!(matches!(end, Status::Lost(LossReason::Source(_))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn connecting_gives_up_at_the_limit_and_tries_at_least_once() {
    let world = World::new();
    world.network.refuse_dials();
    for limit in [Duration::ZERO, Duration::from_secs(3)] {
        let mut config = StableConfig::default();
        config.redial.connect_limit = limit;
        let start = Instant::now();
        let error = world.connect(config).await.expect_err("refused");
        assert!(matches!(error, ConnectError::Unreachable { attempts: 1.., .. }), "{error}");
        assert!(start.elapsed() <= limit + Duration::from_millis(2), "{:?}", start.elapsed());
    }
    // A dial that hangs has a deadline of its own.
    world.network.ignore_dials();
    let mut config = StableConfig::default();
    config.redial.attempt_deadline = Duration::from_secs(2);
    let start = Instant::now();
    let error = world.connect(config).await.expect_err("ignored");
    let ConnectError::Unreachable { attempts: 3.., source } = error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() <= Duration::from_secs(12) + Duration::from_millis(9));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_the_hello_costs_one_attempt() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let dial = tokio::spawn(Conduit::connect(connector.source()));
    let start = Instant::now();
    let mut silent = Peer::accept(&mut listener).await;
    silent.recv_client_hello().await;
    let mut peer = Peer::accept(&mut listener).await;
    let waited = start.elapsed();
    let deadline = StableConfig::default().handshake_deadline;
    assert!((deadline..deadline + Duration::from_millis(200)).contains(&waited), "{waited:?}");
    peer.recv_client_hello().await;
    peer.send_server_hello(EXTENDED, [1; 16], None).await;
    within(dial).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_has_a_limit() {
    let mut world = World::new();
    let (near, _far) = world.open().await;
    let mut status = near.status();
    let (tx, _rx) = near.split();
    world.network.refuse_dials();
    world.network.cut_links();
    until(&mut status, is_suspended).await;
    let start = Instant::now();
    let accepted = fill(&tx);
    let lost = within(tx.flush_acked()).await.unwrap_err();
    assert_eq!(lost.reason, LossReason::OutageLimit);
    assert_eq!((lost.acknowledged, lost.accepted), (0, accepted));
    let outage_max = StableConfig::default().outage_max;
    assert!((outage_max..outage_max + Duration::from_secs(1)).contains(&start.elapsed()));
}
