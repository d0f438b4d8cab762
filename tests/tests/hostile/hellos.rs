//! Hellos twice, late, wrong, slow, or none at all.

use std::time::Duration;

use rejoin_tcp::StableConduit;
use rejoin_tcp::TcpSource;
use rejoin_tests::scripted::{Answer, Scripted, data, flag, fresh, hello, prefixed, settings, tag};
use rejoin_tests::until;

use crate::stage::{Stage, config, greeted, rejected, soon, suspended, text};

const SECOND_HELLO: &str =
    "the peer broke the protocol: malformed frame: the frame has the unknown tag 79";

#[tokio::test]
async fn a_second_hello_costs_the_link() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, _rx) = stage.hostile().await;
    peer.send(&fresh(1)).await.unwrap();
    assert_eq!(suspended(&tx).await, SECOND_HELLO);
    soon(peer.until_end()).await;
    stage.exchange().await;
}

#[tokio::test]
async fn a_late_hello_costs_the_link() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    peer.send(&data(0, None, &text("x"))).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "x");
    peer.send(&fresh(2)).await.unwrap();
    assert_eq!(suspended(&tx).await, SECOND_HELLO);
    soon(peer.until_end()).await;
    stage.exchange().await;
}

#[tokio::test]
async fn a_second_hello_costs_the_link_in_the_base_profile_too() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, _rx) = stage.hostile_base().await;
    peer.send(&hello(0, [0; 16], 0)).await.unwrap();
    assert_eq!(suspended(&tx).await, SECOND_HELLO);
    soon(peer.until_end()).await;
    stage.exchange().await;
}

#[tokio::test]
async fn two_hellos_at_once_leave_no_session() {
    let mut stage = Stage::new().await;
    let mut peer = Scripted::dial(stage.address).await.unwrap();
    peer.send_raw(&[prefixed(&fresh(1)), prefixed(&fresh(2))].concat()).await.unwrap();
    soon(peer.until_end()).await;
    // The application never hears of it, and it goes without waiting for the outage limit.
    stage.until_sessions(1).await;
    stage.exchange().await;
}

#[tokio::test]
async fn a_hello_of_the_wrong_magic_or_size_costs_the_link() {
    let mut stage = Stage::new().await;
    let good = fresh(1);
    let mut servers = good.clone();
    servers[2] = b'S';
    let mut small = good.clone();
    small[..4].copy_from_slice(b"roch");
    let mut large = good.clone();
    large.push(0);
    let wrong = [servers, small, large, good[..24].to_vec(), Vec::new()];
    for payload in &wrong {
        let mut peer = Scripted::dial(stage.address).await.unwrap();
        peer.send(payload).await.unwrap();
        assert_eq!(soon(peer.until_end()).await, 0, "nothing is said to {payload:?}");
    }
    let stats = stage.listener.handshakes();
    assert_eq!(stats.bad_hello, wrong.len() as u64, "{stats:?}");
    assert_eq!(stage.listener.sessions(), 1);
    stage.exchange().await;
}

#[tokio::test]
async fn flags_without_a_meaning_are_ignored() {
    let mut stage = Stage::new().await;
    // All of them: a resume with a key that nobody has.
    assert_eq!(rejected(stage.address, &hello(0xff, [0xff; 16], u32::MAX)).await, 1);
    // All but the key: a new session, whose position is that of a new session.
    let (mut peer, _) = greeted(stage.address, &hello(!flag::KEY, [0xff; 16], u32::MAX)).await;
    peer.send(&settings(1 << 20)).await.unwrap();
    let (tx, _rx) = soon(stage.listener.accept()).await.unwrap().split();
    tx.send(&"a".to_owned()).await.unwrap();
    let frame = soon(peer.recv_tag(tag::DATA)).await.unwrap();
    assert_eq!(frame, data(0, None, &text("a")));
    // All that have none: a new session of the base profile.
    let unknown = !(flag::KEY | flag::LAST | flag::EXTENDED);
    let (mut peer, _) = greeted(stage.address, &hello(unknown, [0xff; 16], u32::MAX)).await;
    let (tx, _rx) = soon(stage.listener.accept()).await.unwrap().split();
    tx.send(&"a".to_owned()).await.unwrap();
    assert_eq!(soon(peer.recv()).await.unwrap(), data(0, None, &text("a")));
    stage.exchange().await;
}

#[tokio::test]
async fn a_hello_that_comes_drop_by_drop_is_left_at_the_deadline() {
    let mut stage = Stage::new().await;
    let mut peer = Scripted::dial(stage.address).await.unwrap();
    // At this pace the hello takes ten seconds and more.
    let mut pace = tokio::time::interval(Duration::from_millis(400));
    for byte in prefixed(&fresh(1)) {
        pace.tick().await;
        if peer.send_raw(&[byte]).await.is_err() || stage.listener.handshakes().timed_out > 0 {
            break;
        }
    }
    let stats = stage.listener.handshakes();
    assert_eq!((stats.timed_out, stats.pending), (1, 0), "{stats:?}");
    assert_eq!(soon(peer.until_end()).await, 0);
    stage.exchange().await;
}

#[tokio::test]
async fn thousands_of_half_finished_handshakes_keep_nobody_out() {
    const PENDING: usize = 50;
    const WAVE: u64 = 100;
    const WAVES: u64 = 20;
    let mut config = config();
    config.pending_handshakes_max = PENDING;
    // They give way to newer ones, and not to the deadline.
    config.conduit.handshake_deadline = Duration::from_secs(600);
    let mut stage = Stage::with(config).await;
    let mut held = Vec::new();
    for wave in 1..=WAVES {
        let mut peers = Vec::new();
        for _ in 0..WAVE {
            let mut peer = soon(Scripted::dial(stage.address)).await.unwrap();
            // It may have been given up already.
            let _ = peer.send_raw(&prefixed(&fresh(1))[..12]).await;
            peers.push(peer);
        }
        // The last wave stays connected while this one comes, so it is not the peers that go.
        held = peers;
        until(|| stage.listener.handshakes().accepted > wave * WAVE).await;
        assert!(stage.listener.handshakes().pending <= PENDING);
    }
    // In the middle of it, somebody with a whole hello is let in.
    let client = StableConduit::<String>::connect(TcpSource::new(stage.address));
    let (client, server) = soon(async { tokio::join!(client, stage.listener.accept()) }).await;
    let (_client, _server) = (client.unwrap(), server.unwrap());
    stage.exchange().await;
    let stats = stage.listener.handshakes();
    assert!(stats.pending <= PENDING, "{stats:?}");
    assert!(stats.evicted + stats.closed_early >= WAVES * WAVE - PENDING as u64, "{stats:?}");
    assert!(stats.evicted > 0, "{stats:?}");
    drop(held);
}

#[tokio::test]
async fn a_fresh_hello_that_is_repeated_opens_one_session() {
    let mut stage = Stage::new().await;
    // The first answer may have been lost: the same session, with the same key.
    let (mut first, key) = greeted(stage.address, &fresh(1)).await;
    let (mut second, again) = greeted(stage.address, &fresh(1)).await;
    assert_eq!(key, again);
    soon(first.until_end()).await;
    assert_eq!(stage.listener.sessions(), 2);
    second.send(&settings(1 << 20)).await.unwrap();
    let _conduit = soon(stage.listener.accept()).await.unwrap();
    // Now that the answer was used, it is an echo, and stale.
    let (_, answer) = soon(Scripted::greet(stage.address, &fresh(1))).await.unwrap();
    assert_eq!(answer, Answer::Rejected(5));
    stage.exchange().await;
}
