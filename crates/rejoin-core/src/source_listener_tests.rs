//! What a listener made of a source accepts, and what its source sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::*;
use crate::acceptor::{AcceptorConfig, AcceptorSource};
use crate::link::LinkTx;
use crate::listener_set::ListenerSet;
use crate::memory::{MemoryConfig, MemoryLink, memory_link_pair, memory_listener};
use crate::protocol::ResumeKey;
use crate::source::prepare_acceptor_attachment;
use crate::stable::{StableConduit, StableListener};

/// Reads the hellos of the links that it is told to give, and counts how often it was asked.
struct Scripted {
    gives: mpsc::Receiver<io::Result<MemoryLink>>,
    asked: Arc<AtomicU64>,
}

type Gives = mpsc::Sender<io::Result<MemoryLink>>;

fn scripted() -> (Gives, Arc<AtomicU64>, SourceListener<Scripted>) {
    let (tell, gives) = mpsc::channel(8);
    let asked = Arc::<AtomicU64>::default();
    let source = Scripted { gives, asked: Arc::clone(&asked) };
    (tell, asked, SourceListener::new(source).expect("it is an acceptor's"))
}

impl LinkSource for Scripted {
    type Link = UnreadOf<MemoryLink>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let link = self.gives.recv().await.expect("the test goes on")?;
        prepare_acceptor_attachment(link).await
    }

    fn role(&self) -> Role {
        Role::Acceptor
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotFound
    }
}

type UnreadOf<L> = SplitLink<<L as Link>::Tx, <L as Link>::Rx>;

async fn say(tx: &mut impl LinkTx, payload: &[u8]) {
    tx.send(payload, Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
}

#[tokio::test]
async fn a_link_begins_with_the_hello_that_its_source_has_read() {
    let (tell, _, mut listener) = scripted();
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let mut near = near.split().0;
    let hello = ClientHello::fresh_extended(ResumeKey::from_bytes([7; 16]));
    say(&mut near, &hello.encode()).await;
    say(&mut near, b"and what follows, which is longer than any hello").await;
    tell.send(Ok(far)).await.unwrap();
    let link = listener.accept().await.unwrap().await.unwrap();
    let attachment = prepare_acceptor_attachment(link).await.unwrap();
    assert_eq!(attachment.client_hello(), Some(&hello));
    let mut rx = attachment.into_link().split().1;
    let follows = rx.recv().await.unwrap().unwrap();
    assert_eq!(&follows[..], b"and what follows, which is longer than any hello");
}

/// Always has a run at hand.
struct Runs;

impl LinkRx for Runs {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        Ok(Some(Bytes::from_static(b"payload")))
    }

    fn recv_parts(&mut self, mut take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        if take(0..3) { Bytes::from_static(b"run") } else { Bytes::new() }
    }
}

#[tokio::test]
async fn no_run_overtakes_the_hello_or_a_limit_that_the_half_has_yet_to_be_told() {
    let hello = ClientHello::fresh();
    let mut rx = UnreadHello { hello: Some(hello.clone()), limit: None, rx: Runs };
    assert_eq!(rx.recv_parts(|_| true), "");
    assert_eq!(rx.recv().await.unwrap().unwrap(), hello.encode()[..]);
    assert_eq!(rx.recv_parts(|_| true), "run");
    rx.limit_payloads(Some(3));
    assert_eq!(rx.recv_parts(|_| true), "");
    assert_eq!(rx.recv().await.unwrap().unwrap(), "payload");
    assert_eq!(rx.recv_parts(|_| true), "run");
}

#[tokio::test]
async fn a_caller_half_way_through_its_hello_is_not_hung_up_on() {
    let (tell, asked, mut listener) = scripted();
    let (near, far) = memory_link_pair(MemoryConfig::default());
    tell.send(Ok(far)).await.unwrap();
    for _ in 0..3 {
        // The link was given, its hello has not come.
        assert!(timeout(Duration::ZERO, listener.accept()).await.is_err());
    }
    say(&mut near.split().0, &ClientHello::fresh().encode()).await;
    assert!(listener.accept().await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 1, "dropped calls do not ask again");
}

#[tokio::test]
async fn errors_are_as_fatal_as_the_source_has_it() {
    let (tell, asked, mut listener) = scripted();
    for (given, fatal, kind) in [
        (io::ErrorKind::ConnectionReset, false, io::ErrorKind::ConnectionReset),
        (io::ErrorKind::PermissionDenied, false, io::ErrorKind::Other),
        (io::ErrorKind::NotFound, true, io::ErrorKind::Unsupported),
    ] {
        tell.send(Err(io::Error::new(given, "it hurts"))).await.unwrap();
        let Err(error) = listener.accept().await else { panic!("the source failed") };
        assert_eq!((error.kind(), is_fatal_kind(&error)), (kind, fatal), "{given}");
        assert_eq!(error.to_string(), "it hurts");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3, "it is asked again after each");
}

#[test]
fn an_initiators_source_is_refused() {
    let (_, connector) = memory_listener(MemoryConfig::default());
    let error = SourceListener::new(connector.source()).expect_err("it dials");
    assert_eq!(error, ConfigError::InitiatorInListener);
}

#[tokio::test]
async fn sessions_are_opened_and_resumed_over_it_beside_other_listeners() {
    let (wire, connector) = memory_listener(MemoryConfig::default());
    let (elsewhere, other) = memory_listener(MemoryConfig::default());
    let line = AcceptorSource::new(wire, AcceptorConfig::default());
    let set = ListenerSet::new(elsewhere).and(SourceListener::new(line).unwrap());
    let mut listener = StableListener::<u64>::new(set);
    let mut sessions = Vec::new();
    for connector in [&connector, &other, &connector] {
        let near = StableConduit::<u64>::connect(connector.source()).await.unwrap();
        sessions.push((near.split(), listener.accept().await.unwrap().split()));
    }
    for ((tx, _rx), (_tx, rx)) in &mut sessions {
        tx.send(&1).await.unwrap();
        assert_eq!(*rx.recv().await.unwrap().unwrap(), 1);
    }
    connector.network().cut_links();
    for ((tx, _rx), (_tx, rx)) in &mut sessions {
        tx.send(&2).await.unwrap();
        assert_eq!(*rx.recv().await.unwrap().unwrap(), 2);
    }
}
