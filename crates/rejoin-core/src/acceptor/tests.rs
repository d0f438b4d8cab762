//! Many peers at once, some of them slow or hostile, under a paused clock.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::task::Poll;

use bytes::Bytes;

use super::*;
use crate::protocol::{ClientHello, PacketSeq, Profile, ResumeKey};
use crate::{
    LinkRx, LinkTx, MemoryConfig, MemoryConnector, MemoryLink, MemoryListener, MemoryRx, MemoryTx,
    memory_listener,
};

fn acceptor(pending_handshakes_max: usize) -> (AcceptorSource<MemoryListener>, MemoryConnector) {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let config = AcceptorConfig { pending_handshakes_max, ..AcceptorConfig::default() };
    (AcceptorSource::new(listener, config), connector)
}

/// A hello that tells one peer of a test from another.
fn hello(number: u32) -> ClientHello {
    ClientHello::resume(Profile::Base, ResumeKey::from_bytes([0; 16]), Some(PacketSeq(number)))
}

fn number<L>(attachment: &Attachment<L>) -> u32 {
    attachment.client_hello().unwrap().last_received().unwrap().0
}

async fn say(link: MemoryLink, payload: &[u8]) -> SplitLink<MemoryTx, MemoryRx> {
    let peer = link.peer();
    let (mut tx, rx) = link.split();
    tx.send(payload, Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    SplitLink::new(tx, rx, peer)
}

/// Dials and says the hello with this number.
async fn greet(connector: &MemoryConnector, number: u32) -> SplitLink<MemoryTx, MemoryRx> {
    say(connector.connect().await.unwrap(), &hello(number).encode()).await
}

async fn is_dead(link: impl Link) -> bool {
    link.split().1.recv().await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_attachment_carries_the_hello_and_the_link_behind_it() {
    let (mut source, connector) = acceptor(8);
    let near = greet(&connector, 3).await;
    let attachment = source.next_link().await.unwrap();
    assert_eq!(attachment.client_hello(), Some(&hello(3)));
    assert_eq!(attachment.link().peer(), near.peer());
    let (mut tx, _rx) = attachment.link.split();
    tx.send(b"after", Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    assert_eq!(near.split().1.recv().await.unwrap().unwrap(), "after");
    assert_eq!(source.stats(), AcceptorStats { accepted: 1, ..AcceptorStats::default() });
}

// HELLO-8
#[tokio::test(start_paused = true)]
async fn a_silent_peer_times_out_while_others_get_through() {
    let (mut source, connector) = acceptor(8);
    let begun = Instant::now();
    let silent = connector.connect().await.unwrap();
    for n in 0..20 {
        let _near = greet(&connector, n).await;
        assert_eq!(number(&source.next_link().await.unwrap()), n);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "the silent peer held up nobody");
    let (dead, _) = tokio::join!(is_dead(silent), timeout_of(&mut source, 6.0));
    assert!(dead);
    let expected = AcceptorStats { accepted: 21, timed_out: 1, ..AcceptorStats::default() };
    assert_eq!(source.stats(), expected);
}

/// Awaits the next link for some seconds in which none comes.
async fn timeout_of<L: LinkListener>(source: &mut AcceptorSource<L>, seconds: f64) {
    assert!(timeout(Duration::from_secs_f64(seconds), source.next_link()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn links_come_in_the_order_in_which_they_become_ready() {
    let (mut source, connector) = acceptor(8);
    let (first, second) = (connector.connect().await.unwrap(), connector.connect().await.unwrap());
    timeout_of(&mut source, 1.0).await;
    let _second = say(second, &hello(2).encode()).await;
    tokio::task::yield_now().await;
    let _first = say(first, &hello(1).encode()).await;
    assert_eq!(number(&source.next_link().await.unwrap()), 2);
    assert_eq!(number(&source.next_link().await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_hello_costs_the_link_at_once() {
    let (mut source, connector) = acceptor(8);
    let begun = Instant::now();
    let bad = say(connector.connect().await.unwrap(), b"GET / HTTP/1.1").await;
    let empty = say(connector.connect().await.unwrap(), b"").await;
    let closed = connector.connect().await.unwrap().split();
    closed.0.close().await.unwrap();
    drop(connector.connect().await.unwrap());
    let _good = greet(&connector, 1).await;
    assert_eq!(number(&source.next_link().await.unwrap()), 1);
    assert!(is_dead(bad).await && is_dead(empty).await);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    timeout_of(&mut source, 1.0).await;
    let expected =
        AcceptorStats { accepted: 5, bad_hello: 2, closed_early: 2, ..AcceptorStats::default() };
    assert_eq!(source.stats(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_silent_peers_evicts_its_own_oldest() {
    let (mut source, connector) = acceptor(4);
    let numbers = source.stats_handle();
    let mut flood = Vec::new();
    for round in 0..50 {
        for _ in 0..3 {
            flood.push(connector.connect().await.unwrap());
        }
        let _near = greet(&connector, round).await;
        assert_eq!(number(&source.next_link().await.unwrap()), round);
        assert!(numbers.snapshot().pending <= 4);
    }
    tokio::task::yield_now().await;
    let pending = numbers.snapshot().pending;
    let evicted = flood.len() - pending;
    assert_eq!(numbers.snapshot().evicted, evicted as u64);
    let mut alive = flood.split_off(evicted);
    for link in flood {
        assert!(is_dead(link).await, "the oldest are evicted");
    }
    let _youngest = say(alive.pop().unwrap(), &hello(77).encode()).await;
    assert_eq!(number(&source.next_link().await.unwrap()), 77);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_honest_peers_evicts_none() {
    let (mut source, connector) = acceptor(2);
    let mut peers = Vec::new();
    for n in 0..50 {
        peers.push(greet(&connector, n).await);
    }
    for n in 0..50 {
        assert_eq!(number(&source.next_link().await.unwrap()), n);
    }
    assert_eq!(source.stats().evicted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_dropped_drops_its_pending_links() {
    let (mut source, connector) = acceptor(4);
    let near = connector.connect().await.unwrap();
    timeout_of(&mut source, 1.0).await;
    drop(source);
    assert!(is_dead(near).await);
}

#[tokio::test(start_paused = true)]
async fn no_link_is_lost_by_a_dropped_future() {
    for polls in 1..=12 {
        let (mut source, connector) = acceptor(8);
        let silent = connector.connect().await.unwrap();
        let mut peers = Vec::new();
        for n in 0..5 {
            peers.push(greet(&connector, n).await);
        }
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            if let Some(attachment) = poll_times(&mut source, polls).await {
                assert!(seen.insert(number(&attachment)), "each link comes once");
            }
        }
        assert_eq!(seen, (0..5).collect(), "none is lost");
        assert_eq!(source.stats().pending, 1);
        drop(silent);
    }
}

#[tokio::test(start_paused = true)]
async fn one_dropped_future_loses_no_link() {
    for polls in 1..=12 {
        let (mut source, connector) = acceptor(8);
        let mut peers = vec![greet(&connector, 0).await];
        let mut seen = BTreeSet::new();
        seen.extend(poll_times(&mut source, polls).await.map(|attachment| number(&attachment)));
        peers.push(greet(&connector, 1).await);
        while seen.len() < 2 {
            let next = timeout(Duration::from_secs(1), source.next_link()).await;
            assert!(seen.insert(number(&next.expect("none is lost").unwrap())));
        }
    }
}

/// Polls a `next_link` so many times, with a turn for the other tasks before each, and drops it.
async fn poll_times<L: LinkListener>(
    source: &mut AcceptorSource<L>,
    polls: usize,
) -> Option<Attachment<LinkOf<L>>> {
    let mut next = Box::pin(source.next_link());
    for _ in 0..polls {
        tokio::task::yield_now().await;
        let polled = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
        if let Poll::Ready(attachment) = polled {
            return Some(attachment.unwrap());
        }
    }
    None
}

type ScriptedUpgrade = std::pin::Pin<Box<dyn Future<Output = io::Result<MemoryLink>> + Send>>;

/// A listener that does what it is told, and then waits for ever.
struct Scripted(VecDeque<io::Result<ScriptedUpgrade>>);

impl LinkListener for Scripted {
    type Link = MemoryLink;
    type Upgrade = ScriptedUpgrade;

    async fn accept(&mut self) -> io::Result<ScriptedUpgrade> {
        match self.0.pop_front() {
            Some(accepted) => accepted,
            None => pending().await,
        }
    }
}

async fn accepted(number: u32, after: Duration) -> io::Result<ScriptedUpgrade> {
    let (near, far) = crate::memory_link_pair(MemoryConfig::default());
    let near = say(near, &hello(number).encode()).await;
    drop(near);
    Ok(Box::pin(async move {
        let _ = tokio::time::timeout(after, pending::<()>()).await;
        Ok(far)
    }))
}

fn scripted<const N: usize>(script: [io::Result<ScriptedUpgrade>; N]) -> AcceptorSource<Scripted> {
    AcceptorSource::new(Scripted(script.into()), AcceptorConfig::default())
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_is_retried_after_a_delay() {
    let mut source = scripted([
        Err(io::Error::other("no file descriptor is left")),
        Err(io::Error::other("no file descriptor is left")),
        accepted(1, Duration::ZERO).await,
    ]);
    let begun = Instant::now();
    timeout_of(&mut source, 0.15).await;
    assert_eq!(number(&source.next_link().await.unwrap()), 1);
    assert!(begun.elapsed() >= 2 * ACCEPT_RETRY_DELAY);
    assert!(begun.elapsed() < 3 * ACCEPT_RETRY_DELAY, "a dropped future does not start it over");
    assert_eq!(source.stats().accept_failed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_comes_after_the_pending_links_and_then_always() {
    let mut source = scripted([
        accepted(1, Duration::from_secs(2)).await,
        accepted(2, Duration::from_secs(1)).await,
        Err(ErrorKind::PermissionDenied.into()),
        accepted(3, Duration::ZERO).await,
    ]);
    assert_eq!(number(&source.next_link().await.unwrap()), 2);
    assert_eq!(number(&source.next_link().await.unwrap()), 1);
    for _ in 0..3 {
        let error = source.next_link().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(source.is_fatal(&error));
    }
}

#[tokio::test(start_paused = true)]
async fn upgrades_fail_stall_and_panic_beside_each_other() {
    let begun = Instant::now();
    let mut source = scripted([
        Ok(Box::pin(pending())),
        Ok(Box::pin(async { Err(io::Error::other("not TLS")) })),
        Ok(Box::pin(async { panic!("a bug of the transport") })),
        accepted(1, Duration::ZERO).await,
    ]);
    assert_eq!(number(&source.next_link().await.unwrap()), 1);
    assert!(begun.elapsed() < Duration::from_secs(1));
    timeout_of(&mut source, 6.0).await;
    let expected =
        AcceptorStats { accepted: 4, upgrade_failed: 2, timed_out: 1, ..AcceptorStats::default() };
    assert_eq!(source.stats(), expected);
}
