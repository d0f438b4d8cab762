//! A peer that speaks the base profile only, written down byte by byte, in both roles.

use std::time::Duration;

use rejoin_core::protocol::Position;
use rejoin_core::{MemoryConfig, MemoryConnector, MemoryListener, Status, memory_listener};
use tokio::time::Instant;

use crate::common::{
    Conduit, World, expect_all, is_connected, item, number, recv, room, send, send_all, settle,
    until, within,
};
use crate::peer::{Hello, Peer, frame, read_frame};

/// Where a base peer stands. It never says what it has but in a hello.
#[derive(Default)]
struct Silent {
    received: Vec<u64>,
    key: Option<[u8; 16]>,
}

impl Silent {
    fn last(&self) -> Option<u32> {
        u32::try_from(self.received.len()).unwrap().checked_sub(1)
    }

    /// Reads until the link ends, or everything is there.
    async fn read(&mut self, peer: &mut Peer, wanted: usize) {
        while self.received.len() < wanted {
            let Some(payload) = peer.recv().await else { return };
            let (seq, ack, item) = read_frame(&payload);
            assert_eq!(ack, None, "this peer sends nothing");
            assert_eq!(seq as usize, self.received.len(), "in order, and nothing twice");
            self.received.push(number(&item));
        }
    }

    async fn dial(&mut self, connector: &MemoryConnector) -> Peer {
        let mut peer = Peer::dial(connector).await;
        peer.send_client_hello(0, self.key, self.last()).await;
        let answer = peer.recv_server_hello().await;
        assert_eq!(answer.flags, 0, "accepted, in the base profile, nothing received");
        self.key = Some(answer.key);
        peer
    }

    async fn accept(&mut self, listener: &mut MemoryListener) -> Peer {
        let mut peer = Peer::accept(listener).await;
        let hello = peer.recv_client_hello().await;
        assert_eq!(hello.resumes(), self.key.is_some());
        if let Some(key) = self.key {
            assert_eq!(hello.key, key);
        }
        let key = [self.received.len().to_le_bytes()[0]; 16];
        self.key = Some(key);
        peer.send_server_hello(0, key, self.last()).await;
        peer
    }
}

const LOG: usize = 10;
const MANY: usize = 10 * LOG;

#[tokio::test(start_paused = true)]
async fn a_silent_initiator_gets_ten_times_the_log() {
    let mut world = World::with(MemoryConfig::default(), room(LOG, LOG));
    let mut silent = Silent::default();
    let mut peer = silent.dial(&world.connector).await;
    let (tx, _rx) = within(world.listener.accept()).await.unwrap().split();
    let start = Instant::now();
    let sender = tx.clone();
    let sending = tokio::spawn(async move {
        send_all(&sender, 0..MANY as u64).await;
        within(sender.flush_acked()).await.unwrap();
    });
    while !sending.is_finished() {
        // Silent, but it comes back when the link ends.
        silent.read(&mut peer, usize::MAX).await;
        if sending.is_finished() {
            break;
        }
        peer = silent.dial(&world.connector).await;
        settle().await;
    }
    within(sending).await.unwrap();
    assert_eq!(silent.received, (0..MANY as u64).collect::<Vec<_>>());
    let stats = tx.stats();
    assert_eq!((stats.send_log_bytes, stats.messages_replayed), (0, 0), "{stats:?}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(world.listener.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_acceptor_gets_ten_times_the_log() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let dial = tokio::spawn(Conduit::connect_with(connector.source(), room(LOG, LOG)));
    let mut silent = Silent::default();
    let mut peer = Peer::accept(&mut listener).await;
    let hello = peer.recv_client_hello().await;
    // Its flag for the extended profile means nothing to this peer.
    assert_eq!((hello.resumes(), hello.last()), (false, None));
    peer.send_server_hello(0, [9; 16], None).await;
    silent.key = Some([9; 16]);
    let (tx, rx) = within(dial).await.unwrap().unwrap().split();
    let start = Instant::now();
    let sender = tx.clone();
    let sending = tokio::spawn(async move {
        send_all(&sender, 0..MANY as u64).await;
        within(sender.close()).await.unwrap();
    });
    let serving = async {
        loop {
            silent.read(&mut peer, usize::MAX).await;
            peer = silent.accept(&mut listener).await;
        }
    };
    tokio::select! {
        () = serving => {}
        sent = sending => sent.unwrap(),
    }
    assert_eq!(silent.received, (0..MANY as u64).collect::<Vec<_>>());
    let stats = tx.stats();
    assert_eq!((stats.send_log_bytes, stats.messages_replayed), (0, 0), "{stats:?}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(matches!(*rx.status().borrow(), Status::Closed { .. }));
}

/// One receipt that somebody waits for is enough reason to ask, a full log is not needed.
#[tokio::test(start_paused = true)]
async fn a_receipt_from_a_silent_acceptor_takes_one_handshake() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let dial = tokio::spawn(Conduit::connect(connector.source()));
    let mut silent = Silent::default();
    let mut peer = silent.accept(&mut listener).await;
    let (tx, _rx) = within(dial).await.unwrap().unwrap().split();
    let position = send(&tx, 0).await.unwrap();
    silent.read(&mut peer, 1).await;
    crate::common::pass(Duration::from_secs(600)).await;
    assert_eq!(tx.stats().resumes, 0, "nobody asks, and silence is no sign of death");
    let serving = async {
        silent.read(&mut peer, usize::MAX).await;
        silent.accept(&mut listener).await
    };
    let (acked, _peer) = within(async { tokio::join!(tx.acked(position), serving) }).await;
    acked.unwrap();
    assert_eq!(tx.stats().resumes, 1);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_ride_on_data_and_a_resume_replays_the_rest() {
    let mut world = World::new();
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(0, None, None).await;
    let Hello { key, .. } = peer.recv_server_hello().await;
    let far = within(world.listener.accept()).await.unwrap();
    let mut status = far.status();
    let (tx, mut rx) = far.split();
    send_all(&tx, 0..3).await;
    for n in 0..3 {
        assert_eq!(peer.recv().await.unwrap(), frame(n, None, &item(n.into())));
    }
    peer.send_item(0, Some(0), &item(100)).await;
    expect_all(&mut rx, 100..101).await;
    within(tx.acked(Position::new(0))).await.unwrap();
    send(&tx, 3).await.unwrap();
    assert_eq!(peer.recv().await.unwrap(), frame(3, Some(0), &item(3)));
    peer.send_item(1, None, &item(101)).await;
    expect_all(&mut rx, 101..102).await;

    // Item 2 and 3 never made it, as far as the peer is concerned; its item 2 was lost, too.
    drop(peer);
    until(&mut status, |status| !is_connected(status)).await;
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(0, Some(key), Some(1)).await;
    let answer = peer.recv_server_hello().await;
    assert_eq!((answer.flags, answer.last()), (0x02, Some(1)));
    assert_ne!(answer.key, key);
    for n in 2..4 {
        // Heads are made anew, with the acknowledgement of today.
        assert_eq!(peer.recv().await.unwrap(), frame(n, Some(1), &item(n.into())));
    }
    assert_eq!(tx.stats().messages_replayed, 2);
    peer.send_item(1, None, &item(101)).await;
    peer.send_item(2, Some(3), &item(102)).await;
    expect_all(&mut rx, 102..103).await;
    within(tx.flush_acked()).await.unwrap();
    assert_eq!((tx.stats().messages_duplicate, tx.stats().send_log_bytes), (1, 0));

    // A gap costs the link; what is missing comes on the next.
    peer.send_item(4, None, &item(104)).await;
    assert_eq!(peer.recv().await, None);
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(0, Some(answer.key), Some(3)).await;
    assert_eq!(peer.recv_server_hello().await.last(), Some(2));
    peer.send_item(3, None, &item(103)).await;
    peer.send_item(4, None, &item(104)).await;
    expect_all(&mut rx, 103..105).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_rejected_in_the_base_profiles_words() {
    let world = World::new();
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(0, Some([3; 16]), Some(8)).await;
    let expected = Hello { flags: 0x01, key: [0; 16], number: 0 };
    assert_eq!(peer.recv_server_hello().await, expected);
    assert_eq!(peer.recv().await, None);
}

/// The other way round: this side is told that its session is gone.
#[tokio::test(start_paused = true)]
async fn a_rejection_by_a_base_acceptor_gives_back_what_it_may_lack() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let dial = tokio::spawn(Conduit::connect(connector.source()));
    let mut peer = Silent::default().accept(&mut listener).await;
    let (tx, mut rx) = within(dial).await.unwrap().unwrap().split();
    send_all(&tx, 0..2).await;
    peer.send_item(0, None, &item(0)).await;
    expect_all(&mut rx, 0..1).await;
    drop(peer);
    let mut peer = Peer::accept(&mut listener).await;
    assert_eq!(peer.recv_client_hello().await.last(), Some(0));
    peer.send(&crate::peer::hello(*b"ROSH", 0x01, [0; 16], None)).await;
    within(recv(&mut rx)).await.unwrap_err();
    assert_eq!(tx.take_unacknowledged().len(), 2);
}
