//! A listener that drains: what its peers hear, who is still let in, and who is reported.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rejoin_core::protocol::{LossReason, RejectReason};
use rejoin_core::{
    Drained, LinkListener, MemoryConfig, MemoryLink, MemoryListener, StableConfig, StableListener,
    Status, Unfinished, memory_listener,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::common::{
    World, expect_all, is_connected, narrow, pass, recv, room, send, send_all, settle, until,
    within,
};
use crate::peer::{EXTENDED, Peer};

const RETRY_AFTER: Duration = Duration::from_secs(7);

/// Begins to drain, and gives what is left of the world.
async fn drain(world: World, limit: Duration) -> (JoinHandle<Drained>, World) {
    let World { listener, connector, network } = world;
    let draining = tokio::spawn(listener.drain(RETRY_AFTER, limit));
    // Room for another one; nobody calls it.
    let mut rest = World::new();
    (rest.connector, rest.network) = (connector, network);
    settle().await;
    (draining, rest)
}

fn going_away(status: &Status) -> Option<Duration> {
    match status {
        Status::Connected { going_away, .. } => *going_away,
        _ => None,
    }
}

/// AWAY-1, AWAY-2, AWAY-3.
#[tokio::test(start_paused = true)]
async fn it_is_announced_and_who_finds_nobody_waits_for_as_long_as_asked() {
    let mut world = World::new();
    let ((near_tx, _near_rx), (far_tx, mut far_rx)) = world.halves().await;
    let mut status = near_tx.status();
    let start = Instant::now();
    let (draining, world) = drain(world, Duration::from_secs(600)).await;
    assert_eq!(going_away(&status.borrow()), Some(RETRY_AFTER));
    send_all(&near_tx, 0..3).await;
    expect_all(&mut far_rx, 0..3).await;

    // It comes back at once as if nothing was, and hears again that the end is near.
    world.network.cut_links();
    until(&mut status, |status| matches!(status, Status::Connected { generation: 2, .. })).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    until(&mut status, |status| going_away(status) == Some(RETRY_AFTER)).await;

    // Only who finds nobody there waits for as long as was asked.
    world.network.refuse_dials();
    world.network.cut_links();
    let waits = |status: &Status| matches!(status, Status::Suspended { retry_at: Some(_), .. });
    let Status::Suspended { retry_at, .. } = until(&mut status, waits).await else { panic!() };
    let wait = retry_at.unwrap() - start;
    assert!(wait >= RETRY_AFTER && wait < RETRY_AFTER + Duration::from_secs(2), "{wait:?}");
    world.network.answer_dials();
    send(&near_tx, 3).await.unwrap();
    until(&mut status, is_connected).await;
    assert!(start.elapsed() >= RETRY_AFTER);
    expect_all(&mut far_rx, 3..4).await;
    send(&far_tx, 0).await.unwrap();

    // Who does not want to wait need not.
    world.network.refuse_dials();
    world.network.cut_links();
    until(&mut status, waits).await;
    world.network.answer_dials();
    let cut_at = Instant::now();
    near_tx.reconnect_now();
    until(&mut status, is_connected).await;
    assert!(cut_at.elapsed() < Duration::from_secs(1));

    assert!(!draining.is_finished());
    within(near_tx.close()).await.unwrap();
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
    assert!(within(draining).await.unwrap().unfinished.is_empty());
    assert!(start.elapsed() < Duration::from_secs(60), "not for longer than there is a session");
}

/// A delay past all patience is no way to end the sessions of others.
#[tokio::test(start_paused = true)]
async fn a_peer_cannot_ask_for_the_end_of_a_session() {
    let mut world = World::new();
    let (near, _far) = world.open().await;
    let mut status = near.status();
    let World { listener, network, .. } = world;
    let draining = tokio::spawn(listener.drain(Duration::MAX, Duration::from_secs(3600)));
    settle().await;
    network.refuse_dials();
    network.cut_links();
    until(&mut status, |status| matches!(status, Status::Suspended { retry_at: Some(_), .. }))
        .await;
    network.answer_dials();
    until(&mut status, |status| is_connected(status) || status.is_final()).await;
    assert!(is_connected(&status.borrow()), "{:?}", *status.borrow());
    draining.abort();
}

#[tokio::test(start_paused = true)]
async fn new_sessions_are_refused_and_none_means_at_once() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    // Opened and not accepted: it is closed, not forgotten.
    let unseen = world.connect(StableConfig::default()).await.unwrap();
    let (draining, world) = drain(world, Duration::from_secs(600)).await;
    let end = until(&mut unseen.status(), Status::is_final).await;
    assert!(matches!(end, Status::Closed { .. }), "{end:?}");
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(EXTENDED, None, None).await;
    let answer = peer.recv_server_hello().await;
    assert_eq!((answer.flags, answer.number), (EXTENDED | 1, RejectReason::GoingAway.code()));
    let error = world.connect(StableConfig::default()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    drop((near, far));
    assert!(within(draining).await.unwrap().unfinished.is_empty());

    let start = Instant::now();
    let none = World::new();
    assert!(none.listener.drain(RETRY_AFTER, RETRY_AFTER).await.unfinished.is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_is_reported_and_closed() {
    let mut world = World::new();
    let mut ends = Vec::new();
    for _ in 0..4 {
        ends.push(world.open().await);
    }
    let limit = Duration::from_secs(20);
    let start = Instant::now();
    let (draining, _world) = drain(world, limit).await;
    for (near, far) in ends.drain(..2) {
        let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
        within(near_tx.close()).await.unwrap();
        assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
    }
    let (near, far) = ends.pop().unwrap();
    let (near_tx, mut near_rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    send_all(&near_tx, 0..5).await;
    send_all(&far_tx, 0..2).await;
    let drained = within(draining).await.unwrap();
    assert!(start.elapsed() >= limit && start.elapsed() < limit + Duration::from_secs(1));
    assert!(drained.unfinished.iter().all(|session| session.lost.is_none()), "{drained:?}");
    // They have ended already, in good order.
    assert!(far_tx.status().borrow().is_final());
    assert_eq!(far_tx.stats().messages_acknowledged, 2);
    let mut received: Vec<_> =
        drained.unfinished.iter().map(|session| session.stats.messages_received).collect();
    received.sort_unstable();
    assert_eq!(received, [0, 5]);
    assert!(drained.unfinished.iter().all(|session| session.peer.address().is_some()));

    // Closed, not cut off: what was sent before arrives.
    expect_all(&mut near_rx, 0..2).await;
    expect_all(&mut far_rx, 0..5).await;
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    let Status::Closed { by_peer: Some(reason) } =
        until(&mut near_tx.status(), Status::is_final).await
    else {
        panic!()
    };
    assert_eq!(reason.text(), "the listener has ended");
}

/// The deadline has passed, and a peer is still busy with what it was sent before: the report waits
/// until it has everything, also over a link that it makes meanwhile.
#[tokio::test(start_paused = true)]
async fn who_is_slow_is_reported_once_it_has_everything() {
    const COUNT: u64 = 100;
    let mut world = World::with(narrow(4), room(200, 4));
    let ((near_tx, mut near_rx), (far_tx, _far_rx)) = world.halves_with(room(200, 4)).await;
    send_all(&far_tx, 0..COUNT).await;
    let limit = Duration::from_secs(2);
    let start = Instant::now();
    let (draining, world) = drain(world, limit).await;
    // Little by little, and for longer than the limit, though not for longer than one lingers.
    for n in 0..COUNT {
        pass(Duration::from_millis(70)).await;
        expect_all(&mut near_rx, n..n + 1).await;
        if n == 60 {
            assert!(start.elapsed() > limit);
            world.network.cut_links();
        }
        let has_all = far_tx.stats().messages_acknowledged == COUNT;
        assert!(has_all || !draining.is_finished(), "reported while {n} are read");
    }
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    let drained = within(draining).await.unwrap();
    let [late] = &drained.unfinished[..] else { panic!("{drained:?}") };
    assert!(late.lost.is_none(), "{late:?}");
    assert!(late.stats.messages_acknowledged < COUNT, "{late:?}");
    assert!(near_tx.stats().resumes > 0);
    assert!(far_tx.status().borrow().is_final());
}

/// Whoever does not even answer the close is waited for as long as one lingers, and no longer; what
/// it is not known to have is in the report.
#[tokio::test(start_paused = true)]
async fn who_is_gone_is_reported_as_lost_when_the_linger_limit_has_passed() {
    let mut world = World::new();
    let ((_near_tx, _near_rx), (far_tx, _far_rx)) = world.halves().await;
    let (gone_near, gone) = world.open().await;
    send_all(&far_tx, 0..3).await;
    far_tx.flush_acked().await.unwrap();
    let (gone_tx, _gone_rx) = gone.split();
    send_all(&gone_tx, 0..1).await;
    gone_tx.flush_acked().await.unwrap();
    let network = world.network.clone();
    let limit = Duration::from_secs(5);
    let start = Instant::now();
    let (draining, _world) = drain(world, limit).await;
    network.ignore_dials();
    network.freeze_links();
    send_all(&gone_tx, 1..4).await;
    let drained = within(draining).await.unwrap();
    let lasted = start.elapsed();
    let linger = StableConfig::default().linger;
    assert!(lasted >= limit + linger && lasted < limit + linger + Duration::from_secs(1));
    assert_eq!(drained.unfinished.len(), 2);
    let lost = |session: &&Unfinished| {
        let lost = session.lost.as_ref().expect("it never answered");
        assert_eq!(lost.reason, LossReason::LingerExpired);
        (lost.acknowledged, lost.accepted) == (1, 4)
    };
    assert_eq!(drained.unfinished.iter().filter(lost).count(), 1, "{drained:?}");
    assert_eq!(gone_tx.take_unacknowledged().len(), 3);
    drop(gone_near);
}

/// Fails for good when it is told to.
struct Failing {
    listener: MemoryListener,
    fails: Arc<Notify>,
}

impl LinkListener for Failing {
    type Link = MemoryLink;
    type Upgrade = std::future::Ready<io::Result<MemoryLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        tokio::select! {
            accepted = self.listener.accept() => accepted,
            () = self.fails.notified() => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "the adapter is no adapter"))
            }
        }
    }
}

/// Nothing can be accepted any more, and yet nobody is told that all is well.
#[tokio::test(start_paused = true)]
async fn a_listener_that_has_failed_still_reports_its_sessions() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let fails = Arc::new(Notify::new());
    let listener = StableListener::new(Failing { listener, fails: Arc::clone(&fails) });
    let network = connector.network().clone();
    let mut world = World { listener, connector, network };
    let (near, far) = world.open().await;
    settle().await;
    fails.notify_one();
    for _ in 0..2 {
        let error = within(world.listener.accept()).await.unwrap_err();
        let inner = error.get_ref().expect("it says what was wanted");
        let causes = std::iter::successors(inner.source(), |error| error.source());
        let last = causes.last().map(ToString::to_string);
        assert_eq!(last.as_deref(), Some("the adapter is no adapter"), "{error:?}");
    }
    let draining = tokio::spawn(world.listener.drain(RETRY_AFTER, Duration::from_secs(1)));
    until(&mut near.status(), |status| going_away(status) == Some(RETRY_AFTER)).await;
    assert_eq!(within(draining).await.unwrap().unfinished.len(), 1);
    let end = until(&mut near.status(), Status::is_final).await;
    assert!(matches!(end, Status::Closed { by_peer: Some(_) }), "{end:?}");
    drop(far);
}
