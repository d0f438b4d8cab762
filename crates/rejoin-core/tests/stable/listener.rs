//! The design's table of questions where the answer shows on the accepting side: which sessions
//! there are, who gets them, and when they end.

use std::time::Duration;

use rejoin_core::protocol::{LossReason, RejectReason};
use rejoin_core::{
    ConnectError, ListenerConfig, MemoryConfig, RecvError, StableConfig, Status, SuspendCause,
};
use tokio::time::{Instant, timeout};

use crate::common::{
    World, expect_all, is_connected, is_suspended, item, pass, recv, send, send_all, settle, until,
    within,
};
use crate::peer::{EXTENDED, Peer, read_frame};

fn few(sessions_max: usize, backlog_max: usize) -> World {
    let mut config = ListenerConfig::default();
    config.sessions_max = sessions_max;
    config.backlog_max = backlog_max;
    World::with_listener(MemoryConfig::default(), config)
}

/// Not even with the right key twice: the newest link is the one that counts.
#[tokio::test(start_paused = true)]
async fn the_newest_link_with_a_valid_key_takes_over() {
    let mut world = World::new();
    let mut first = Peer::dial(&world.connector).await;
    first.send_client_hello(EXTENDED, None, None).await;
    let key = first.recv_server_hello().await.key;
    first.send_settings(1 << 20).await;
    let (far_tx, mut far_rx) = within(world.listener.accept()).await.unwrap().split();
    first.send_item(0, None, &item(0)).await;
    expect_all(&mut far_rx, 0..1).await;

    let mut second = Peer::dial(&world.connector).await;
    second.send_client_hello(EXTENDED, Some(key), None).await;
    let answer = second.recv_server_hello().await;
    assert_eq!((answer.flags, answer.last()), (EXTENDED | 0x02, Some(0)));
    assert_ne!(answer.key, key, "the key rotates");
    while first.recv().await.is_some() {}
    assert!(first.try_send(&[1, 0]).await.is_err(), "the first is closed");
    second.send_settings(1 << 20).await;
    second.send_item(1, None, &item(1)).await;
    expect_all(&mut far_rx, 1..2).await;
    assert!(matches!(*far_tx.status().borrow(), Status::Connected { generation: 2, .. }));

    // The second has proved its key: the first key is of no use any more.
    let mut third = Peer::dial(&world.connector).await;
    third.send_client_hello(EXTENDED, Some(key), None).await;
    let answer = third.recv_server_hello().await;
    assert_eq!((answer.flags, answer.number), (EXTENDED | 0x01, RejectReason::UnknownKey.code()));
    assert!(is_connected(&far_tx.status().borrow()));
}

#[tokio::test(start_paused = true)]
async fn abandoned_sessions_expire() {
    let mut world = World::new();
    let mut ends = Vec::new();
    for _ in 0..5 {
        let (near, far) = world.open().await;
        let (tx, rx) = far.split();
        send_all(&tx, 0..3).await;
        ends.push((tx, rx));
        // As a process that is killed: its side is not closed, it is gone.
        std::mem::forget(near);
    }
    settle().await;
    world.network.refuse_dials();
    world.network.cut_links();
    let outage_max = StableConfig::default().outage_max;
    crate::common::pass(outage_max - Duration::from_secs(1)).await;
    assert_eq!(world.listener.sessions(), 5);
    crate::common::pass(Duration::from_secs(2)).await;
    assert_eq!(world.listener.sessions(), 0);
    for (tx, mut rx) in ends {
        let RecvError::Lost(lost) = within(recv(&mut rx)).await.unwrap_err() else { panic!() };
        assert_eq!(lost.reason, LossReason::Expired);
        assert_eq!((lost.acknowledged, lost.accepted), (3, 3));
        assert!(tx.take_unacknowledged().is_empty());
    }
}

/// A hello and nothing more, on a link that ends or one that stays.
#[tokio::test(start_paused = true)]
async fn peers_that_vanish_after_their_hello_are_forgotten_soon() {
    for stays in [false, true] {
        let mut world = few(100, 100);
        let mut peers = Vec::new();
        for n in 0..100u8 {
            let mut peer = Peer::dial(&world.connector).await;
            peer.send(&crate::peer::hello(*b"ROCH", EXTENDED, [n; 16], None)).await;
            peer.recv_server_hello().await;
            peers.extend(stays.then_some(peer));
        }
        assert_eq!(world.listener.sessions(), 100);
        crate::common::pass(Duration::from_secs(31)).await;
        assert_eq!(world.listener.sessions(), 0, "stays: {stays}");
        let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves().await;
        send(&near_tx, 0).await.unwrap();
        expect_all(&mut far_rx, 0..1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_listener_says_so_and_takes_another_when_one_goes() {
    let mut world = few(2, 10);
    let (first, first_far) = world.open().await;
    let (_second, _second_far) = world.open().await;
    let mut config = StableConfig::default();
    config.redial.connect_limit = Duration::from_secs(1);
    let error = world.connect(config.clone()).await.expect_err("full");
    assert!(error.is_transient());
    let ConnectError::Unreachable { source, .. } = &error else { panic!("{error}") };
    assert!(source.to_string().contains(&RejectReason::Full.to_string()), "{source}");
    within(first.split().0.close()).await.unwrap();
    drop(first_far);
    settle().await;
    assert_eq!(world.listener.sessions(), 1);
    world.connect(config).await.unwrap();
}

/// A client that is started some seconds before its server: random pauses do not end the wait early.
#[tokio::test(start_paused = true)]
async fn connecting_goes_on_for_as_long_as_its_limit_says() {
    let limit = StableConfig::default().redial.connect_limit;
    for _ in 0..20 {
        let world = World::new();
        world.network.refuse_dials();
        let begun = Instant::now();
        let serve = async {
            pass(limit - Duration::from_millis(1)).await;
            world.network.answer_dials();
        };
        let (conduit, ()) = tokio::join!(world.connect(StableConfig::default()), serve);
        conduit.unwrap();
        assert_eq!(begun.elapsed().as_secs(), limit.as_secs());

        world.network.refuse_dials();
        let begun = Instant::now();
        let error = world.connect(StableConfig::default()).await.expect_err("nobody answers");
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        assert_eq!(begun.elapsed().as_secs(), limit.as_secs());
    }
}

/// Whether the router turns them away or a session's driver does.
#[tokio::test(start_paused = true)]
async fn links_that_are_turned_away_are_counted() {
    let mut world = few(1, 10);
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(EXTENDED, None, None).await;
    let key = peer.recv_server_hello().await.key;
    peer.send_settings(1 << 20).await;
    let _far = within(world.listener.accept()).await.unwrap();
    assert_eq!(world.listener.rejected(), 0);

    // There is no room for another, nobody has this key, and the session has sent nothing yet.
    let hellos = [(None, None), (Some([7; 16]), None), (Some(key), Some(1000))];
    for ((key, last), counted) in hellos.into_iter().zip(1..) {
        let mut peer = Peer::dial(&world.connector).await;
        peer.send_client_hello(EXTENDED, key, last).await;
        assert_eq!(peer.recv_server_hello().await.flags & 0x01, 0x01, "{counted}: rejected");
        assert_eq!(world.listener.rejected(), counted);
    }
    assert_eq!(world.listener.handshakes().accepted, 4);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_to_be_accepted_are_limited() {
    let mut world = few(100, 3);
    let mut config = StableConfig::default();
    config.redial.connect_limit = Duration::from_secs(1);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(world.connect(config.clone()).await.unwrap());
        settle().await;
    }
    let error = world.connect(config.clone()).await.expect_err("nobody accepts");
    assert!(error.is_transient(), "{error}");
    assert_eq!(world.listener.sessions(), 3);
    within(world.listener.accept()).await.unwrap();
    world.connect(config).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_delivered_after_all_handles_are_dropped() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let (near_tx, near_rx) = near.split();
    let (_far_tx, mut far_rx) = far.split();
    let mut status = near_tx.status();
    world.network.refuse_dials();
    world.network.cut_links();
    until(&mut status, is_suspended).await;
    send_all(&near_tx, 0..50).await;
    drop((near_tx, near_rx));
    settle().await;
    world.network.answer_dials();
    expect_all(&mut far_rx, 0..50).await;
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
    crate::common::pass(Duration::from_secs(11)).await;
    assert_eq!(world.listener.sessions(), 0);
}

/// A peer that speaks gibberish, before or after its hello, disturbs nobody.
#[tokio::test(start_paused = true)]
async fn gibberish_costs_the_link_and_nothing_else() {
    let mut world = World::new();
    let ((near_tx, _near_rx), (far_tx, mut far_rx)) = world.halves().await;
    for payload in [&b"GET / HTTP/1.1"[..], b"", &[0x16; 600], b"ROCH", &[0xff; 25]] {
        let mut peer = Peer::dial(&world.connector).await;
        peer.send(payload).await;
        assert_eq!(peer.recv().await, None);
    }
    assert_eq!(world.listener.handshakes().bad_hello, 5);
    assert_eq!(world.listener.sessions(), 1);
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(EXTENDED, None, None).await;
    let key = peer.recv_server_hello().await.key;
    peer.send_settings(1 << 20).await;
    let (other_tx, mut other_rx) = within(world.listener.accept()).await.unwrap().split();
    let mut key = key;
    for payload in [&[0xff; 9][..], &[0, 99], &[], &[7, 0, 1], &[0, 6, 0, 200]] {
        let mut status = other_tx.status();
        peer.send(payload).await;
        let Status::Suspended { cause, .. } = until(&mut status, is_suspended).await else {
            unreachable!()
        };
        assert!(matches!(cause, SuspendCause::Violation(_)), "{cause}");
        peer = Peer::dial(&world.connector).await;
        peer.send_client_hello(EXTENDED, Some(key), None).await;
        let answer = peer.recv_server_hello().await;
        assert_eq!(answer.flags, EXTENDED, "goes on, with nothing received");
        key = answer.key;
        peer.send_settings(1 << 20).await;
    }
    peer.send_item(0, None, &item(0)).await;
    expect_all(&mut other_rx, 0..1).await;
    send_all(&near_tx, 0..3).await;
    expect_all(&mut far_rx, 0..3).await;
    assert_eq!(far_tx.stats().resumes, 0);
}

/// A peer with a valid key and positions that cannot be.
#[tokio::test(start_paused = true)]
async fn an_impossible_position_ends_the_session_with_a_reason() {
    for in_hello in [true, false] {
        let mut world = World::new();
        let mut peer = Peer::dial(&world.connector).await;
        peer.send_client_hello(EXTENDED, None, None).await;
        let key = peer.recv_server_hello().await.key;
        peer.send_settings(1 << 20).await;
        let (far_tx, mut far_rx) = within(world.listener.accept()).await.unwrap().split();
        send(&far_tx, 0).await.unwrap();
        if in_hello {
            let mut again = Peer::dial(&world.connector).await;
            again.send_client_hello(EXTENDED, Some(key), Some(77)).await;
            assert_eq!(again.recv_server_hello().await.flags & 0x01, 0x01);
        } else {
            peer.send_item(0, Some(77), &item(0)).await;
        }
        loop {
            match within(recv(&mut far_rx)).await {
                Ok(received) => assert_eq!(received, Some(0)),
                Err(RecvError::Lost(lost)) => {
                    let expected = matches!(
                        lost.reason,
                        LossReason::PositionOutOfRange { .. } | LossReason::AckBeyondSent { .. }
                    );
                    assert!(expected, "{lost:?}");
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(far_tx.take_unacknowledged().len(), 1);
        assert_eq!(world.listener.sessions(), 0);
    }
}

/// More than the window, from a peer that does not keep to it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_ignores_its_window_loses_the_session_and_takes_no_memory() {
    let mut world = World::with(MemoryConfig::default(), crate::common::room(10, 10));
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(EXTENDED, None, None).await;
    peer.recv_server_hello().await;
    peer.send_settings(1 << 20).await;
    let (far_tx, mut far_rx) = within(world.listener.accept()).await.unwrap().split();
    for n in 0..30 {
        if peer.try_send(&crate::peer::frame(n, None, &item(n.into()))).await.is_err() {
            break;
        }
    }
    settle().await;
    assert!(far_tx.stats().inbox_bytes <= 11 * 40);
    expect_all(&mut far_rx, 0..10).await;
    let RecvError::Lost(lost) = within(recv(&mut far_rx)).await.unwrap_err() else { panic!() };
    assert_eq!(lost.reason, LossReason::WindowExceeded);
}

/// Nothing is left of a slow peer but its own wait.
#[tokio::test(start_paused = true)]
async fn silent_peers_hold_up_nobody() {
    let mut world = World::new();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Peer::dial(&world.connector).await);
    }
    let start = Instant::now();
    let (near, far) = world.open().await;
    assert!(start.elapsed() < Duration::from_millis(10));
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
    send(&near_tx, 5).await.unwrap();
    expect_all(&mut far_rx, 5..6).await;
    for peer in &mut silent {
        assert_eq!(peer.recv().await, None);
    }
    assert!(start.elapsed() <= Duration::from_secs(6));
    assert_eq!(world.listener.handshakes().timed_out, 50);
    assert!(timeout(Duration::from_secs(60), world.listener.accept()).await.is_err());
}

/// A frame of the base profile is what comes, so that the test of the bytes is worth something.
#[tokio::test(start_paused = true)]
async fn items_travel_as_the_vectors_have_them() {
    let mut world = World::new();
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(0, None, None).await;
    assert_eq!(peer.recv_server_hello().await.flags, 0);
    let (far_tx, mut far_rx) = within(world.listener.accept()).await.unwrap().split();
    send(&far_tx, 9).await.unwrap();
    assert_eq!(read_frame(&peer.recv().await.unwrap()), (0, None, item(9).to_vec()));
    peer.send_item(0, Some(0), &item(4)).await;
    expect_all(&mut far_rx, 4..5).await;
    within(far_tx.flush_acked()).await.unwrap();
}
