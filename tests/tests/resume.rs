//! Sessions over real TCP, through connections that are cut.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rejoin_conformance::proxy::{Fault, FaultProxy};
use rejoin_tcp::{
    ListenerConfig, StableConduit, StableConfig, StableListener, StableRx, StableTx, Status,
    TcpLinkListener, TcpSource,
};
use tokio::time::timeout;

/// Only a test that fails waits for this long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("it happens soon")
}

/// A session that has numbered texts to send in both directions.
struct Session {
    client: (StableTx<String>, StableRx<String>),
    server: (StableTx<String>, StableRx<String>),
}

impl Session {
    async fn open(proxy: &FaultProxy, listener: &mut StableListener<String>) -> Self {
        let client = StableConduit::connect(TcpSource::new(proxy.addr()));
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        Self { client: client.unwrap().split(), server: server.unwrap().split() }
    }

    async fn send(&self, texts: impl Iterator<Item = u32> + Clone) {
        for tx in [&self.client.0, &self.server.0] {
            for number in texts.clone() {
                soon(tx.send(&number.to_string())).await.unwrap();
            }
        }
    }

    async fn receive(&mut self, texts: impl Iterator<Item = u32> + Clone) {
        for rx in [&mut self.client.1, &mut self.server.1] {
            for number in texts.clone() {
                let text = soon(rx.recv()).await.unwrap().unwrap();
                assert_eq!(text.as_str(), number.to_string());
            }
        }
    }

    /// Closes both sides; nothing may be left to receive.
    async fn close(mut self) {
        let (client, server) = tokio::join!(self.client.0.close(), self.server.0.close());
        client.and(server).unwrap();
        assert!(soon(self.client.1.recv()).await.unwrap().is_none());
        assert!(soon(self.server.1.recv()).await.unwrap().is_none());
    }
}

async fn listen() -> (FaultProxy, StableListener<String>) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    (proxy, StableListener::new(listener))
}

/// The reference could not be used with its own TCP link, which its conduit wanted to clone.
#[tokio::test]
async fn defect_09_works_over_its_own_tcp_link() {
    let (proxy, mut listener) = listen().await;
    let mut session = Session::open(&proxy, &mut listener).await;
    session.send(0..10).await;
    assert!(soon(proxy.cut(Fault::Reset).report()).await.hit());
    session.send(10..20).await;
    session.receive(0..20).await;
    assert_eq!(session.client.0.stats().resumes, 1);
    session.close().await;
}

#[tokio::test]
async fn twenty_sessions_that_are_cut_at_once_all_resume() {
    let (proxy, mut listener) = listen().await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(Session::open(&proxy, &mut listener).await);
    }
    for (round, fault) in (0..).zip([Fault::Fin, Fault::Reset]) {
        let first = round * 100;
        for session in &sessions {
            session.send(first..first + 50).await;
        }
        let report = soon(proxy.cut(fault).report()).await;
        assert_eq!(report.connections, 20);
        for session in &mut sessions {
            session.send(first + 50..first + 100).await;
            session.receive(first..first + 100).await;
        }
    }
    assert_eq!(listener.sessions(), 20);
    for session in sessions {
        assert_eq!(session.client.0.stats().resumes, 2);
        session.close().await;
    }
    assert_eq!(listener.sessions(), 0);
}

#[tokio::test]
async fn a_client_that_can_reach_nobody_gets_back_what_was_not_acknowledged() {
    let (proxy, mut listener) = listen().await;
    let mut config = StableConfig::default();
    config.outage_max = Duration::from_millis(200);
    let source = TcpSource::new(proxy.addr());
    let client = StableConduit::<String>::connect_with(source, config);
    let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
    let ((tx, _rx), _server) = (client.unwrap().split(), server.unwrap());
    tx.send(&"heard".to_owned()).await.unwrap();
    soon(tx.flush_acked()).await.unwrap();

    drop(proxy);
    tx.send(&"unheard".to_owned()).await.unwrap();
    let mut status = tx.status();
    soon(status.wait_for(Status::is_final)).await.unwrap();
    let lost = tx.send(&"late".to_owned()).await.unwrap_err();
    assert!(lost.to_string().contains("nothing can be sent any more"), "{lost}");
    let unheard = tx.take_unacknowledged();
    let [(position, bytes)] = unheard.as_slice() else { panic!("{unheard:?}") };
    assert_eq!(position.get(), 1);
    let text = StableTx::<String>::decode(bytes.clone()).unwrap();
    assert_eq!(text.as_str(), "unheard");
}

#[tokio::test]
async fn a_silent_server_is_left_within_the_time_out_and_found_again() {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let mut impatient = StableConfig::default();
    impatient.ping_interval = Duration::from_millis(50);
    impatient.peer_dead_after = Duration::from_millis(200);
    let mut config = ListenerConfig::default();
    config.conduit = impatient.clone();
    let mut listener = StableListener::<String>::with_config(listener, config).unwrap();
    let client = StableConduit::connect_with(TcpSource::new(proxy.addr()), impatient);
    let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
    let mut session = Session { client: client.unwrap().split(), server: server.unwrap().split() };

    session.send(0..10).await;
    session.receive(0..10).await;
    soon(proxy.cut(Fault::Silence { lasting: None }).report()).await;
    session.send(10..20).await;
    session.receive(10..20).await;
    assert!(session.client.0.stats().resumes >= 1);
    session.close().await;
}
