//! One session over two transports: TCP as long as it works, and memory when it does not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rejoin_conformance::proxy::{Admission, Fault, FaultProxy};
use rejoin_tcp::{
    Failover, FailoverPolicy, ListenerSet, MemoryConfig, StableConduit, StableListener, StableRx,
    StableTx, Status, TcpLinkListener, TcpSource, memory_listener,
};
use rejoin_tests::soon;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Sends 0, 1, 2 and so on until told to stop; gives how many.
fn send_all(tx: StableTx<u64>, stop: watch::Receiver<bool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut sent = 0;
        while !*stop.borrow() {
            tx.send(&sent).await.unwrap();
            sent += 1;
        }
        tx.flush_acked().await.unwrap();
        sent
    })
}

/// Receives to the end, each number once and in order; gives how many.
fn receive_all(mut rx: StableRx<u64>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut received = 0;
        while let Some(number) = rx.recv().await.unwrap() {
            assert_eq!(*number, received);
            received += 1;
        }
        received
    })
}

/// Waits until the session is on a link of TCP, or not of TCP; gives which link it is.
async fn on(tx: &StableTx<u64>, tcp: bool) -> u64 {
    let mut status = tx.status();
    let is_there = |status: &Status| match status {
        Status::Connected { peer, .. } => peer.to_string().starts_with("127.0.0.1:") == tcp,
        status => panic_if_final(status),
    };
    match soon(status.wait_for(is_there)).await.unwrap().clone() {
        Status::Connected { generation, .. } => generation,
        status => unreachable!("{status:?}"),
    }
}

fn panic_if_final(status: &Status) -> bool {
    assert!(!status.is_final(), "{status:?}");
    false
}

/// Falls over to the other transport each time that the preferred one fails, and returns to it,
/// while both sides send as fast as they can.
#[tokio::test]
async fn a_session_falls_over_to_another_transport_and_returns_under_load() {
    let tcp = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(tcp.local_addr().unwrap()).await.unwrap();
    let (memory, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<u64>::new(ListenerSet::new(tcp).and(memory));

    // Each source has a policy of its own: the second one's link gives way as soon as it can.
    let mut patient = FailoverPolicy::default();
    patient.attempt_deadline = Duration::from_secs(20);
    patient.better_after = None;
    let mut restless = FailoverPolicy::default();
    restless.better_after = Some(Duration::from_millis(20));
    let source = Failover::new_with(TcpSource::new(proxy.addr()), patient).unwrap();
    let source = source.or_with(connector.source(), restless).unwrap();
    let near = soon(StableConduit::<u64>::connect(source)).await.unwrap();
    let far = soon(listener.accept()).await.unwrap();
    let ((tx, rx), (far_tx, far_rx)) = (near.split(), far.split());

    let (stop, stopped) = watch::channel(false);
    let receiving = [receive_all(far_rx), receive_all(rx)];
    let sending = [send_all(tx.clone(), stopped.clone()), send_all(far_tx, stopped)];
    let mut last = 0;
    for fault in [Fault::Reset, Fault::Fin, Fault::Reset] {
        assert!(on(&tx, true).await > last);
        proxy.admit(Admission::Refuse);
        assert!(soon(proxy.cut(fault).report()).await.hit());
        last = on(&tx, false).await;
        proxy.admit(Admission::Forward);
    }
    assert!(on(&tx, true).await > last);
    stop.send_replace(true);
    let mut sent = [0; 2];
    for (sent, sending) in sent.iter_mut().zip(sending) {
        *sent = soon(sending).await.unwrap();
    }
    soon(tx.close()).await.unwrap();
    for (sent, receiving) in sent.into_iter().zip(receiving) {
        assert_eq!(soon(receiving).await.unwrap(), sent);
    }
    let end = soon(tx.status().wait_for(Status::is_final)).await.unwrap().clone();
    assert!(matches!(end, Status::Closed { .. }), "{end:?}");
}
