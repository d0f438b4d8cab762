//! Who is let in: the application's say, the identity of a session, and the rate of handshakes.

use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_core::protocol::{LossReason, Profile, RejectReason};
use rejoin_core::{
    ConnectError, Link, LinkListener, ListenerConfig, MemoryConfig, MemoryConnector,
    MemoryListener, MemoryRx, MemoryTx, Raw, SplitLink, StableConfig, StableListener, Status,
    memory_listener,
};
use tokio::time::Instant;

use crate::common::{
    Conduit, World, expect_all, is_connected, is_suspended, item, send, settle, until, within,
};
use crate::peer::{EXTENDED, Peer, hello};

/// Gives each peer the identity that is current when it is accepted.
struct Named {
    listener: MemoryListener,
    identity: Arc<Mutex<Option<&'static str>>>,
}

impl LinkListener for Named {
    type Link = SplitLink<MemoryTx, MemoryRx>;
    type Upgrade = std::future::Ready<io::Result<Self::Link>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let link = self.listener.accept().await?.await?;
        let mut peer = link.peer();
        if let Some(identity) = *self.identity.lock().unwrap() {
            peer = peer.with_identity(identity);
        }
        let (tx, rx) = link.split();
        Ok(std::future::ready(Ok(SplitLink::new(tx, rx, peer))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_application_sees_every_hello() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let config = ListenerConfig::default();
    let listener = StableListener::<Raw>::with_admission(listener, config, move |candidate| {
        assert!(candidate.peer.address().unwrap().starts_with("memory:"));
        notes.lock().unwrap().push((candidate.resumes, candidate.profile));
        Ok(())
    });
    let network = connector.network().clone();
    let mut world = World { listener: listener.unwrap(), connector, network };
    let (near, _far) = world.open().await;
    settle().await;
    world.network.cut_links();
    until(&mut near.status(), |status| matches!(status, Status::Connected { generation: 2, .. }))
        .await;
    let mut config = StableConfig::default();
    config.profile = Profile::Base;
    let (_base, _) = world.open_with(config).await;
    // A key that nobody gave out is a hello like any other.
    let mut stranger = Peer::dial(&world.connector).await;
    stranger.send_client_hello(EXTENDED, Some([3; 16]), None).await;
    assert_eq!(stranger.recv_server_hello().await.number, RejectReason::UnknownKey.code());
    let expected = [
        (false, Profile::Extended),
        (true, Profile::Extended),
        (false, Profile::Base),
        (false, Profile::Extended),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_the_link_only() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let verdict = Arc::new(AtomicU16::new(0));
    let (shown, config) = (Arc::clone(&verdict), ListenerConfig::default());
    let listener = StableListener::<Raw>::with_admission(listener, config, move |_| {
        match shown.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err(RejectReason::Full),
            _ => Err(RejectReason::Forbidden),
        }
    });
    let network = connector.network().clone();
    let mut world = World { listener: listener.unwrap(), connector, network };
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves().await;
    settle().await;

    verdict.store(2, Ordering::Relaxed);
    let error = world.connect(StableConfig::default()).await.unwrap_err();
    let forbidden = LossReason::Rejected(RejectReason::Forbidden);
    assert!(matches!(&error, ConnectError::Refused(reason) if *reason == forbidden), "{error:?}");
    assert!(!error.is_transient());
    assert_eq!(world.listener.sessions(), 1);
    send(&near_tx, 0).await.unwrap();
    expect_all(&mut far_rx, 0..1).await;

    verdict.store(1, Ordering::Relaxed);
    world.network.cut_links();
    let mut status = near_tx.status();
    until(&mut status, |status| matches!(status, Status::Suspended { attempts: 3.., .. })).await;
    assert_eq!(world.listener.sessions(), 1);
    verdict.store(0, Ordering::Relaxed);
    until(&mut status, is_connected).await;
    send(&near_tx, 1).await.unwrap();
    expect_all(&mut far_rx, 1..2).await;
}

/// A listener whose peers have identities.
fn named() -> (StableListener<Raw>, MemoryConnector, Arc<Mutex<Option<&'static str>>>) {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let identity = Arc::new(Mutex::new(Some("alice")));
    let listener = Named { listener, identity: Arc::clone(&identity) };
    (StableListener::new(listener), connector, identity)
}

/// KEY-8.
#[tokio::test(start_paused = true)]
async fn a_stolen_key_is_of_no_use_under_another_identity() {
    let (mut listener, connector, identity) = named();
    let mut alice = Peer::dial(&connector).await;
    alice.send_client_hello(EXTENDED, None, None).await;
    let key = alice.recv_server_hello().await.key;
    alice.send_settings(1 << 20).await;
    let (far_tx, mut far_rx) = within(listener.accept()).await.unwrap().split();
    for thief in [Some("mallory"), None, Some("Alice")] {
        *identity.lock().unwrap() = thief;
        let mut mallory = Peer::dial(&connector).await;
        mallory.send_client_hello(EXTENDED, Some(key), None).await;
        let answer = mallory.recv_server_hello().await;
        assert_eq!((answer.flags, answer.number), (EXTENDED | 1, RejectReason::Forbidden.code()));
        assert_eq!(answer.key, [0; 16]);
        assert_eq!(mallory.recv().await, None);
    }
    // The link of the session is the same, and so is its key.
    assert!(matches!(*far_tx.status().borrow(), Status::Connected { generation: 1, .. }));
    alice.send_item(0, None, &item(0)).await;
    expect_all(&mut far_rx, 0..1).await;
    *identity.lock().unwrap() = Some("alice");
    let mut again = Peer::dial(&connector).await;
    again.send_client_hello(EXTENDED, Some(key), None).await;
    assert_eq!(again.recv_server_hello().await.last(), Some(0));
    assert!(matches!(*far_tx.status().borrow(), Status::Connected { generation: 2, .. }));
}

/// Nor is the first hello, as long as it can be repeated.
#[tokio::test(start_paused = true)]
async fn a_stolen_nonce_is_of_no_use_either() {
    let (listener, connector, identity) = named();
    let fresh = hello(*b"ROCH", EXTENDED, [5; 16], None);
    let mut alice = Peer::dial(&connector).await;
    alice.send(&fresh).await;
    let key = alice.recv_server_hello().await.key;
    *identity.lock().unwrap() = Some("mallory");
    let mut mallory = Peer::dial(&connector).await;
    mallory.send(&fresh).await;
    assert_eq!(mallory.recv_server_hello().await.number, RejectReason::Forbidden.code());
    *identity.lock().unwrap() = Some("alice");
    let mut again = Peer::dial(&connector).await;
    again.send(&fresh).await;
    assert_eq!(again.recv_server_hello().await.key, key);
    assert_eq!(listener.sessions(), 1);
}

/// Conduits of ours, across cuts and a thief who comes in between.
#[tokio::test(start_paused = true)]
async fn identities_are_no_hindrance_to_their_owners() {
    let (mut listener, connector, identity) = named();
    let dial = Conduit::connect(connector.source());
    let (near, far) = within(async { tokio::join!(dial, listener.accept()) }).await;
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) =
        (near.unwrap().split(), far.unwrap().split());
    for n in 0..5 {
        send(&near_tx, n).await.unwrap();
        connector.network().cut_links();
        expect_all(&mut far_rx, n..n + 1).await;
    }
    // The same client under another name is another client.
    *identity.lock().unwrap() = Some("bob");
    connector.network().cut_links();
    let end = until(&mut near_tx.status(), Status::is_final).await;
    let forbidden = LossReason::Rejected(RejectReason::Forbidden);
    assert!(matches!(&end, Status::Lost(reason) if *reason == forbidden), "{end:?}");
    until(&mut far_rx.status(), is_suspended).await;
}

/// Ten at once, then ten a second; all of them in the end.
#[tokio::test(start_paused = true)]
async fn handshakes_are_limited_in_their_rate_and_none_is_lost() {
    const PEERS: u32 = 45;
    let mut config = ListenerConfig::default();
    config.handshakes_per_second_max = NonZeroU32::new(10).unwrap();
    let mut world = World::with_listener(MemoryConfig::default(), config);
    let start = Instant::now();
    let dials: Vec<_> =
        (0..PEERS).map(|_| tokio::spawn(Conduit::connect(world.connector.source()))).collect();
    let mut accepted = Vec::new();
    for n in 1..=PEERS {
        accepted.push(within(world.listener.accept()).await.unwrap());
        let earliest = Duration::from_millis(100) * n.saturating_sub(11);
        let took = start.elapsed();
        assert!(took >= earliest, "{n} after {took:?}");
        assert!(took <= earliest + Duration::from_millis(250), "{n} after {took:?}");
    }
    for dial in dials {
        within(dial).await.unwrap().unwrap();
    }
    assert_eq!(world.listener.handshakes().accepted, u64::from(PEERS));
}
