//! A process that was stopped itself, such as a laptop that slept, and one that was not: what its
//! clock says of the peer counts in the second case only.

use std::time::Duration;

use rejoin_core::{
    MemoryConfig, MemoryListener, StableConfig, Status, SuspendCause, memory_listener,
};

use crate::common::{Conduit, is_suspended, narrow, send_all, settle, until, within};
use crate::peer::{EXTENDED, Peer, read_frame};

/// A conduit and its peer, whose links take what `memory` says.
async fn writing(memory: MemoryConfig, config: StableConfig) -> (Conduit, Peer, MemoryListener) {
    let (mut listener, connector) = memory_listener(memory);
    let dial = within(Conduit::connect_with(connector.source(), config));
    let (conduit, peer) = tokio::join!(dial, async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.recv_client_hello().await;
        peer.send_server_hello(EXTENDED, [1; 16], None).await;
        peer.send_settings(1 << 20).await;
        peer
    });
    (conduit.unwrap(), peer, listener)
}

const ITEMS: u64 = 100;

/// The frames of a real session that the peer reads up to the last item.
async fn read_items(peer: &mut Peer) {
    let mut next = 0;
    while next < ITEMS {
        let payload = peer.recv().await.expect("the link lives");
        if payload[1] < 2 {
            assert_eq!(u64::from(read_frame(&payload).0), next);
            next += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_while_writing_holds_nothing_against_the_link() {
    let (conduit, mut peer, _listener) = writing(narrow(5), StableConfig::default()).await;
    let (tx, _rx) = conduit.split();
    send_all(&tx, 0..ITEMS).await;
    settle().await;
    // Nobody's timer fires in this hour.
    tokio::time::advance(Duration::from_secs(3600)).await;
    settle().await;
    read_items(&mut peer).await;
    assert!(matches!(&*tx.status().borrow(), Status::Connected { generation: 1, .. }));
}

/// What is late is measured by the time-out: an eye that closes for less than a second counts, too.
#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_for_a_moment_leaves_nobody_with_a_short_time_out() {
    let mut config = StableConfig::default();
    config.ping_interval = Duration::from_millis(100);
    config.peer_dead_after = Duration::from_millis(400);
    let (conduit, mut peer, _listener) = writing(narrow(5), config).await;
    let (tx, _rx) = conduit.split();
    send_all(&tx, 0..ITEMS).await;
    crate::common::pass(Duration::from_millis(50)).await;
    tokio::time::advance(Duration::from_millis(900)).await;
    crate::common::pass(Duration::from_millis(50)).await;
    read_items(&mut peer).await;
    assert!(matches!(&*tx.status().borrow(), Status::Connected { generation: 1, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_loses_its_link_though_it_talks() {
    let (conduit, mut peer, _listener) = writing(narrow(5), StableConfig::default()).await;
    let (tx, _rx) = conduit.split();
    send_all(&tx, 0..ITEMS).await;
    let mut status = tx.status();
    let pinging = async {
        loop {
            crate::common::pass(Duration::from_secs(1)).await;
            // A ping; the link may be gone by now.
            let _ = peer.try_send(&[0, 4, 1]).await;
        }
    };
    let suspended = tokio::select! {
        status = until(&mut status, is_suspended) => status,
        () = pinging => unreachable!("pings for ever"),
    };
    let Status::Suspended { cause, .. } = suspended else { unreachable!() };
    assert!(matches!(cause, SuspendCause::WriteStalled), "{cause}");
}

/// On a machine that is always late a link that takes nothing is found out, too.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_always_late_leaves_a_link_that_takes_nothing() {
    let (conduit, mut peer, _listener) = writing(narrow(5), StableConfig::default()).await;
    let (tx, _rx) = conduit.split();
    send_all(&tx, 0..ITEMS).await;
    settle().await;
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(22)).await;
        settle().await;
        // The peer lives, and the link may be gone by now.
        let _ = peer.try_send(&[0, 4, 1]).await;
        settle().await;
    }
    let status = tx.status().borrow().clone();
    let Status::Suspended { cause, .. } = status else { panic!("{status:?}") };
    assert!(
        matches!(cause, SuspendCause::WriteStalled | SuspendCause::AttemptFailed(_)),
        "{cause}"
    );
}

/// A laptop that wakes for a moment every hour, and hears its peer each time: what counts is how long
/// it was awake in all.
#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_again_and_again_holds_nothing_against_the_link() {
    let (conduit, mut peer, _listener) = writing(narrow(5), StableConfig::default()).await;
    let (tx, _rx) = conduit.split();
    send_all(&tx, 0..ITEMS).await;
    settle().await;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(3600)).await;
        settle().await;
        peer.try_send(&[0, 4, 1]).await.unwrap();
        settle().await;
    }
    read_items(&mut peer).await;
    assert!(matches!(&*tx.status().borrow(), Status::Connected { generation: 1, .. }));
}
