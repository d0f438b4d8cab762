//! A conduit on the accepting side of a link with one peer only: no listener, no table.

use rejoin_core::protocol::LossReason;
use rejoin_core::{
    AcceptorConfig, AcceptorSource, MemoryConfig, MemoryConnector, MemoryListener, RecvError,
    StableConfig, Status, memory_listener,
};

use crate::common::{
    Conduit, expect_all, is_suspended, item, poll_times, recv, send, send_all, settle, until,
    within,
};
use crate::peer::{EXTENDED, Peer};

fn acceptor() -> (AcceptorSource<MemoryListener>, MemoryConnector) {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    (AcceptorSource::new(listener, AcceptorConfig::default()), connector)
}

async fn pair() -> (Conduit, Conduit, MemoryConnector) {
    let (source, connector) = acceptor();
    let both =
        async { tokio::join!(Conduit::connect(connector.source()), Conduit::connect(source)) };
    let (near, far) = within(both).await;
    (near.unwrap(), far.unwrap(), connector)
}

#[tokio::test(start_paused = true)]
async fn it_waits_to_be_called_and_survives_cuts() {
    let (source, connector) = acceptor();
    let far = tokio::spawn(Conduit::connect(source));
    crate::common::pass(std::time::Duration::from_secs(3600)).await;
    assert!(!far.is_finished(), "for as long as it takes");
    let near = within(Conduit::connect(connector.source())).await.unwrap();
    let far = within(far).await.unwrap().unwrap();
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = (near.split(), far.split());
    for n in 0..20 {
        send(&near_tx, n).await.unwrap();
        send(&far_tx, n).await.unwrap();
        connector.network().cut_links();
        expect_all(&mut near_rx, n..n + 1).await;
        expect_all(&mut far_rx, n..n + 1).await;
    }
    within(far_tx.close()).await.unwrap();
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
}

/// Half-open: the acceptor believes in its old link when the peer comes with a new one.
#[tokio::test(start_paused = true)]
async fn the_peer_can_come_back_while_its_old_link_seems_alive() {
    let (source, connector) = acceptor();
    let far = tokio::spawn(Conduit::connect(source));
    let mut first = Peer::dial(&connector).await;
    first.send_client_hello(EXTENDED, None, None).await;
    let key = first.recv_server_hello().await.key;
    first.send_settings(1 << 20).await;
    let (tx, mut rx) = within(far).await.unwrap().unwrap().split();
    let mut second = Peer::dial(&connector).await;
    second.send_client_hello(EXTENDED, Some(key), None).await;
    assert_eq!(second.recv_server_hello().await.flags, EXTENDED);
    second.send_settings(1 << 20).await;
    second.send_item(0, None, &item(0)).await;
    expect_all(&mut rx, 0..1).await;
    while first.recv().await.is_some() {}
    assert_eq!(tx.stats().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_peer_ends_the_session_and_says_so() {
    let (near, far, connector) = pair().await;
    let mut status = far.status();
    let ((near_tx, _near_rx), (far_tx, mut far_rx)) = (near.split(), far.split());
    send_all(&near_tx, 0..2).await;
    settle().await;
    connector.network().freeze_links();
    send_all(&far_tx, 0..3).await;
    // Another process in the place of the first, which knows of nothing.
    let _fresh = tokio::spawn(Conduit::connect(connector.source()));
    until(&mut status, Status::is_final).await;
    expect_all(&mut far_rx, 0..2).await;
    let RecvError::Lost(lost) = within(recv(&mut far_rx)).await.unwrap_err() else { panic!() };
    assert_eq!(lost.reason, LossReason::PeerRestarted);
    assert_eq!((lost.acknowledged, lost.accepted), (0, 3));
    assert_eq!(far_tx.take_unacknowledged().len(), 3);
}

/// Somebody calls, says hello and is gone before the application has heard of it; the next caller
/// is the first as far as anybody knows.
#[tokio::test(start_paused = true)]
async fn a_caller_that_vanishes_does_not_spoil_the_place_for_the_next() {
    let (source, connector) = acceptor();
    let far = tokio::spawn(Conduit::connect(source));
    let mut gone = Peer::dial(&connector).await;
    gone.send(&crate::peer::hello(*b"ROCH", EXTENDED, [7; 16], None)).await;
    gone.recv_server_hello().await;
    drop(gone);
    settle().await;
    let near = within(Conduit::connect(connector.source())).await.unwrap();
    let far = within(far).await.unwrap().expect("opened");
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
    send(&near_tx, 0).await.unwrap();
    expect_all(&mut far_rx, 0..1).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_frees_the_listener() {
    for called in [false, true] {
        let (source, connector) = acceptor();
        let gone = if called {
            let mut peer = Peer::dial(&connector).await;
            peer.send_client_hello(EXTENDED, None, None).await;
            Some(peer)
        } else {
            None
        };
        let waiting = Conduit::connect_with(source, StableConfig::default());
        assert!(poll_times(waiting, 1, crate::common::Drop::Pending).await.is_none());
        settle().await;
        assert!(connector.listen_again().is_ok(), "the listener was dropped; called: {called}");
        drop(gone);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_suspended_without_attempts_of_its_own() {
    let (near, far, connector) = pair().await;
    connector.network().refuse_dials();
    connector.network().cut_links();
    let suspended = until(&mut far.status(), is_suspended).await;
    let Status::Suspended { attempts, retry_at, .. } = suspended else { unreachable!() };
    assert_eq!((attempts, retry_at), (0, None));
    drop(near);
}
