//! What `tracing` is told: the documented events with the documented fields, and never a payload or
//! a key. One test in one process on one thread, as the subscriber is the thread's.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::protocol::{ClientHello, Profile, RejectReason, ResumeKey, ServerHello};
use rejoin_core::{
    Link, LinkRx, LinkTx, ListenerConfig, MemoryConfig, MemoryConnector, MemoryRx, MemoryTx,
    StableConduit, StableListener, Status, memory_listener,
};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};
use zerocopy::IntoBytes;

const SECRET: &str = "the-content-of-a-message";

/// One span or event as recorded: its name, and its fields with their values.
#[derive(Clone, Debug)]
struct Record {
    name: String,
    level: String,
    fields: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Capture {
    spans: Arc<AtomicU64>,
    records: Arc<Mutex<Vec<Record>>>,
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Capture {
    fn push(&self, name: Option<&str>, metadata: &Metadata<'_>, Fields(mut fields): Fields) {
        let message = fields.remove("message").unwrap_or_default();
        let name = name.map_or(message, str::to_owned);
        let level = metadata.level().to_string().to_lowercase();
        self.records.lock().unwrap().push(Record { name, level, fields });
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("rejoin_core")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.push(Some(attributes.metadata().name()), attributes.metadata(), fields);
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.push(None, event.metadata(), fields);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {
        panic!("no field is documented to come later");
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The rows of the tables of spans and events: name, level and fields of each.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = include_str!("../src/observability.rs");
    let (tables, _) = text.split_once("# Figures").unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let fields = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), fields))
    })
    .collect()
}

/// Speaks the protocol by hand.
struct Raw {
    tx: MemoryTx,
    rx: MemoryRx,
}

impl Raw {
    async fn say(connector: &MemoryConnector, payload: &[u8]) -> Self {
        let (mut tx, rx) = connector.connect().await.unwrap().split();
        tx.send(payload, Bytes::new()).await.unwrap();
        tx.flush().await.unwrap();
        Self { tx, rx }
    }

    async fn answer(&mut self) -> ServerHello {
        ServerHello::decode(&self.rx.recv().await.unwrap().unwrap()).unwrap()
    }

    async fn send(&mut self, payload: &[u8]) {
        self.tx.send(payload, Bytes::new()).await.unwrap();
        self.tx.flush().await.unwrap();
    }
}

/// The ways in which bytes are usually written down.
fn spellings(bytes: &[u8]) -> Vec<String> {
    let list = format!("{bytes:?}");
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    vec![list.trim_matches(['[', ']']).to_owned(), hex]
}

/// Lets virtual time go by.
async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_as_documented_and_give_no_secret_away() {
    let capture = Capture::default();
    let _default = tracing::subscriber::set_default(capture.clone());
    let mut secrets = vec![SECRET.to_owned()];
    secrets.extend(spellings(&SECRET.as_bytes()[..8]));

    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut config = ListenerConfig::default();
    config.pending_handshakes_max = 2;
    config.handshakes_per_second_max = NonZeroU32::new(1000).unwrap();
    let mut asked = 0;
    let mut listener = StableListener::<String>::with_admission(listener, config, move |_| {
        asked += 1;
        if asked == 1 { Err(RejectReason::Full) } else { Ok(()) }
    })
    .unwrap();

    // A session with cuts, and an outage in which dials are refused.
    let near = StableConduit::<String>::connect(connector.source()).await.unwrap();
    let (far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    let (tx, mut rx) = near.split();
    let mut status = tx.status();
    for round in 0..10 {
        tx.send(&SECRET.to_owned()).await.unwrap();
        far_tx.send(&SECRET.to_owned()).await.unwrap();
        if round % 3 == 0 {
            connector.network().refuse_dials();
            connector.network().cut_links();
            pass(Duration::from_millis(300)).await;
            connector.network().answer_dials();
        }
        assert_eq!(far_rx.recv().await.unwrap().unwrap().as_str(), SECRET);
        assert_eq!(rx.recv().await.unwrap().unwrap().as_str(), SECRET);
    }

    // A peer that breaks the protocol with every frame, and comes back with good and bad keys.
    let nonce = ResumeKey::from_bytes(*b"nonce-of-session");
    secrets.extend(spellings(b"nonce-of-session"));
    let mut hello = ClientHello::fresh_extended(nonce);
    for frame in [&[0, 0xEE][..], b"\x00\x01\xFF\xFF\xFF\xFF\xFF\xFFpayload", SECRET.as_bytes()] {
        let mut raw = Raw::say(&connector, &hello.encode()).await;
        let ServerHello::Accepted { key, .. } = raw.answer().await else { panic!("rejected") };
        secrets.extend(spellings(key.as_bytes()));
        raw.send(frame).await;
        while let Ok(Some(_)) = raw.rx.recv().await {}
        hello = ClientHello::resume(Profile::Extended, key, None);
    }
    let unknown = ResumeKey::from_bytes(*b"0123456789abcdef");
    secrets.extend(spellings(b"0123456789abcdef"));
    secrets.push("0123456789abcdef".to_owned());
    let unknown = ClientHello::resume(Profile::Extended, unknown, None);
    let answer = Raw::say(&connector, &unknown.encode()).await.answer().await;
    assert!(matches!(answer, ServerHello::Rejected { .. }));

    // A peer that says again and again that it will end, and each time at another time, is heard once
    // for each link.
    let goings = |capture: &Capture| {
        let records = capture.records.lock().unwrap();
        records.iter().filter(|it| it.name == "the peer is going away").count()
    };
    let before = goings(&capture);
    let mut hello = ClientHello::fresh_extended(ResumeKey::from_bytes(*b"nonce-of-another"));
    for link in 1..=2 {
        let mut raw = Raw::say(&connector, &hello.encode()).await;
        let ServerHello::Accepted { key, .. } = raw.answer().await else { panic!("rejected") };
        raw.send(b"\x00\x02\x00\x80\x80\x80\x02\x80\x80\x80\x08\x80\x80\x80\x02").await;
        for delay in 0..100 {
            raw.send(&[0, 8, delay]).await;
            pass(Duration::from_millis(1)).await;
        }
        assert_eq!(goings(&capture), before + link);
        hello = ClientHello::resume(Profile::Extended, key, None);
    }

    // Strangers: one talks nonsense, and of those that say nothing one is too many.
    let stranger = Raw::say(&connector, SECRET.as_bytes()).await;
    pass(Duration::from_millis(10)).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connector.connect().await.unwrap());
        pass(Duration::from_millis(10)).await;
    }
    pass(Duration::from_secs(6)).await;
    drop((stranger, silent));

    // The end, announced.
    let draining = tokio::spawn(listener.drain(Duration::from_secs(1), Duration::from_secs(30)));
    pass(Duration::from_secs(1)).await;
    far_tx.close().await.unwrap();
    tx.close().await.unwrap();
    status.wait_for(Status::is_final).await.unwrap();
    draining.await.unwrap();
    pass(Duration::from_secs(60)).await;

    let documented = documented();
    assert!(documented.len() > 15, "{documented:?}");
    let records = capture.records.lock().unwrap().clone();
    let mut seen = BTreeSet::new();
    for record in &records {
        let Some((level, fields)) = documented.get(&record.name) else {
            panic!("not documented: {record:?}")
        };
        assert_eq!(*level, record.level, "{record:?}");
        let names: BTreeSet<_> = record.fields.keys().cloned().collect();
        // What may be absent is absent only there.
        let absent =
            fields.difference(&names).all(|it| record.name == "session over" && it == "lost");
        assert!(names.is_subset(fields) && absent, "{record:?} has other fields than {fields:?}");
        for value in record.fields.values() {
            for secret in &secrets {
                assert!(!value.contains(secret.as_str()), "{record:?} gives {secret} away");
            }
        }
        seen.insert(record.name.as_str());
    }
    for expected in [
        "session",
        "link up",
        "link down",
        "no link",
        "handshake failed",
        "handshake rejected",
        "protocol violation",
        "the peer is going away",
        "the peer closed",
        "session over",
        "a handshake failed",
        "a handshake was given up",
    ] {
        assert!(seen.contains(expected), "{expected} did not occur among {seen:?}");
    }
}
