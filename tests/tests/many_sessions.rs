//! Many sessions on one listener whose links all break at once.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rejoin_conformance::proxy::{Fault, FaultProxy};
use rejoin_tcp::{
    ListenerConfig, StableConduit, StableListener, StableRx, StableTx, TcpLinkListener, TcpSource,
};
use rejoin_tests::soon;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

const SESSIONS: usize = 500;

/// Each session has four sockets in this process, which is more than many systems begin with.
fn allow_many_sockets() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

async fn echo(conduit: StableConduit<String>) {
    let (tx, mut rx) = conduit.split();
    while let Ok(Some(text)) = rx.recv().await {
        tx.send(&text).await.unwrap();
    }
    tx.close().await.unwrap();
}

type Session = (usize, StableTx<String>, StableRx<String>);

/// Each session sends a message and gets it back; all at once.
async fn exchange(sessions: Vec<Session>, word: &'static str) -> Vec<Session> {
    let mut exchanges = JoinSet::new();
    for (number, tx, mut rx) in sessions {
        exchanges.spawn(async move {
            let text = format!("{word} {number}");
            soon(tx.send(&text)).await.unwrap();
            assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), text);
            (number, tx, rx)
        });
    }
    exchanges.join_all().await
}

#[tokio::test]
async fn five_hundred_sessions_that_are_cut_at_once_all_resume() {
    allow_many_sockets();
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let mut config = ListenerConfig::default();
    config.backlog_max = SESSIONS;
    // So that no link is given up for anything but the cut, on however busy a machine.
    config.conduit.peer_dead_after = Duration::from_secs(60);
    config.conduit.handshake_deadline = Duration::from_secs(30);
    let conduit = config.conduit.clone();
    let mut listener = StableListener::<String>::with_config(listener, config).unwrap();
    tokio::spawn(async move {
        let mut echoes = JoinSet::new();
        while let Ok(conduit) = listener.accept().await {
            echoes.spawn(echo(conduit));
        }
    });
    let mut dials = JoinSet::new();
    for number in 0..SESSIONS {
        let dial = StableConduit::connect_with(TcpSource::new(proxy.addr()), conduit.clone());
        dials.spawn(async move {
            let (tx, rx) = soon(dial).await.unwrap().split();
            (number, tx, rx)
        });
    }
    let mut sessions = exchange(dials.join_all().await, "before").await;
    assert_eq!(sessions.len(), SESSIONS);

    for (round, fault) in [(1, Fault::Reset), (2, Fault::Fin)] {
        let report = soon(proxy.cut(fault).report()).await;
        assert_eq!(report.connections, SESSIONS);
        sessions = exchange(sessions, "after").await;
        let resumes: Vec<_> = sessions.iter().map(|(_, tx, _)| tx.stats().resumes).collect();
        assert!(resumes.iter().all(|&resumes| resumes >= round), "{resumes:?}");
    }
    let mut closes = JoinSet::new();
    for (_, tx, mut rx) in sessions {
        closes.spawn(async move {
            soon(tx.close()).await.unwrap();
            assert!(soon(rx.recv()).await.unwrap().is_none());
        });
    }
    closes.join_all().await;
}

/// The network of a server returns: all its peers call in one moment, before it can take the first.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_crowd_finds_room_to_wait() {
    allow_many_sockets();
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let crowd = allowed.trim().parse().unwrap_or(2_000).min(2_000);
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::with_capacity(crowd);
    for _ in 0..crowd {
        // Whoever finds none waits for ever, as nobody is ever accepted.
        waiting.push(soon(tokio::net::TcpStream::connect(address)).await.unwrap());
    }
}
