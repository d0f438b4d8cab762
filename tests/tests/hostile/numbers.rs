//! Numbers that jump, repeat, go backwards or straddle the wrap. Those ahead cost the link, and the
//! session resumes; those behind are ignored.

use rejoin_tests::scripted::{control, data, resume, settings, tag};

use crate::stage::{Stage, assert_connected, greeted, soon, suspended, text};

/// A frame whose number is ahead of item `expected`, the one that is due.
async fn check_ahead(frame: &[u8], actual: u64) {
    let mut stage = Stage::new().await;
    let (mut peer, key, tx, mut rx) = stage.hostile().await;
    peer.send(&data(0, None, &text("first"))).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "first");
    peer.send(frame).await.unwrap();
    let cause = suspended(&tx).await;
    let expected = format!("the peer broke the protocol: item {actual} came where 1 was expected");
    assert_eq!(cause, expected);
    soon(peer.until_end()).await;

    let (mut peer, _) = greeted(stage.address, &resume(key, None)).await;
    peer.send(&settings(1 << 20).splice_seq(1)).await.unwrap();
    peer.send(&data(1, None, &text("second"))).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "second", "nothing of the jump counts");
    stage.exchange().await;
}

trait SpliceSeq {
    /// The same frame with another one-byte number.
    fn splice_seq(self, seq: u8) -> Self;
}

impl SpliceSeq for Vec<u8> {
    fn splice_seq(mut self, seq: u8) -> Self {
        self[0] = seq;
        self
    }
}

#[tokio::test]
async fn a_number_that_jumps_by_one_costs_the_link() {
    check_ahead(&data(2, None, &text("x")), 2).await;
}

#[tokio::test]
async fn a_number_that_jumps_as_far_as_it_can_costs_the_link() {
    check_ahead(&data(0x8000_0000, None, &text("x")), 0x8000_0000).await;
}

#[tokio::test]
async fn an_ack_with_a_number_that_jumps_does_not_count() {
    check_ahead(&data(2, Some(77), &text("x")), 2).await;
}

#[tokio::test]
async fn a_control_frame_with_a_number_that_jumps_costs_the_link() {
    check_ahead(&control(300, tag::PING, &[1]), 300).await;
}

#[tokio::test]
async fn numbers_that_repeat_go_backwards_or_lie_across_the_wrap_are_ignored() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    for seq in [u32::MAX, 0x8000_0000, 0xc000_0000] {
        peer.send(&data(seq, None, &text("x"))).await.unwrap();
    }
    for seq in 0..3 {
        for _ in 0..100 {
            peer.send(&data(seq, None, &text(&seq.to_string()))).await.unwrap();
        }
    }
    peer.send(&data(0, None, &text("x"))).await.unwrap();
    peer.send(&data(0x8000_0003, None, &text("x"))).await.unwrap();
    peer.send(&data(3, None, &text("3"))).await.unwrap();
    for seq in 0..4 {
        assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), seq.to_string());
    }
    assert_connected(&tx, 1);
    assert_eq!(tx.stats().messages_received, 4);
    assert_eq!(tx.stats().messages_duplicate, 3 + 3 * 99 + 2);
    stage.exchange().await;
}
