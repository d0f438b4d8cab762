//! Sessions between processes, over TCP, where one of them dies or freezes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rejoin_tcp::protocol::{LossReason, RejectReason};
use rejoin_tcp::{
    Attachment, LinkSource, ListenerConfig, StableConduit, StableConfig, StableListener, StableRx,
    StableTx, Status, SuspendCause, TcpLink, TcpLinkListener, TcpSource,
};
use rejoin_tests::{pass, soon};

type Tx = StableTx<String>;
type Rx = StableRx<String>;

/// A process with the other end of a session; killed at the end of the test.
struct Process(Child);

impl Process {
    fn start(arguments: [&str; 2]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
        Self(command.args(arguments).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// A server, and where it listens.
    fn serve() -> (Self, SocketAddr) {
        Self::serve_as("serve")
    }

    fn serve_as(kind: &str) -> (Self, SocketAddr) {
        let mut server = Self::start([kind, "127.0.0.1:0"]);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (server, line.trim().parse().unwrap())
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Kills it, and waits until it is gone.
    fn kill(mut self) {
        self.signal("KILL");
        assert!(!self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Calls a server that may come back at another address.
struct Moving(Arc<Mutex<SocketAddr>>);

impl LinkSource for Moving {
    type Link = TcpLink;

    async fn next_link(&mut self) -> io::Result<Attachment<TcpLink>> {
        let address = *self.0.lock().unwrap();
        TcpSource::new(address).next_link().await
    }
}

async fn send(tx: &Tx, numbers: std::ops::Range<u64>) {
    for number in numbers {
        soon(tx.send(&number.to_string())).await.unwrap();
    }
}

async fn receive(rx: &mut Rx, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), number.to_string());
    }
}

async fn until(tx: &Tx, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut status = tx.status();
    soon(status.wait_for(|status| wanted(status))).await.unwrap().clone()
}

fn is_suspended(status: &Status) -> bool {
    matches!(status, Status::Suspended { .. })
}

/// What the peer has not acknowledged: these numbers, at these positions.
#[track_caller]
fn assert_handed_back(tx: &Tx, numbers: std::ops::Range<u64>) {
    let items: Vec<_> = tx
        .take_unacknowledged()
        .into_iter()
        .map(|(position, bytes)| (position.get(), Tx::decode(bytes).unwrap().to_string()))
        .collect();
    assert_eq!(items, numbers.map(|number| (number, number.to_string())).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_peer_that_was_killed_and_stays_away_is_lost_at_the_outage_limit() {
    let (server, address) = Process::serve();
    let mut config = StableConfig::default();
    config.outage_max = Duration::from_secs(1);
    let conduit = soon(StableConduit::connect_with(TcpSource::new(address), config)).await;
    let (tx, mut rx) = conduit.unwrap().split();
    send(&tx, 0..10).await;
    receive(&mut rx, 0..10).await;
    soon(tx.flush_acked()).await.unwrap();

    server.kill();
    send(&tx, 10..15).await;
    until(&tx, is_suspended).await;
    let end = until(&tx, Status::is_final).await;
    assert!(matches!(end, Status::Lost(LossReason::OutageLimit)), "{end:?}");
    assert_handed_back(&tx, 10..15);
}

#[tokio::test]
async fn a_peer_that_was_killed_and_restarted_has_lost_the_session() {
    let (server, address) = Process::serve();
    let address = Arc::new(Mutex::new(address));
    let source = Moving(Arc::clone(&address));
    let (tx, mut rx) = soon(StableConduit::connect(source)).await.unwrap().split();
    send(&tx, 0..10).await;
    receive(&mut rx, 0..10).await;
    soon(tx.flush_acked()).await.unwrap();

    server.kill();
    send(&tx, 10..15).await;
    until(&tx, is_suspended).await;
    let (_server, restarted) = Process::serve();
    *address.lock().unwrap() = restarted;
    tx.reconnect_now();
    let end = until(&tx, Status::is_final).await;
    let Status::Lost(reason) = end else { panic!("{end:?}") };
    assert_eq!(reason, LossReason::Rejected(RejectReason::UnknownKey));
    assert_handed_back(&tx, 10..15);
    assert!(soon(rx.recv()).await.is_err());
}

/// In manual mode what the dead process had received, answered and not acknowledged is given back.
#[tokio::test]
async fn what_a_killed_peer_had_not_acknowledged_is_given_back() {
    let (server, address) = Process::serve_as("serve-manual");
    let mut config = StableConfig::default();
    config.outage_max = Duration::from_secs(1);
    let conduit = soon(StableConduit::connect_with(TcpSource::new(address), config)).await;
    let (tx, mut rx) = conduit.unwrap().split();
    send(&tx, 0..5).await;
    let acknowledged = soon(tx.send(&"ack!".to_owned())).await.unwrap();
    send(&tx, 6..10).await;
    receive(&mut rx, 0..5).await;
    receive(&mut rx, 6..10).await;
    soon(tx.acked(acknowledged)).await.unwrap();

    server.kill();
    let lost = soon(tx.flush_acked()).await.unwrap_err();
    assert_eq!((lost.acknowledged, lost.accepted), (6, 10));
    assert_eq!(lost.reason, LossReason::OutageLimit);
    assert_handed_back(&tx, 6..10);
}

/// The side that does not dial notices, too, and waits to be called again.
#[tokio::test]
async fn a_frozen_caller_is_left_within_the_time_out_and_resumes_when_it_thaws() {
    const DEAD_AFTER: Duration = Duration::from_secs(1);
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = ListenerConfig::default();
    config.conduit.ping_interval = Duration::from_millis(200);
    config.conduit.peer_dead_after = DEAD_AFTER;
    let mut listener = StableListener::<String>::with_config(listener, config).unwrap();
    let client = Process::start(["call", &address.to_string()]);
    let (tx, mut rx) = soon(listener.accept()).await.unwrap().split();
    // Once without traffic, and once with some.
    for round in [0..0, 0..100] {
        client.signal("STOP");
        let frozen = Instant::now();
        send(&tx, round.clone()).await;
        let Status::Suspended { cause, .. } = until(&tx, is_suspended).await else {
            unreachable!()
        };
        assert!(matches!(cause, SuspendCause::PeerSilent), "{cause}");
        assert!(frozen.elapsed() < 10 * DEAD_AFTER, "{:?}", frozen.elapsed());
        client.signal("CONT");
        until(&tx, |status| matches!(status, Status::Connected { .. })).await;
        receive(&mut rx, round).await;
    }
    assert!(tx.stats().resumes >= 2);
    soon(tx.close()).await.unwrap();
}

#[tokio::test]
async fn a_frozen_peer_is_left_within_the_time_out_and_resumed_when_it_thaws() {
    const DEAD_AFTER: Duration = Duration::from_secs(1);
    let (server, address) = Process::serve();
    let mut config = StableConfig::default();
    config.ping_interval = Duration::from_millis(200);
    config.peer_dead_after = DEAD_AFTER;
    config.handshake_deadline = Duration::from_millis(500);
    let conduit = soon(StableConduit::connect_with(TcpSource::new(address), config)).await;
    let (tx, mut rx) = conduit.unwrap().split();
    send(&tx, 0..100).await;
    receive(&mut rx, 0..100).await;

    server.signal("STOP");
    let frozen = Instant::now();
    send(&tx, 100..200).await;
    let Status::Suspended { cause, .. } = until(&tx, is_suspended).await else { unreachable!() };
    assert!(matches!(cause, SuspendCause::PeerSilent), "{cause}");
    // On a machine that is busy with other things a timer may be late by a quarter of that, which is
    // not held against the peer; then it takes as long again.
    let left_after = frozen.elapsed();
    assert!(left_after < 10 * DEAD_AFTER, "{left_after:?}");
    // It is called in vain meanwhile.
    until(&tx, |status| matches!(status, Status::Suspended { attempts: 1.., .. })).await;
    send(&tx, 200..300).await;

    server.signal("CONT");
    receive(&mut rx, 100..300).await;
    assert!(tx.stats().resumes >= 1);
    send(&tx, 300..310).await;
    receive(&mut rx, 300..310).await;
    soon(tx.close()).await.unwrap();
    assert!(soon(rx.recv()).await.unwrap().is_none());
}

/// All traffic goes one way, as fast as it can, and is in the middle of it when the peer freezes.
#[tokio::test]
async fn a_peer_that_freezes_in_a_flood_is_left_within_the_time_out_and_gets_all_of_it_once() {
    const DEAD_AFTER: Duration = Duration::from_secs(1);
    const MESSAGES: u64 = 4_000;
    let (server, address) = Process::serve();
    let mut config = StableConfig::default();
    config.ping_interval = Duration::from_millis(200);
    config.peer_dead_after = DEAD_AFTER;
    config.handshake_deadline = Duration::from_millis(500);
    let conduit = soon(StableConduit::connect_with(TcpSource::new(address), config)).await;
    let (tx, mut rx) = conduit.unwrap().split();
    let flooding = tx.clone();
    let flood = tokio::spawn(async move {
        for number in 0..MESSAGES {
            soon(flooding.send(&format!("#{number:08000}"))).await.unwrap();
        }
    });
    rejoin_tests::until(|| tx.stats().messages_acknowledged >= 500).await;

    server.signal("STOP");
    let frozen = Instant::now();
    let Status::Suspended { cause, .. } = until(&tx, is_suspended).await else { unreachable!() };
    let silent = matches!(cause, SuspendCause::PeerSilent | SuspendCause::WriteStalled);
    assert!(silent, "{cause}");
    assert!(frozen.elapsed() < 10 * DEAD_AFTER, "{:?}", frozen.elapsed());
    assert!(!flood.is_finished(), "it was in the middle of it");

    server.signal("CONT");
    flood.await.unwrap();
    soon(tx.send(&"counted?".to_owned())).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), MESSAGES.to_string());
    assert!(tx.stats().resumes >= 1);
    soon(tx.close()).await.unwrap();
}

#[tokio::test]
async fn a_process_that_was_frozen_itself_does_not_leave_its_healthy_peer() {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = StableListener::<String>::new(listener);
    // This peer is patient. The other one gives up after two seconds of silence.
    let client = Process::start(["call", &address.to_string()]);
    let (tx, mut rx) = soon(listener.accept()).await.unwrap().split();
    send(&tx, 0..100).await;
    receive(&mut rx, 0..100).await;
    soon(tx.flush_acked()).await.unwrap();

    client.signal("STOP");
    // The time that passes is what this is about.
    pass(Duration::from_millis(4500)).await;
    client.signal("CONT");
    // Long enough for it to act on what it takes for the peer's silence.
    pass(Duration::from_secs(1)).await;
    send(&tx, 100..200).await;
    receive(&mut rx, 100..200).await;
    soon(tx.send(&"resumes?".to_owned())).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "0");
    assert_eq!(tx.stats().resumes, 0);
    soon(tx.close()).await.unwrap();
}
