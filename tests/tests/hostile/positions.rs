//! Positions that can never be right: acknowledgements of what was never sent, and resumes outside
//! the log. They end the session, with everything unacknowledged handed back.

use rejoin_tcp::protocol::{LossReason, Position};
use rejoin_tests::scripted::{control, data, resume, tag};

use crate::stage::{Stage, assert_connected, greeted, lost, rejected, soon, text};

/// The peer reads three items and then acknowledges with `frame`.
async fn check_ack(frame: &[u8], acked: u64) {
    let mut stage = Stage::new().await;
    let (mut peer, key, tx, _rx) = stage.hostile().await;
    for item in ["a", "b", "c"] {
        tx.send(&item.to_owned()).await.unwrap();
        soon(peer.recv_tag(tag::DATA)).await.unwrap();
    }
    peer.send(frame).await.unwrap();
    let reason = lost(&tx).await;
    assert_eq!(reason, LossReason::AckBeyondSent { acked: Position::new(acked), sent: 3 });
    soon(peer.until_end()).await;
    let items = tx.take_unacknowledged();
    assert_eq!(items.iter().map(|(position, _)| position.get()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(rejected(stage.address, &resume(key, None)).await, 1, "the session is gone");
    stage.exchange().await;
}

#[tokio::test]
async fn an_ack_of_the_item_after_the_last_one_sent_ends_the_session() {
    check_ack(&control(0, tag::ACK, &[1, 3, 1 << 20]), 3).await;
}

#[tokio::test]
async fn an_ack_far_beyond_what_was_sent_ends_the_session() {
    check_ack(&control(0, tag::ACK, &[1, 0x7fff_ffff, 1 << 20]), 0x7fff_ffff).await;
}

#[tokio::test]
async fn an_ack_on_the_other_side_of_the_wrap_ends_the_session() {
    // Before the first item, there is none.
    check_ack(&control(0, tag::ACK, &[1, u64::from(u32::MAX), 1 << 20]), 0).await;
}

#[tokio::test]
async fn an_ack_beyond_what_was_sent_ends_the_session_with_data_too() {
    check_ack(&data(0, Some(3), &text("x")), 3).await;
}

#[tokio::test]
async fn an_ack_beyond_what_was_sent_ends_the_session_with_settings_too() {
    check_ack(&control(0, tag::SETTINGS, &[1, 9, 1 << 20, 1 << 20, 1 << 20]), 9).await;
}

#[tokio::test]
async fn a_resume_beyond_what_was_sent_ends_the_session() {
    const HALF: u32 = 1 << 31;
    // Half of all numbers lie ahead of what was sent; the others before the first item.
    for (last, received) in [(1, 2), (HALF, 1 + u64::from(HALF)), (HALF + 1, 0), (u32::MAX, 0)] {
        let mut stage = Stage::new().await;
        let (mut peer, key, tx, _rx) = stage.hostile().await;
        tx.send(&"a".to_owned()).await.unwrap();
        soon(peer.recv_tag(tag::DATA)).await.unwrap();
        assert_eq!(rejected(stage.address, &resume(key, Some(last))).await, 1);
        let expected = LossReason::PositionOutOfRange { received, retained_from: 0, appended: 1 };
        assert_eq!(lost(&tx).await, expected, "last received {last}");
        soon(peer.until_end()).await;
        assert_eq!(tx.take_unacknowledged().len(), 1);
        stage.exchange().await;
    }
}

#[tokio::test]
async fn a_resume_from_before_what_was_acknowledged_gets_nothing_twice() {
    let mut stage = Stage::new().await;
    let (mut peer, key, tx, _rx) = stage.hostile().await;
    for item in ["a", "b", "c"] {
        tx.send(&item.to_owned()).await.unwrap();
    }
    for _ in 0..3 {
        soon(peer.recv_tag(tag::DATA)).await.unwrap();
    }
    peer.send(&control(0, tag::ACK, &[1, 2, 1 << 20])).await.unwrap();
    soon(tx.flush_acked()).await.unwrap();

    let (mut peer, _) = greeted(stage.address, &resume(key, Some(0))).await;
    peer.send(&control(0, tag::SETTINGS, &[1, 0, 1 << 20, 1 << 20, 1 << 20])).await.unwrap();
    tx.send(&"d".to_owned()).await.unwrap();
    let next = soon(peer.recv_tag(tag::DATA)).await.unwrap();
    assert_eq!(next, data(3, None, &text("d")));
    assert_connected(&tx, 2);
    stage.exchange().await;
}
