//! Peers that do not let this side send, flood it with what costs them nothing, or send more than
//! they may.

use std::time::Duration;

use rejoin_tcp::SendError;
use rejoin_tcp::protocol::{LossReason, Position};
use rejoin_tests::scripted::{control, data, prefixed, settings, tag, tag_of};

use crate::stage::{Stage, Tx, assert_connected, config, lost, soon, suspended, text};

/// How many texts are accepted until there is no room.
fn fill(tx: &Tx) -> usize {
    let text = "x".repeat(1000);
    (0..)
        .find(|_| match tx.try_send(&text) {
            Ok(_) => false,
            Err(SendError::Full) => true,
            Err(error) => panic!("{error}"),
        })
        .unwrap()
}

#[tokio::test]
async fn control_frames_cost_the_link_in_the_base_profile() {
    for tag in tag::SETTINGS..=tag::GOING_AWAY + 1 {
        let mut stage = Stage::new().await;
        let (mut peer, _, tx, _rx) = stage.hostile_base().await;
        peer.send(&control(0, tag, &[0, 0])).await.unwrap();
        let expected = format!(
            "the peer broke the protocol: malformed frame: the frame has the unknown tag {tag}"
        );
        assert_eq!(suspended(&tx).await, expected);
        soon(peer.until_end()).await;
        stage.exchange().await;
    }
}

#[tokio::test]
async fn a_window_of_zero_for_ever_stops_the_sender_and_costs_no_more_than_the_log() {
    let mut config = config();
    config.conduit.send_log_bytes_max = 64 << 10;
    config.conduit.ping_interval = Duration::from_millis(20);
    let mut stage = Stage::with(config).await;
    let (mut peer, _, tx, _rx) = stage.hostile_with(&settings(0)).await;
    let accepted = fill(&tx);
    assert!((1..=65).contains(&accepted), "{accepted}");
    let (mut pings, mut items) = (0, 0);
    while pings < 20 {
        let frame = soon(peer.recv()).await.unwrap();
        match tag_of(&frame) {
            Some(tag::PING) => {
                peer.send(&control(0, tag::PONG, &[u64::from(frame[2])])).await.unwrap();
                pings += 1;
            }
            Some(tag::DATA | tag::DATA_WITH_ACK) => items += 1,
            _ => {}
        }
    }
    assert_eq!(items, 0);
    assert_connected(&tx, 1);
    let waiting = tx.send_timeout(&"x".to_owned(), Duration::from_millis(50)).await;
    assert!(matches!(waiting, Err(SendError::Full)), "{waiting:?}");
    // Whoever closes does not wait for ever either, and gets everything back.
    let error = soon(tx.clone().close()).await.unwrap_err();
    assert_eq!(error.reason, LossReason::LingerExpired);
    assert_eq!(tx.take_unacknowledged().len(), accepted);
    soon(peer.until_end()).await;
    stage.exchange().await;
}

#[tokio::test]
async fn endless_pings_cost_nothing_but_answers() {
    const PINGS: u64 = 20_000;
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, _rx) = stage.hostile().await;
    let mut flood = Vec::new();
    for token in 1..=PINGS {
        flood.extend(prefixed(&control(0, tag::PING, &[token])));
    }
    let last = control(0, tag::PONG, &[PINGS]);
    peer.send_raw(&flood).await.unwrap();
    stage.exchange().await;
    let mut answers = 0;
    while soon(peer.recv_tag(tag::PONG)).await.unwrap() != last {
        answers += 1;
    }
    assert!(answers < PINGS, "one answer for all pings that came together");
    assert_connected(&tx, 1);
    assert_eq!(tx.stats().send_log_bytes, 0);
    stage.exchange().await;
}

#[tokio::test]
async fn control_frames_without_end_change_nothing() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    let frames = [
        control(0, tag::GOING_AWAY, &[u64::MAX]),
        control(0, tag::PONG, &[u64::MAX]),
        control(0, tag::CLOSE_ACK, &[]),
        control(0, tag::ACK, &[0, 0]),
        control(0, tag::ACK, &[0, u64::MAX]),
        settings(u64::MAX),
    ];
    for _ in 0..1000 {
        for frame in &frames {
            peer.send(frame).await.unwrap();
        }
    }
    peer.send(&data(0, None, &text("x"))).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "x");
    tx.send(&"y".to_owned()).await.unwrap();
    while soon(peer.recv()).await.unwrap() != data(0, Some(0), &text("y")) {}
    assert_connected(&tx, 1);
    stage.exchange().await;
}

#[tokio::test]
async fn more_than_the_window_ends_the_session() {
    let mut config = config();
    config.conduit.inbox_bytes_max = 1000;
    let mut stage = Stage::with(config).await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    let large = "x".repeat(100);
    for seq in 0..20 {
        // The link may have ended by now.
        let _ = peer.send(&data(seq, None, &text(&large))).await;
    }
    assert_eq!(lost(&tx).await, LossReason::WindowExceeded);
    soon(peer.until_end()).await;
    // What came before is there for the application: 133 bytes each by cost.
    for _ in 0..8 {
        assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), large);
    }
    assert!(soon(rx.recv()).await.is_err());
    stage.exchange().await;
}

#[tokio::test]
async fn an_item_larger_than_allowed_ends_the_session() {
    let mut config = config();
    config.conduit.message_bytes_max = 1000;
    let mut stage = Stage::with(config).await;
    let (mut peer, _, tx, _rx) = stage.hostile().await;
    peer.send(&data(0, None, &[0; 1001])).await.unwrap();
    let position = Position::new(0);
    let expected = LossReason::ItemTooLarge { position, bytes: 1001, bytes_max: 1000 };
    assert_eq!(lost(&tx).await, expected);
    soon(peer.until_end()).await;
    stage.exchange().await;
}

#[tokio::test]
async fn a_peer_that_takes_no_items_at_all_makes_sending_fail() {
    let mut stage = Stage::new().await;
    let nothing = control(0, tag::SETTINGS, &[0, 1 << 20, 0, 1 << 20]);
    let (mut peer, _, tx, _rx) = stage.hostile_with(&nothing).await;
    let error = tx.send(&"x".to_owned()).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { bytes: 2, bytes_max: 0 }), "{error:?}");
    peer.send(&settings(1 << 20)).await.unwrap();
    assert_connected(&tx, 1);
    stage.exchange().await;
}

#[tokio::test]
async fn a_frame_that_is_none_costs_the_link() {
    for (frame, what) in [
        (vec![0xff; 40], "a variable-length integer is too large for its field"),
        (vec![], "the frame ends in the middle of its head"),
        (vec![0, 6, 0, 2, 0xff, 0xfe], "the reason of a close is not a short text"),
        (control(0, tag::CLOSE, &[0, 1 << 30]), "the reason of a close is not a short text"),
        (control(0, tag::PING, &[1, 1]), "the control frame goes on after its last field"),
    ] {
        let mut stage = Stage::new().await;
        let (mut peer, _, tx, _rx) = stage.hostile().await;
        peer.send(&frame).await.unwrap();
        let expected = format!("the peer broke the protocol: malformed frame: {what}");
        assert_eq!(suspended(&tx).await, expected);
        soon(peer.until_end()).await;
        stage.exchange().await;
    }
}
