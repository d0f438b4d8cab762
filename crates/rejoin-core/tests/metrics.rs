//! What the `metrics` facade is told, as a recorder sees it. On one thread, which is what a local
//! recorder is for.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use rejoin_core::protocol::{ClientHello, Profile, ResumeKey, ServerHello};
use rejoin_core::{
    Link, LinkListener, LinkRx, LinkTx, ListenerConfig, MemoryConfig, MemoryConnector, MemoryLink,
    MemoryListener, MemoryRx, MemoryTx, Raw, StableConduit, StableListener, Status,
    memory_listener,
};

/// Keeps every figure, by its name and role.
#[derive(Default)]
struct Figures {
    cells: Mutex<HashMap<(String, String), Arc<Cell>>>,
}

/// A figure, and the highest that it ever was.
#[derive(Default)]
struct Cell(AtomicU64, AtomicU64);

impl Cell {
    fn add(&self, value: u64) {
        let before = self.0.fetch_add(value, Ordering::Relaxed);
        self.1.fetch_max(before + value, Ordering::Relaxed);
    }
}

impl Figures {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|it| (it.key(), it.value().to_owned())).collect();
        let [("role", role)] = &labels[..] else { panic!("labels are the role only: {labels:?}") };
        let mut cells = self.cells.lock().unwrap();
        Arc::clone(cells.entry((key.name().to_owned(), role.clone())).or_default())
    }

    fn get(&self, name: &str, role: &str) -> u64 {
        let cells = self.cells.lock().unwrap();
        let cell = cells.get(&(format!("rejoin_{name}"), role.to_owned()));
        cell.unwrap_or_else(|| panic!("no figure {name} of the {role}")).0.load(Ordering::Relaxed)
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {
        panic!("counters count");
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.add(value as u64);
    }

    fn decrement(&self, value: f64) {
        let before = self.0.fetch_sub(value as u64, Ordering::Relaxed);
        assert!(before >= value as u64, "a gauge below zero");
    }

    fn set(&self, _: f64) {
        panic!("gauges are sums over sessions");
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("no histogram is documented: {key}")
    }
}

/// Every name in the table of the documentation, and whether it is a gauge.
fn documented() -> Vec<(&'static str, bool)> {
    let lines = include_str!("../src/observability.rs").lines();
    lines
        .filter_map(|line| line.strip_prefix("//! | `rejoin_")?.split_once("` | "))
        .map(|(name, rest)| (name, rest.starts_with("gauge")))
        .collect()
}

/// Fails some of its peers in their upgrade.
struct Flaky {
    listener: MemoryListener,
    fails: Arc<AtomicBool>,
}

impl LinkListener for Flaky {
    type Link = MemoryLink;
    type Upgrade = std::future::Ready<std::io::Result<MemoryLink>>;

    async fn accept(&mut self) -> std::io::Result<Self::Upgrade> {
        let upgrade = self.listener.accept().await?;
        match self.fails.load(Ordering::Relaxed) {
            true => Ok(std::future::ready(Err(std::io::ErrorKind::InvalidData.into()))),
            false => Ok(upgrade),
        }
    }
}

/// Begins a link by hand with this payload.
async fn say(connector: &MemoryConnector, payload: &[u8]) -> (MemoryTx, MemoryRx) {
    let (mut tx, rx) = connector.connect().await.unwrap().split();
    tx.send(payload, Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    (tx, rx)
}

/// Its key, from the answer to a hello.
async fn key(rx: &mut MemoryRx) -> ResumeKey {
    match ServerHello::decode(&rx.recv().await.unwrap().unwrap()).unwrap() {
        ServerHello::Accepted { key, .. } => key,
        rejected @ ServerHello::Rejected { .. } => panic!("{rejected:?}"),
    }
}

/// Lets virtual time go by.
async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_figures_say_what_happened() {
    let figures = Figures::default();
    let _local = metrics::set_default_local_recorder(&figures);
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<Raw>::new(listener);
    let near = StableConduit::<Raw>::connect(connector.source()).await.unwrap();
    let (far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    let (tx, _rx) = near.split();
    for role in ["initiator", "acceptor"] {
        assert_eq!(figures.get("sessions_active", role), 1);
    }
    for _ in 0..10 {
        tx.send(&&[7; 100][..]).await.unwrap();
    }
    tx.flush_acked().await.unwrap();
    assert_eq!(figures.get("inbox_bytes", "acceptor"), 10 * (100 + 32));
    assert_eq!(figures.get("send_log_bytes", "initiator"), 0);

    connector.network().freeze_links();
    tx.send(&&[7; 100][..]).await.unwrap();
    pass(Duration::from_millis(10)).await;
    assert_eq!(figures.get("send_log_bytes", "initiator"), 100 + 32);
    connector.network().refuse_dials();
    connector.network().cut_links();
    let mut status = tx.status();
    status.wait_for(|it| matches!(it, Status::Suspended { .. })).await.unwrap();
    pass(Duration::from_secs(1)).await;
    connector.network().answer_dials();
    for _ in 0..11 {
        assert_eq!(far_rx.recv().await.unwrap().unwrap().get().len(), 100);
    }
    assert!(figures.get("attempts_failed_total", "initiator") >= 1);

    let (mut stranger, _) = connector.connect().await.unwrap().split();
    stranger.send(b"GET / HTTP/1.1", Bytes::new()).await.unwrap();
    stranger.flush().await.unwrap();
    drop(connector.connect().await.unwrap());
    pass(Duration::from_secs(1)).await;
    assert_eq!(figures.get("handshakes_bad_hello_total", "acceptor"), 1);
    assert_eq!(figures.get("handshakes_closed_early_total", "acceptor"), 1);

    far_tx.close().await.unwrap();
    tx.close().await.unwrap();
    status.wait_for(Status::is_final).await.unwrap();
    drop((far_rx, listener));
    pass(Duration::from_secs(1)).await;
    for (name, near, far) in [
        ("sessions_opened_total", 1, 1),
        ("sessions_closed_total", 1, 1),
        ("sessions_lost_total", 0, 0),
        ("sessions_active", 0, 0),
        ("resumes_total", 1, 1),
        ("messages_sent_total", 11, 0),
        ("messages_acknowledged_total", 11, 0),
        ("messages_received_total", 0, 11),
        ("messages_replayed_total", 1, 0),
        ("messages_duplicate_total", 0, 0),
        ("bytes_sent_total", 1200, 0),
        ("bytes_received_total", 0, 1100),
        ("violations_total", 0, 0),
        ("send_log_bytes", 0, 0),
        ("inbox_bytes", 0, 0),
    ] {
        assert_eq!(figures.get(name, "initiator"), near, "{name} of the initiator");
        assert_eq!(figures.get(name, "acceptor"), far, "{name} of the acceptor");
    }
    let documented = documented();
    assert!(documented.len() > 20);
    for (name, _) in figures.cells.lock().unwrap().keys() {
        let known = documented.iter().any(|(it, _)| name.strip_prefix("rejoin_") == Some(it));
        assert!(known, "{name} is not documented");
    }
}

/// Peers and strangers do everything that a figure counts: each one moves, none is but a name in a
/// table, and what tells of the present is back at zero when nobody is there any more.
#[tokio::test(start_paused = true)]
async fn every_documented_figure_moves_and_every_gauge_returns() {
    let figures = Figures::default();
    let _local = metrics::set_default_local_recorder(&figures);
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let fails = Arc::new(AtomicBool::new(false));
    let mut config = ListenerConfig::default();
    config.pending_handshakes_max = 1;
    let listener = Flaky { listener, fails: Arc::clone(&fails) };
    let mut listener = StableListener::<Raw>::with_config(listener, config).unwrap();

    // A session with an outage and a replay, closed in good order.
    let near = StableConduit::<Raw>::connect(connector.source()).await.unwrap();
    let ((tx, _rx), far) = (near.split(), listener.accept().await.unwrap());
    connector.network().freeze_links();
    tx.send(&&[7; 100][..]).await.unwrap();
    pass(Duration::from_millis(10)).await;
    connector.network().refuse_dials();
    connector.network().cut_links();
    pass(Duration::from_secs(1)).await;
    connector.network().answer_dials();
    tx.flush_acked().await.unwrap();
    tx.close().await.unwrap();
    drop(far);

    // One that repeats itself, breaks the protocol, and is lost in the end with all that it holds.
    const SETTINGS: &[u8] = b"\x00\x02\x00\x80\x80\x80\x02\x80\x80\x80\x08\x80\x80\x80\x02";
    let hello = ClientHello::fresh_extended(ResumeKey::from_bytes([5; 16]));
    let (mut raw, mut raw_rx) = say(&connector, &hello.encode()).await;
    let resume = ClientHello::resume(Profile::Extended, key(&mut raw_rx).await, None);
    for frame in [SETTINGS, b"\x00\x00item", b"\x00\x00item", b"\x01\xEE"] {
        raw.send(frame, Bytes::new()).await.unwrap();
    }
    raw.flush().await.unwrap();
    let lost = listener.accept().await.unwrap();
    pass(Duration::from_secs(1)).await;
    let (mut raw, mut raw_rx) = say(&connector, &resume.encode()).await;
    key(&mut raw_rx).await;
    let (lost_tx, _lost_rx) = lost.split();
    lost_tx.send(&&[7; 10][..]).await.unwrap();
    pass(Duration::from_millis(10)).await;
    assert!(figures.get("send_log_bytes", "acceptor") > 0);
    assert!(figures.get("inbox_bytes", "acceptor") > 0);
    // Settings that acknowledge what was never sent.
    let beyond = [&SETTINGS[..2], b"\x01\x7F", &SETTINGS[3..]].concat();
    raw.send(&beyond, Bytes::new()).await.unwrap();
    raw.flush().await.unwrap();
    lost_tx.status().wait_for(Status::is_final).await.unwrap();

    // Strangers.
    drop(say(&connector, b"GET / HTTP/1.1").await);
    pass(Duration::from_secs(1)).await;
    drop(connector.connect().await.unwrap());
    pass(Duration::from_secs(1)).await;
    let unknown = ClientHello::resume(Profile::Extended, ResumeKey::from_bytes([9; 16]), None);
    drop(say(&connector, &unknown.encode()).await);
    pass(Duration::from_secs(1)).await;
    let silent = [connector.connect().await.unwrap(), connector.connect().await.unwrap()];
    pass(Duration::from_secs(6)).await;
    drop(silent);
    fails.store(true, Ordering::Relaxed);
    drop(connector.connect().await.unwrap());
    pass(Duration::from_secs(60)).await;

    for (name, is_gauge) in documented() {
        let cells = figures.cells.lock().unwrap();
        let cells = cells.iter().filter(|((it, _), _)| it.strip_prefix("rejoin_") == Some(name));
        let (mut peak, mut now) = (0, 0);
        for (_, cell) in cells {
            peak += cell.1.load(Ordering::Relaxed);
            now += cell.0.load(Ordering::Relaxed);
        }
        assert!(peak > 0, "{name} is documented, and never moved");
        assert!(!is_gauge || now == 0, "{name} is left at {now}");
    }
}

/// A session that is stopped together with its runtime is none any more.
#[test]
fn gauges_return_when_the_runtime_ends() {
    let figures = Figures::default();
    let _local = metrics::set_default_local_recorder(&figures);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap();
    let conduits = runtime.block_on(async {
        let (listener, connector) = memory_listener(MemoryConfig::default());
        let mut listener = StableListener::<Raw>::new(listener);
        let near = StableConduit::<Raw>::connect(connector.source()).await.unwrap();
        let far = listener.accept().await.unwrap();
        let (tx, rx) = near.split();
        tx.send(&&[7; 100][..]).await.unwrap();
        tx.flush_acked().await.unwrap();
        connector.network().freeze_links();
        tx.send(&&[7; 100][..]).await.unwrap();
        pass(Duration::from_millis(10)).await;
        (tx, rx, far)
    });
    assert_eq!(figures.get("send_log_bytes", "initiator"), 132);
    assert_eq!(figures.get("inbox_bytes", "acceptor"), 132);
    drop(runtime);
    for role in ["initiator", "acceptor"] {
        for gauge in ["sessions_active", "send_log_bytes", "inbox_bytes"] {
            assert_eq!(figures.get(gauge, role), 0, "{gauge} of the {role}");
        }
        assert_eq!(figures.get("sessions_lost_total", role), 1);
    }
    drop(conduits);
}
