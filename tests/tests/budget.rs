//! Large messages of many peers, which together are more than a listener may buffer: whoever does
//! not get on, or is gone, must not stop the others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use rejoin_tcp::{
    ListenerConfig, StableConduit, StableListener, StableRx, StableTx, Status, SuspendCause,
    TcpLinkListener, TcpSource,
};
use rejoin_tests::scripted::{Scripted, fresh, settings};
use rejoin_tests::{pass, soon};

const MIB: usize = 1 << 20;

fn config() -> ListenerConfig {
    let mut config = ListenerConfig::default();
    config.buffered_bytes_max = 4 * MIB;
    config.conduit.message_bytes_max = 4 * MIB;
    config
}

async fn listen(config: ListenerConfig) -> (SocketAddr, StableListener<String>) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, StableListener::with_config(listener, config).unwrap())
}

type Conduit = (StableTx<String>, StableRx<String>);

async fn open(address: SocketAddr, listener: &mut StableListener<String>) -> (Conduit, Conduit) {
    let client = StableConduit::connect_with(TcpSource::new(address), config().conduit);
    let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
    (client.unwrap().split(), server.unwrap().split())
}

/// A peer that is gone in the middle of a large message: what there was of it is not in the way of
/// others, though its session is kept.
#[tokio::test]
async fn what_a_peer_that_is_gone_did_not_finish_counts_no_more() {
    let mut config = config();
    config.conduit.ping_interval = Duration::from_millis(500);
    config.conduit.peer_dead_after = Duration::from_secs(1);
    let (address, mut listener) = listen(config).await;
    let mut gone = Vec::new();
    for number in 0..4 {
        let (mut peer, _) = soon(Scripted::greet(address, &fresh(number))).await.unwrap();
        peer.send(&settings(1 << 20)).await.unwrap();
        let conduit = soon(listener.accept()).await.unwrap().split();
        peer.send_raw(&(4_u32 << 20).to_le_bytes()).await.unwrap();
        // As much as is taken, and no more. The first have their links read, the others have not.
        for _ in 0..31 {
            let sent = peer.send_raw(&[0; 128 << 10]);
            if tokio::time::timeout(Duration::from_millis(50), sent).await.is_err() {
                break;
            }
        }
        gone.push((peer, conduit));
    }
    for (peer, (tx, _)) in &mut gone {
        let mut status = tx.status();
        let lost = status.wait_for(|status| matches!(status, Status::Suspended { .. }));
        soon(async { tokio::join!(lost, peer.until_end()) }).await.0.unwrap();
    }
    let ((tx, _rx), (_peer_tx, mut peer_rx)) = open(address, &mut listener).await;
    let text = "x".repeat(3 * MIB);
    tx.send(&text).await.unwrap();
    assert!(*soon(peer_rx.recv()).await.unwrap().unwrap() == text);
}

/// Peers that have sent nearly all of a large message and send the rest byte by byte, of which one goes
/// beyond the budget: it may do so for no longer than anybody has to wait.
#[tokio::test]
async fn a_message_that_trickles_does_not_keep_others_out_for_ever() {
    let mut config = config();
    config.conduit.ping_interval = Duration::from_millis(500);
    config.conduit.peer_dead_after = Duration::from_secs(1);
    let (address, mut listener) = listen(config).await;
    let mut trickles = tokio::task::JoinSet::new();
    let mut conduits = Vec::new();
    for number in 0..2 {
        let (mut peer, _) = soon(Scripted::greet(address, &fresh(number))).await.unwrap();
        peer.send(&settings(1 << 20)).await.unwrap();
        conduits.push(soon(listener.accept()).await.unwrap().split());
        peer.send_raw(&(4_u32 << 20).to_le_bytes()).await.unwrap();
        for _ in 0..28 {
            soon(peer.send_raw(&[0; 128 << 10])).await.unwrap();
        }
        trickles.spawn(async move {
            while peer.send_raw(&[0]).await.is_ok() {
                pass(Duration::from_millis(50)).await;
            }
        });
    }
    let ((tx, _rx), (_peer_tx, mut peer_rx)) = open(address, &mut listener).await;
    let text = "x".repeat(3 * MIB);
    tx.send(&text).await.unwrap();
    assert!(*soon(peer_rx.recv()).await.unwrap().unwrap() == text);
    let held_up = |tx: &StableTx<String>| {
        matches!(&*tx.status().borrow(), Status::Suspended { cause: SuspendCause::TooSlow, .. })
    };
    assert!(conduits.iter().any(|(tx, _)| held_up(tx)));
}

/// Peers that all send at the same time what has room only one by one. None has to wait until
/// another is given up.
#[tokio::test]
async fn large_messages_that_come_at_once_all_arrive() {
    let (address, mut listener) = listen(config()).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(open(address, &mut listener).await);
    }
    let mut exchanges = tokio::task::JoinSet::new();
    for ((tx, rx), (peer_tx, mut peer_rx)) in clients {
        exchanges.spawn(async move {
            let _others = (rx, peer_tx);
            let text = "x".repeat(3 * MIB);
            for _ in 0..5 {
                soon(tx.send(&text)).await.unwrap();
                assert_eq!(soon(peer_rx.recv()).await.unwrap().unwrap().len(), text.len());
            }
            tx.stats().resumes
        });
    }
    while let Some(resumes) = exchanges.join_next().await {
        assert_eq!(resumes.unwrap(), 0);
    }
}
