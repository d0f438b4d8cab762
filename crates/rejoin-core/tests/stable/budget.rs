//! What all sessions of a listener buffer together.

use std::time::Duration;

use rejoin_core::{ListenerConfig, MemoryConfig, StableConfig};

use crate::common::{Conduit, Rx, Tx, World, pass, settle, within};
use crate::peer::{Peer, frame};

const KIB: u64 = 1024;
/// What each session has in each direction, as the settings say.
const MIN: u64 = 64 * KIB;
const MESSAGE: u64 = KIB + 32;
const PAYLOAD: [u8; 1024] = [7; 1024];

fn world(budget: u64) -> World {
    let mut config = ListenerConfig::default();
    config.conduit.message_bytes_max = 4 << 10;
    config.conduit.send_log_bytes_max = 1 << 20;
    config.conduit.inbox_bytes_max = 1 << 20;
    config.buffered_bytes_max = usize::try_from(budget).unwrap();
    World::with_listener(MemoryConfig::default(), config)
}

/// The other end takes less, for the sake of a quick test.
async fn open(world: &mut World) -> (Conduit, Conduit) {
    let mut config = StableConfig::default();
    config.send_log_bytes_max = 1 << 18;
    config.inbox_bytes_max = 1 << 18;
    world.open_with(config).await
}

/// Sends as much as there is room for, and lets it travel.
async fn flood(tx: &Tx) -> u64 {
    let mut sent = 0;
    loop {
        let before = sent;
        while tx.try_send(&&PAYLOAD[..]).is_ok() {
            sent += 1;
        }
        settle().await;
        if sent == before {
            return sent;
        }
    }
}

/// Reads what is there.
async fn read(rx: &mut Rx) -> u64 {
    let mut received = 0;
    while let Ok(message) = tokio::time::timeout(Duration::from_millis(200), rx.recv()).await {
        message.unwrap().unwrap();
        received += 1;
    }
    received
}

struct Session {
    near: (Tx, Rx),
    far: (Tx, Rx),
}

impl Session {
    fn new((near, far): (Conduit, Conduit)) -> Self {
        Self { near: near.split(), far: far.split() }
    }

    /// What the listener's side holds.
    fn held(&self) -> u64 {
        let stats = self.far.0.stats();
        stats.send_log_bytes + stats.inbox_bytes
    }
}

#[track_caller]
fn check(sessions: &[Session], budget: u64) {
    let held: u64 = sessions.iter().map(Session::held).sum();
    let bound = budget + sessions.len() as u64 * 2 * (MIN + MESSAGE);
    assert!(held <= bound, "{held} of {bound}");
}

/// Readers that are slow, in both directions and in turns, so that bounds grow and shrink.
#[tokio::test(start_paused = true)]
async fn it_is_never_exceeded_and_everybody_gets_on() {
    const BUDGET: u64 = 1024 * KIB;
    let mut world = world(BUDGET);
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(Session::new(open(&mut world).await));
    }
    let mut fullest = 0;
    for round in 0..4 {
        let mut sent = Vec::new();
        for session in &sessions {
            sent.push((flood(&session.near.0).await, flood(&session.far.0).await));
            check(&sessions, BUDGET);
        }
        fullest = fullest.max(sessions.iter().map(Session::held).sum());
        for n in 0..sessions.len() {
            // Not all at once, nor always the same first.
            let n = (n * 5 + round) % sessions.len();
            let (to_far, to_near) = sent[n];
            assert!(to_far > 0 && to_near > 0, "{n} does not get on in round {round}");
            assert_eq!(read(&mut sessions[n].far.1).await, to_far);
            assert_eq!(read(&mut sessions[n].near.1).await, to_near);
            check(&sessions, BUDGET);
        }
    }
    assert!(fullest > BUDGET, "{fullest}: nothing was tried");
}

/// A window that was promised is held for its peer, even when it is idle and others want it.
#[tokio::test(start_paused = true)]
async fn what_was_promised_is_counted() {
    const BUDGET: u64 = 1024 * KIB;
    let mut world = world(BUDGET);
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let mut session = Session::new(open(&mut world).await);
        // Traffic that is read at once makes the window grow.
        for _ in 0..16 {
            flood(&session.near.0).await;
            read(&mut session.far.1).await;
        }
        pass(Duration::from_secs(30)).await;
        sessions.push(session);
    }
    for session in &sessions {
        flood(&session.near.0).await;
        check(&sessions, BUDGET);
    }
}

/// Room that others need is given back by a session to which nothing happens, not even a ping.
#[tokio::test(start_paused = true)]
async fn an_idle_session_gives_back_what_it_had() {
    const BUDGET: u64 = 2048 * KIB;
    let mut world = world(BUDGET);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Session::new(open(&mut world).await));
    }
    settle().await;
    world.network.freeze_links();
    let sent = flood(&sessions[0].far.0).await;
    assert!(sent * MESSAGE >= 1 << 20, "all that its settings allow");
    world.network.cut_links();
    settle().await;
    assert_eq!(read(&mut sessions[0].near.1).await, sent);
    settle().await;
    assert_eq!(sessions[0].held(), 0, "everything has arrived");
    world.network.ignore_dials();
    world.network.cut_links();

    assert!(flood(&sessions[1].far.0).await * MESSAGE >= 1 << 20);
    let mut third = 0;
    for _ in 0..10 {
        third += flood(&sessions[2].far.0).await;
        check(&sessions, BUDGET);
        pass(Duration::from_secs(6)).await;
    }
    assert!(third * MESSAGE > 500 * KIB, "{third} messages");
    world.network.answer_dials();
    settle().await;
    pass(Duration::from_secs(20)).await;
    assert_eq!(read(&mut sessions[2].near.1).await, third);
}

/// A peer of the base profile knows no window; nobody reads what there is no room for.
#[tokio::test(start_paused = true)]
async fn base_profile_peers_are_bounded_like_all() {
    let mut world = world(4 * KIB);
    let mut peer = Peer::dial(&world.connector).await;
    peer.send_client_hello(0, None, None).await;
    assert_eq!(peer.recv_server_hello().await.flags, 0);
    let (tx, mut rx) = within(world.listener.accept()).await.unwrap().split();
    let sending = tokio::spawn(async move {
        for n in 0..2000 {
            peer.send(&frame(n, None, &PAYLOAD)).await;
        }
        peer
    });
    let mut received = 0;
    while received < 2000 {
        settle().await;
        let held = tx.stats().inbox_bytes;
        assert!(held <= MIN + MESSAGE, "{held}");
        for _ in 0..40.min(2000 - received) {
            within(rx.recv()).await.unwrap().unwrap();
            received += 1;
        }
    }
    within(sending).await.unwrap();
}
