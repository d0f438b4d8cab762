//! What a session promises while it lives and when it ends, over real TCP. Where it is about times,
//! the tests of `rejoin-core` show it with a clock of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rejoin_conformance::proxy::{Admission, Fault, FaultProxy};
use rejoin_tcp::protocol::{CloseReason, Position, RejectReason};
use rejoin_tcp::{
    ConnectError, ListenerConfig, SendError, StableConduit, StableConfig, StableListener, StableRx,
    StableTx, Status, TcpLinkListener, TcpSource,
};
use rejoin_tests::{pass, soon, until};

type Tx = StableTx<u64>;
type Rx = StableRx<u64>;

/// A listener behind a proxy, and both ends of a session with it.
struct Session {
    proxy: FaultProxy,
    listener: StableListener<u64>,
    near: (Tx, Rx),
    far: (Tx, Rx),
}

impl Session {
    async fn open(config: StableConfig) -> Self {
        let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
        let mut listening = ListenerConfig::default();
        listening.conduit = config.clone();
        let mut listener = StableListener::with_config(listener, listening).unwrap();
        let near = StableConduit::connect_with(TcpSource::new(proxy.addr()), config);
        let (near, far) = soon(async { tokio::join!(near, listener.accept()) }).await;
        Self { proxy, listener, near: near.unwrap().split(), far: far.unwrap().split() }
    }
}

/// Little room, and quick pings.
fn small() -> StableConfig {
    let mut config = StableConfig::default();
    config.send_log_bytes_max = 4000;
    config.inbox_bytes_max = 4000;
    config.ping_interval = Duration::from_millis(20);
    config
}

async fn send(tx: &Tx, numbers: std::ops::Range<u64>) {
    for number in numbers {
        soon(tx.send(&number)).await.unwrap();
    }
}

async fn receive(rx: &mut Rx, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(soon(rx.recv()).await.unwrap().as_deref(), Some(&number));
    }
}

async fn end(tx: &Tx) -> Status {
    soon(tx.status().wait_for(Status::is_final)).await.unwrap().clone()
}

/// An application that does not read stops its peer's. Acknowledgements, pings and a close pass.
#[tokio::test]
async fn who_stops_reading_stops_the_sender_and_nothing_else() {
    let Session {
        near: (tx, mut rx),
        far: (far_tx, mut far_rx),
        proxy: _proxy,
        listener: _listener,
    } = Session::open(small()).await;
    let sender = tx.clone();
    let sending = tokio::spawn(async move { send(&sender, 0..1000).await });
    until(|| tx.stats().send_log_bytes >= 4000).await;
    until(|| far_tx.stats().inbox_bytes >= 4000).await;
    let full = far_tx.stats();
    assert!(full.inbox_bytes < 4100, "a window and an item: {full:?}");
    // The other direction goes on, and its acknowledgements come.
    tokio::join!(send(&far_tx, 0..1000), receive(&mut rx, 0..1000));
    soon(far_tx.flush_acked()).await.unwrap();
    // Pings are answered: there is a time for the way and back, and the link stays.
    until(|| tx.stats().round_trip.is_some() && far_tx.stats().round_trip.is_some()).await;
    assert!(!sending.is_finished());
    assert_eq!(far_tx.stats().messages_received, full.messages_received, "nothing more came");
    // So does a close, the other way.
    soon(far_tx.close_with(CloseReason::new(3, "enough"))).await.unwrap();
    assert!(soon(rx.recv()).await.unwrap().is_none());
    assert_eq!(tx.stats().resumes, 0);
    let accepted = tx.stats().messages_accepted;
    receive(&mut far_rx, 0..accepted).await;
    assert!(soon(far_rx.recv()).await.unwrap().is_none());
    assert!(sending.await.is_err(), "it was refused in the middle");
}

/// Two applications that both send first and read later are no dead-lock, links that are cut
/// included.
#[tokio::test]
async fn two_that_only_send_do_not_lock_up() {
    let Session { proxy, near: (tx, mut rx), far: (far_tx, mut far_rx), listener: _listener } =
        Session::open(small()).await;
    let sending = [tx, far_tx].map(|tx| {
        tokio::spawn(async move {
            send(&tx, 0..1000).await;
            soon(tx.flush_acked()).await.unwrap();
            tx
        })
    });
    pass(Duration::from_millis(100)).await;
    soon(proxy.cut(Fault::Reset).report()).await;
    assert!(sending.iter().all(|sending| !sending.is_finished()));
    receive(&mut rx, 0..1000).await;
    receive(&mut far_rx, 0..1000).await;
    for sending in sending {
        soon(sending).await.unwrap();
    }
}

/// The application says what counts as received, and that is what the sender hears.
#[tokio::test]
async fn in_manual_mode_the_application_acknowledges() {
    let mut config = StableConfig::default();
    config.manual_ack = true;
    let Session { near: (tx, _rx), far: (_far_tx, mut far_rx), proxy, listener: _listener } =
        Session::open(config).await;
    send(&tx, 0..10).await;
    receive(&mut far_rx, 0..10).await;
    far_rx.acknowledge(Position::new(3));
    soon(tx.acked(Position::new(3))).await.unwrap();
    soon(proxy.cut(Fault::Reset).report()).await;
    until(|| tx.stats().resumes == 1).await;
    assert_eq!(tx.stats().messages_acknowledged, 4, "a new link acknowledges nothing");
    far_rx.acknowledge(Position::new(9));
    soon(tx.flush_acked()).await.unwrap();
}

/// Another link takes over under load, and the wait for one is cut short.
#[tokio::test]
async fn links_are_changed_when_the_application_says_so() {
    let mut config = StableConfig::default();
    config.redial.backoff_min = Duration::from_secs(3600);
    config.redial.backoff_max = Duration::from_secs(3600);
    let Session { proxy, near: (tx, _rx), far: (_far_tx, mut far_rx), listener: _listener } =
        Session::open(config).await;
    let sender = tx.clone();
    let sending = tokio::spawn(async move { send(&sender, 0..50_000).await });
    let receiving = tokio::spawn(async move {
        receive(&mut far_rx, 0..50_000).await;
        far_rx
    });
    let mut status = tx.status();
    status.mark_unchanged();
    for generation in 2..=5 {
        soon(tx.migrate()).await.unwrap();
        assert_eq!(tx.stats().generation, generation);
        let status = status.borrow_and_update().clone();
        assert!(matches!(status, Status::Connected { .. }), "{status:?}");
    }
    soon(sending).await.unwrap();
    let mut far_rx = soon(receiving).await.unwrap();

    proxy.admit(Admission::Refuse);
    soon(proxy.cut(Fault::Reset).report()).await;
    let waits = |status: &Status| matches!(status, Status::Suspended { retry_at: Some(_), .. });
    soon(status.wait_for(waits)).await.unwrap();
    proxy.admit(Admission::Forward);
    tx.reconnect_now();
    send(&tx, 50_000..50_001).await;
    receive(&mut far_rx, 50_000..50_001).await;
}

/// A close sends everything, over links that are cut, and its reason arrives behind the last
/// message.
#[tokio::test]
async fn a_close_sends_everything_and_gives_its_reason() {
    let Session { proxy, near: (tx, _rx), far: (far_tx, mut far_rx), listener: _listener } =
        Session::open(StableConfig::default()).await;
    send(&tx, 0..5000).await;
    let cut = proxy.cut(Fault::Reset);
    let closing = tx.clone();
    let closing =
        tokio::spawn(
            async move { closing.close_with(CloseReason::new(42, "done for today")).await },
        );
    soon(cut.report()).await;
    receive(&mut far_rx, 0..5000).await;
    assert!(soon(far_rx.recv()).await.unwrap().is_none());
    soon(closing).await.unwrap().unwrap();
    assert!(matches!(tx.try_send(&0), Err(SendError::Closed)));
    let Status::Closed { by_peer: Some(reason) } = end(&far_tx).await else { panic!("no reason") };
    assert_eq!((reason.code(), reason.text()), (42, "done for today"));
    assert!(matches!(end(&tx).await, Status::Closed { by_peer: None }));
}

/// Nobody is left to wait for it, and yet everything arrives, and then the end.
#[tokio::test]
async fn what_was_accepted_arrives_after_all_handles_are_dropped() {
    let Session { proxy, listener, near, far: (far_tx, mut far_rx) } = Session::open(small()).await;
    send(&near.0, 0..90).await;
    soon(proxy.cut(Fault::Reset).report()).await;
    drop(near);
    receive(&mut far_rx, 0..90).await;
    assert!(soon(far_rx.recv()).await.unwrap().is_none());
    assert!(matches!(end(&far_tx).await, Status::Closed { .. }));
    until(|| listener.sessions() == 0).await;
}

/// A drain is announced and turns strangers away, present sessions finish, also over another link,
/// and who does not is closed and reported.
#[tokio::test]
async fn a_listener_drains() {
    let Session { proxy, mut listener, near: (tx, mut rx), far: (far_tx, mut far_rx) } =
        Session::open(StableConfig::default()).await;
    let late = StableConduit::<u64>::connect(TcpSource::new(proxy.addr()));
    let (late, late_far) = soon(async { tokio::join!(late, listener.accept()) }).await;
    let ((late_tx, mut late_rx), (late_far_tx, _)) =
        (late.unwrap().split(), late_far.unwrap().split());
    let retry_after = Duration::from_secs(7);
    let limit = Duration::from_secs(1);
    let draining = tokio::spawn(listener.drain(retry_after, limit));
    let heard = |status: &Status| matches!(status, Status::Connected { going_away: Some(delay), .. } if *delay == retry_after);
    soon(tx.status().wait_for(heard)).await.unwrap();

    let mut once = StableConfig::default();
    once.redial.attempts_max = Some(1);
    let stranger = StableConduit::<u64>::connect_with(TcpSource::new(proxy.addr()), once);
    let refused = soon(stranger).await.unwrap_err();
    let going_away = |error: &ConnectError| format!("{error:?}").contains("GoingAway");
    assert!(going_away(&refused), "{refused:?}");
    assert!(RejectReason::GoingAway.is_transient() && refused.is_transient());

    soon(proxy.cut(Fault::Reset).report()).await;
    send(&tx, 0..100).await;
    receive(&mut far_rx, 0..100).await;
    send(&far_tx, 0..100).await;
    receive(&mut rx, 0..100).await;
    soon(tx.close()).await.unwrap();
    assert!(!draining.is_finished());
    send(&late_far_tx, 0..100).await;
    let drained = soon(draining).await.unwrap();
    let [unfinished] = &drained.unfinished[..] else { panic!("{drained:?}") };
    assert!(unfinished.lost.is_none(), "{unfinished:?}");
    receive(&mut late_rx, 0..100).await;
    assert!(soon(late_rx.recv()).await.unwrap().is_none());
    let Status::Closed { by_peer: Some(reason) } = end(&late_tx).await else { panic!("no reason") };
    assert_eq!(reason.text(), "the listener has ended");
}
