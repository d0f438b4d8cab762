//! How a bare conduit ends, and what each side learns of it.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{
    BareConduit, BareRecvError, BareSendError, Link, LinkTx, MemoryConfig, Peer, Raw, SplitLink,
    memory_link_pair,
};
use tokio::time::advance;

use crate::{Endless, Reading, cancel_after, config, reading, settle, tiny_links, tiny_pair};

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn one_direction_goes_on_after_the_other_is_closed() {
    let (near, far) = tiny_pair::<String>();
    let (tx, mut rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    let clone = tx.clone();
    tx.send(&"last".into()).await.unwrap();
    tx.close().await.unwrap();
    clone.clone().close().await.expect("it is closed already");
    assert!(matches!(clone.send(&"late".into()).await, Err(BareSendError::Closed)));
    assert!(matches!(clone.try_send(&"late".into()), Err(BareSendError::Closed)));
    assert!(matches!(clone.reserve().await, Err(BareSendError::Closed)));
    assert_eq!(*far_rx.recv().await.unwrap().unwrap(), "last");
    assert!(far_rx.recv().await.unwrap().is_none());
    for n in 0..50 {
        far_tx.send(&format!("answer {n}")).await.unwrap();
        assert_eq!(*rx.recv().await.unwrap().unwrap(), format!("answer {n}"));
    }
    far_tx.close().await.unwrap();
    assert!(rx.recv().await.unwrap().is_none());
    settle().await;
    assert_eq!(tasks(), 0, "both drivers are done, handles or not");
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_peer_that_does_not_read() {
    let (near, far) = tiny_pair::<Raw>();
    let (tx, _rx) = near.split();
    let (_far_tx, mut far_rx) = far.split();
    let mut sent = 0;
    while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {
        sent += 1;
    }
    let mut close = pin!(tx.close());
    assert!(cancel_after(5, close.as_mut()).await.is_none());
    for _ in 0..sent {
        far_rx.recv().await.unwrap().unwrap();
    }
    assert!(far_rx.recv().await.unwrap().is_none());
    close.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_abrupt_death_shows_after_everything_received() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    let (mut far_tx, far_rx) = far.split();
    for n in 0..200u8 {
        far_tx.send(b"", Bytes::copy_from_slice(&[n])).await.unwrap();
    }
    far_tx.flush().await.unwrap();
    drop((far_tx, far_rx));
    // The inbox is full, so that sending is first to notice.
    settle().await;
    while tx.send(&&b"x"[..]).await.is_ok() {}
    for n in 0..200u8 {
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), [n]);
    }
    for _ in 0..2 {
        let error = rx.recv().await.unwrap_err();
        assert!(matches!(error, BareRecvError::Lost(_)));
        let cause = error.source().and_then(Error::source).expect("the link's own error");
        assert!(cause.is::<std::io::Error>() || cause.to_string().contains("peer"), "{cause}");
    }
    assert!(matches!(tx.send(&&b"x"[..]).await, Err(BareSendError::Lost(_))));
    assert!(matches!(tx.reserve().await, Err(BareSendError::Lost(_))));
    tx.close().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_while_this_side_sends_is_read_to_its_end() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    let (mut far_tx, far_rx) = far.split();
    for n in 0..200u8 {
        far_tx.send(b"", Bytes::copy_from_slice(&[n])).await.unwrap();
    }
    far_tx.close().await.unwrap();
    drop(far_rx);
    let lost = loop {
        if let Err(error) = tx.send(&&b"x"[..]).await {
            break error;
        }
    };
    assert!(matches!(lost, BareSendError::Lost(_)));
    // However late the application reads.
    advance(Duration::from_secs(3600)).await;
    settle().await;
    for n in 0..200u8 {
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), [n]);
    }
    assert!(rx.recv().await.unwrap().is_none(), "that is how the peer ended it");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_dead_one_way_is_given_up_after_a_while() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::new(near).split();
    let (mut far_tx, far_rx) = far.split();
    drop(far_rx);
    while tx.send(&&b"x"[..]).await.is_ok() {}
    far_tx.send(b"", Bytes::from_static(b"late")).await.unwrap();
    far_tx.flush().await.unwrap();
    assert_eq!(*rx.recv().await.unwrap().unwrap().get(), b"late");
    assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))), "although nobody closed");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_has_succeeded_stays_so() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, mut rx) = BareConduit::<Raw>::new(near).split();
    let clone = tx.clone();
    tx.close().await.unwrap();
    drop(far);
    assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))));
    clone.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_handles_what_was_accepted_is_still_written() {
    let (near, far) = tiny_links();
    let near = BareConduit::<Reading>::with_config(near, &config(100_000, 100));
    let (tx, rx) = near.split();
    for id in 0..500 {
        tx.try_send(&reading(id)).unwrap();
    }
    drop((tx, rx));
    let (_tx, mut rx) = BareConduit::<Reading>::new(far).split();
    for id in 0..500 {
        assert_eq!(*rx.recv().await.unwrap().unwrap(), reading(id));
    }
    assert!(rx.recv().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn without_handles_no_driver_is_left_behind() {
    // Both have much to say, and neither listens.
    let (near, far) = tiny_pair::<Raw>();
    let (near_tx, near_rx) = near.split();
    let (far_tx, far_rx) = far.split();
    for tx in [&near_tx, &far_tx] {
        while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {}
    }
    settle().await;
    assert_eq!(tasks(), 2);
    drop((near_tx, near_rx, far_tx, far_rx));
    settle().await;
    assert_eq!(tasks(), 0);

    // The peer takes nothing.
    let (near, _far) = tiny_links();
    let (tx, rx) = BareConduit::<Raw>::with_config(near, &config(100, 100)).split();
    while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {}
    drop((tx, rx));
    settle().await;
    advance(Duration::from_secs(9)).await;
    settle().await;
    assert_eq!(tasks(), 1);
    advance(Duration::from_secs(2)).await;
    settle().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_stops_sending_does_not_keep_a_driver_alive() {
    let (near, _far) = tiny_links();
    let link = SplitLink::new(near.split().0, Endless::default(), Peer::default());
    let (tx, rx) = BareConduit::<Raw>::with_config(link, &config(100, 100)).split();
    while cancel_after(20, tx.send(&&[1; 40][..])).await.is_some() {}
    drop((tx, rx));
    settle().await;
    assert_eq!(tasks(), 1);
    advance(Duration::from_secs(11)).await;
    settle().await;
    assert_eq!(tasks(), 0);
}

#[test]
fn a_runtime_that_stops_is_a_lost_link() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let own = runtime();
    let (far, (tx, mut rx)) = own.block_on(async {
        let (near, far) = memory_link_pair(MemoryConfig::default());
        let halves = BareConduit::<Raw>::new(near).split();
        let (mut far_tx, far_rx) = far.split();
        far_tx.send(b"", Bytes::from_static(b"received")).await.unwrap();
        far_tx.flush().await.unwrap();
        settle().await;
        ((far_tx, far_rx), halves)
    });
    let waiting = tx.clone();
    let other = runtime();
    let mut close = Box::pin(waiting.close());
    other.block_on(async { assert!(cancel_after(1, &mut close).await.is_none()) });
    drop(own);
    other.block_on(async {
        close.await.unwrap_err();
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), b"received");
        assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))));
        assert!(matches!(tx.send(&&b""[..]).await, Err(BareSendError::Lost(_))));
        assert!(matches!(tx.reserve().await, Err(BareSendError::Lost(_))));
    });
    drop(far);
}
