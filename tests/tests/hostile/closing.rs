//! Peers that do not close as they should.

use rejoin_tcp::protocol::LossReason;
use rejoin_tcp::{SendError, Status};
use rejoin_tests::scripted::{control, data, tag};

use crate::stage::{Stage, lost, soon, suspended, text};

#[tokio::test]
async fn a_close_that_is_never_acknowledged_ends_at_the_linger_limit() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, _rx) = stage.hostile().await;
    tx.send(&"x".to_owned()).await.unwrap();
    let error = soon(tx.clone().close()).await.unwrap_err();
    assert_eq!(error.reason, LossReason::LingerExpired);
    assert_eq!(tx.take_unacknowledged().len(), 1);
    soon(peer.until_end()).await;
    stage.until_sessions(1).await;
    stage.exchange().await;
}

#[tokio::test]
async fn a_peer_that_closes_and_confirms_nothing_ends_at_the_linger_limit() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    tx.send(&"x".to_owned()).await.unwrap();
    peer.send(&control(0, tag::CLOSE, &[0, 0])).await.unwrap();
    assert!(soon(rx.recv()).await.unwrap().is_none());
    assert_eq!(lost(&tx).await, LossReason::LingerExpired);
    assert!(matches!(tx.send(&"y".to_owned()).await, Err(SendError::Lost(_) | SendError::Closed)));
    assert_eq!(tx.take_unacknowledged().len(), 1);
    soon(peer.until_end()).await;
    stage.exchange().await;
}

#[tokio::test]
async fn an_item_after_the_close_costs_the_link() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    peer.send(&control(0, tag::CLOSE, &[0, 0])).await.unwrap();
    assert!(soon(rx.recv()).await.unwrap().is_none());
    peer.send(&data(0, None, &text("x"))).await.unwrap();
    let cause = suspended(&tx).await;
    assert_eq!(cause, "the peer broke the protocol: an item came after the close");
    soon(peer.until_end()).await;
    assert!(soon(rx.recv()).await.unwrap().is_none(), "the item is not given out");
    stage.exchange().await;
}

#[tokio::test]
async fn closes_without_end_are_heard_once() {
    let mut stage = Stage::new().await;
    let (mut peer, _, tx, mut rx) = stage.hostile().await;
    for _ in 0..1000 {
        // The session may have ended by now.
        let _ = peer.send(&control(0, tag::CLOSE, &[9, 0])).await;
    }
    assert!(soon(rx.recv()).await.unwrap().is_none());
    // Our own close is never confirmed, but nothing depends on that.
    let mut status = tx.status();
    let end = soon(status.wait_for(Status::is_final)).await.unwrap().clone();
    let Status::Closed { by_peer: Some(reason) } = end else { panic!("{end:?}") };
    assert_eq!(reason.code(), 9);
    soon(peer.until_end()).await;
    stage.exchange().await;
}
