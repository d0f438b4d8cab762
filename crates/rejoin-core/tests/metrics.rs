//! What the `metrics` facade is told, as a recorder sees it. On one thread, which is what a local
//! recorder is for.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use rejoin_core::{
    Link, LinkTx, MemoryConfig, Raw, StableConduit, StableListener, Status, memory_listener,
};

/// Keeps every figure, by its name and role.
#[derive(Default)]
struct Figures {
    cells: Mutex<HashMap<(String, String), Arc<Cell>>>,
}

#[derive(Default)]
struct Cell(AtomicU64);

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
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, _: u64) {
        panic!("counters count");
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.0.fetch_add(value as u64, Ordering::Relaxed);
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

/// Every name in the table of the documentation.
fn documented() -> Vec<&'static str> {
    let lines = include_str!("../src/observability.rs").lines();
    lines.filter_map(|line| line.strip_prefix("//! | `rejoin_")?.split('`').next()).collect()
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
        let known = documented.iter().any(|it| name.strip_prefix("rejoin_") == Some(it));
        assert!(known, "{name} is not documented");
    }
}
