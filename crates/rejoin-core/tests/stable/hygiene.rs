//! What a conduit must not do: spin, sleep on news, keep memory or tasks after its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rejoin_core::{
    MemoryConfig, Raw, StableConduit, StableConfig, StableListener, Status, memory_listener,
};
use tokio::runtime::Handle;

use crate::common::{
    Conduit, World, expect_all, fill, is_connected, is_suspended, item, narrow, recv, room, send,
    send_all, settle, until, within,
};
use crate::faults::Plan;
use crate::peer::{EXTENDED, Peer, frame};

/// How often a driver may look at its link in a test in which little happens.
const FEW: usize = 2000;

#[tokio::test(start_paused = true)]
async fn an_idle_conduit_sleeps_between_its_pings() {
    let mut world = World::new();
    let plan = Plan::new();
    plan.recvs_max.store(FEW, Ordering::Relaxed);
    let dial = Conduit::connect(plan.source(&world.connector));
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let near = near.unwrap();
    crate::common::pass(Duration::from_secs(600)).await;
    assert!(is_connected(&near.status().borrow()));
    let far = far.unwrap();
    // One ping is a sign of life for both.
    let measured = near.stats().round_trip.or(far.stats().round_trip);
    assert_eq!(measured, Some(Duration::ZERO), "pings are answered");
    // Twice 120 pings and pongs, and the timers that lead to them.
    assert!(plan.recvs.load(Ordering::Relaxed) < FEW);
}

/// An acknowledgement falls due while the link takes nothing.
#[tokio::test(start_paused = true)]
async fn a_peer_that_writes_and_does_not_read_is_no_reason_to_spin() {
    let (mut listener, connector) = memory_listener(narrow(2));
    let plan = Plan::new();
    plan.recvs_max.store(FEW, Ordering::Relaxed);
    let dial = tokio::spawn(Conduit::connect(plan.source(&connector)));
    let mut peer = Peer::accept(&mut listener).await;
    peer.recv_client_hello().await;
    peer.send_server_hello(EXTENDED, [1; 16], None).await;
    let near = within(dial).await.unwrap().unwrap();
    peer.send_settings(1 << 20).await;
    let mut status = near.status();
    let (near_tx, mut near_rx) = near.split();
    send_all(&near_tx, 0..20).await;
    // The link is stuck by now.
    settle().await;
    peer.send_item(0, None, &item(0)).await;
    expect_all(&mut near_rx, 0..1).await;
    let start = tokio::time::Instant::now();
    let suspended = until(&mut status, is_suspended).await;
    assert!(start.elapsed() <= Duration::from_secs(20), "{suspended:?}");
    assert!(plan.recvs.load(Ordering::Relaxed) < FEW);
}

/// The same, while the application does not read either and the peer knows no window.
#[tokio::test(start_paused = true)]
async fn a_base_peer_is_left_alone_while_the_inbox_is_full() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let plan = Plan::new();
    plan.recvs_max.store(FEW, Ordering::Relaxed);
    let config = room(10, 10);
    let dial = tokio::spawn(Conduit::connect_with(plan.source(&connector), config));
    let mut peer = Peer::accept(&mut listener).await;
    peer.recv_client_hello().await;
    peer.send_server_hello(0, [1; 16], None).await;
    let (near_tx, mut near_rx) = within(dial).await.unwrap().unwrap().split();
    for n in 0..500 {
        peer.send_item(n, None, &item(n.into())).await;
        tokio::task::yield_now().await;
    }
    crate::common::pass(Duration::from_secs(60)).await;
    assert!(near_tx.stats().inbox_bytes < 2 * 10 * 40, "{:?}", near_tx.stats());
    expect_all(&mut near_rx, 0..500).await;
}

/// The writing half fails and the reading half stays silent.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_noticed_at_once() {
    let mut world = World::new();
    let plan = Plan::new();
    plan.writes_to_break.store(1, Ordering::Relaxed);
    let dial = Conduit::connect(plan.source(&world.connector));
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let (near_tx, _near_rx) = near.unwrap().split();
    let (_far_tx, mut far_rx) = far.unwrap().split();
    settle().await;
    let start = tokio::time::Instant::now();
    send(&near_tx, 0).await.unwrap();
    expect_all(&mut far_rx, 0..1).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// As above; a base peer is not pinged, so nothing else would ever wake the driver.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_noticed_with_a_base_peer_also_when_the_inbox_is_full() {
    for inbox_full in [false, true] {
        let (mut listener, connector) = memory_listener(MemoryConfig::default());
        let plan = Plan::new();
        plan.writes_to_break.store(1, Ordering::Relaxed);
        let dial = tokio::spawn(Conduit::connect_with(plan.source(&connector), room(10, 10)));
        let mut peer = Peer::accept(&mut listener).await;
        peer.recv_client_hello().await;
        peer.send_server_hello(0, [1; 16], None).await;
        let near = within(dial).await.unwrap().unwrap();
        let (near_tx, _near_rx) = near.split();
        if inbox_full {
            for n in 0..20 {
                peer.send_item(n, None, &item(0)).await;
            }
            settle().await;
        }
        send_all(&near_tx, 0..2).await;
        let mut again = Peer::accept(&mut listener).await;
        assert!(again.recv_client_hello().await.resumes());
    }
}

#[tokio::test(start_paused = true)]
async fn no_task_and_no_session_is_left_when_everything_is_dropped() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let base = tasks();
    for closes in [true, false] {
        let mut world = World::with(MemoryConfig::default(), room(50, 50));
        let mut conduits = Vec::new();
        for _ in 0..5 {
            let (near, far) = world.open_with(room(50, 50)).await;
            let (near, far) = (near.split(), far.split());
            send_all(&near.0, 0..20).await;
            send_all(&far.0, 0..20).await;
            conduits.push((near, far));
        }
        world.network.cut_links();
        settle().await;
        for ((near_tx, near_rx), far) in conduits {
            if closes {
                within(near_tx.close()).await.unwrap();
            }
            drop((near_rx, far));
        }
        crate::common::pass(Duration::from_secs(30)).await;
        assert_eq!(world.listener.sessions(), 0);
        drop(world);
        settle().await;
        assert_eq!(tasks(), base, "closes: {closes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_goes_takes_the_waiting_and_leaves_the_living() {
    let base = Handle::current().metrics().num_alive_tasks();
    let mut world = World::new();
    let (near, far) = world.open().await;
    let waiting = world.connect(StableConfig::default()).await.unwrap();
    settle().await;
    drop(world.listener);
    // Nobody will ever accept this one, and it is told so.
    let (_tx, mut rx) = waiting.split();
    assert_eq!(within(recv(&mut rx)).await.unwrap(), None);
    let (near_tx, _near_rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    send_all(&near_tx, 0..3).await;
    expect_all(&mut far_rx, 0..3).await;
    // Without its link it is lost, and not only when it would have expired.
    world.network.cut_links();
    let start = tokio::time::Instant::now();
    let mut status = far_tx.status();
    until(&mut status, Status::is_final).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop((near_tx, _near_rx, _tx, rx, far_tx, far_rx));
    crate::common::pass(Duration::from_secs(30)).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), base);
}

#[tokio::test(start_paused = true)]
async fn a_conduit_that_has_ended_keeps_no_messages() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<Raw>::new(listener);
    let dial = StableConduit::<Raw>::connect(connector.source());
    let (near, far) = within(async { tokio::join!(dial, listener.accept()) }).await;
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) =
        (near.unwrap().split(), far.unwrap().split());
    send_all(&near_tx, 0..50).await;
    expect_all(&mut far_rx, 0..50).await;
    let watching = near_tx.clone();
    within(near_tx.close()).await.unwrap();
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    settle().await;
    for tx in [&watching, &far_tx] {
        let stats = tx.stats();
        assert_eq!((stats.send_log_bytes, stats.inbox_bytes), (0, 0));
        assert!(tx.take_unacknowledged().is_empty());
        assert!(tx.try_send(&&item(0)[..]).is_err());
    }
    assert_eq!(listener.sessions(), 0);
}

/// Memory that is not needed is given back a second after it was; here that is when a message comes.
#[tokio::test(start_paused = true)]
async fn what_comes_while_memory_is_given_back_is_received() {
    let (mut world, plan) = (World::new(), Plan::new());
    let dial = Conduit::connect(plan.source(&world.connector));
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let ((_near_tx, mut near_rx), (far_tx, _far_rx)) =
        (near.unwrap().split(), far.unwrap().split());
    plan.stutters.store(true, Ordering::Relaxed);
    for number in 0..10 {
        send(&far_tx, number).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(within(recv(&mut near_rx)).await.unwrap(), Some(number));
    }
}

/// Somebody holds a permit and does not use it, others wait for room, and the base peer never says
/// a word of its own accord.
#[tokio::test(start_paused = true)]
async fn a_permit_that_is_held_does_not_keep_a_silent_peer_from_being_asked() {
    let (mut listener, connector) = memory_listener(MemoryConfig::default());
    let dial = tokio::spawn(Conduit::connect_with(connector.source(), room(10, 10)));
    let mut peer = Peer::accept(&mut listener).await;
    peer.recv_client_hello().await;
    peer.send_server_hello(0, [1; 16], None).await;
    let (near_tx, _near_rx) = within(dial).await.unwrap().unwrap().split();
    let permit = within(near_tx.reserve()).await.unwrap();
    let sent = fill(&near_tx);
    for n in 0..sent {
        assert_eq!(peer.recv().await.unwrap(), frame(n.try_into().unwrap(), None, &item(n)));
    }
    let waiting = send(&near_tx, sent);
    let answering = async {
        let mut peer = Peer::accept(&mut listener).await;
        assert!(peer.recv_client_hello().await.resumes());
        peer.send_server_hello(0, [2; 16], Some(u32::try_from(sent).unwrap() - 1)).await;
        peer
    };
    let (waited, _peer) = within(async { tokio::join!(waiting, answering) }).await;
    waited.unwrap();
    permit.send(&&item(0)[..]).unwrap();
}

/// The inbox was full when the session ended, so the last thing that the reader was told is to read
/// nothing.
#[test]
fn a_close_with_a_full_inbox_and_a_base_peer_waits_for_the_link_without_spinning() {
    let (done, ended) = std::sync::mpsc::sync_channel(1);
    // On a thread of its own: paused time does not pass while a task spins, so the test would hang.
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut listener, connector) = memory_listener(MemoryConfig::default());
            let plan = Plan::new();
            let dial = tokio::spawn(Conduit::connect_with(plan.source(&connector), room(10, 10)));
            let mut peer = Peer::accept(&mut listener).await;
            peer.recv_client_hello().await;
            peer.send_server_hello(0, [1; 16], None).await;
            let (near_tx, _near_rx) = within(dial).await.unwrap().unwrap().split();
            for n in 0..20 {
                peer.send_item(n, None, &item(n.into())).await;
            }
            settle().await;
            within(near_tx.close()).await.unwrap();
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(10)).expect("the driver spins");
}
