//! Where the tests take place: a listener, an honest session on it that has to get on whatever
//! happens, and a session of a hostile peer.

use std::net::SocketAddr;
use std::time::Duration;

use rejoin_tcp::protocol::LossReason;
use rejoin_tcp::{
    LinkListener, ListenerConfig, StableConduit, StableListener, StableRx, StableTx, Status,
    TcpLinkListener, TcpSource,
};
pub(crate) use rejoin_tests::soon;
use rejoin_tests::{
    scripted::{Answer, Key, Scripted, fresh, hello, settings},
    until,
};

pub(crate) type Tx = StableTx<String>;
pub(crate) type Rx = StableRx<String>;

/// How long a handshake may take, and a close.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);

/// Settings with short times.
pub(crate) fn config() -> ListenerConfig {
    let mut config = ListenerConfig::default();
    config.conduit.handshake_deadline = DEADLINE;
    config.conduit.linger = DEADLINE;
    config
}

/// A listener with an honest session on it.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) listener: StableListener<String>,
    client: (Tx, Rx),
    server: (Tx, Rx),
    rounds: u32,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: ListenerConfig) -> Self {
        Self::over(config, |listener| listener).await
    }

    /// On the listener that `wrap` makes of a TCP listener.
    pub(crate) async fn over<L: LinkListener>(
        config: ListenerConfig,
        wrap: impl FnOnce(TcpLinkListener) -> L,
    ) -> Self {
        let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = StableListener::with_config(wrap(listener), config).unwrap();
        let client = StableConduit::connect(TcpSource::new(address));
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        let (client, server) = (client.unwrap().split(), server.unwrap().split());
        Self { address, listener, client, server, rounds: 0 }
    }

    /// The honest session gets on, on the link that it has had from the beginning.
    pub(crate) async fn exchange(&mut self) {
        for _ in 0..20 {
            self.rounds += 1;
            let text = format!("round {}", self.rounds);
            for (tx, rx) in
                [(&self.client.0, &mut self.server.1), (&self.server.0, &mut self.client.1)]
            {
                soon(tx.send(&text)).await.unwrap();
                assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), text);
            }
        }
        assert_eq!((self.client.0.stats().resumes, self.server.0.stats().resumes), (0, 0));
    }

    /// A hostile peer with a session of the extended profile, and this side's end of it.
    pub(crate) async fn hostile(&mut self) -> (Scripted, Key, Tx, Rx) {
        self.hostile_with(&settings(1 << 20)).await
    }

    /// As [`hostile`](Self::hostile), with these settings.
    pub(crate) async fn hostile_with(&mut self, settings: &[u8]) -> (Scripted, Key, Tx, Rx) {
        let (mut peer, key) = greeted(self.address, &fresh(1)).await;
        peer.send(settings).await.unwrap();
        let (tx, rx) = soon(self.listener.accept()).await.unwrap().split();
        (peer, key, tx, rx)
    }

    /// A hostile peer with a session of the base profile.
    pub(crate) async fn hostile_base(&mut self) -> (Scripted, Key, Tx, Rx) {
        let (peer, key) = greeted(self.address, &hello(0, [0; 16], 0)).await;
        let (tx, rx) = soon(self.listener.accept()).await.unwrap().split();
        (peer, key, tx, rx)
    }

    /// Waits until so many sessions are left, the honest one among them.
    pub(crate) async fn until_sessions(&self, count: usize) {
        until(|| self.listener.sessions() == count).await;
    }
}

/// A peer whose hello was accepted, and its key.
pub(crate) async fn greeted(address: SocketAddr, hello: &[u8]) -> (Scripted, Key) {
    let (peer, answer) = soon(Scripted::greet(address, hello)).await.unwrap();
    let Answer::Accepted(key, _) = answer else { panic!("{answer:?}") };
    (peer, key)
}

/// A hello that is rejected: gives the code of the reason.
pub(crate) async fn rejected(address: SocketAddr, hello: &[u8]) -> u32 {
    let (mut peer, answer) = soon(Scripted::greet(address, hello)).await.unwrap();
    let Answer::Rejected(code) = answer else { panic!("{answer:?}") };
    assert_eq!(soon(peer.until_end()).await, 0, "nothing comes after a rejection");
    code
}

/// The encoding of a short text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Waits until the session has lost its link; gives the reason.
pub(crate) async fn suspended(tx: &Tx) -> String {
    let mut status = tx.status();
    let status = soon(status.wait_for(|status| !matches!(status, Status::Connected { .. }))).await;
    match &*status.unwrap() {
        Status::Suspended { cause, .. } => cause.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Waits until the session is lost; gives the reason.
pub(crate) async fn lost(tx: &Tx) -> LossReason {
    let mut status = tx.status();
    let status = soon(status.wait_for(Status::is_final)).await;
    match &*status.unwrap() {
        Status::Lost(reason) => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_connected(tx: &Tx, generation: u64) {
    match &*tx.status().borrow() {
        Status::Connected { generation: actual, .. } if *actual == generation => {}
        other => panic!("{other:?}"),
    }
}
