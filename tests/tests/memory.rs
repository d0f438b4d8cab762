//! What peers cost in memory, counted by the allocator: a long run, peers that vanish, and peers
//! that try to make little cost much. `src/bin/soak.rs` does the first two at full size.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{Link, LinkRx, LinkTx, MemoryConfig, Raw, memory_link_pair, memory_listener};
use rejoin_tcp::{ListenerConfig, StableConduit, StableListener, TcpLinkListener, TcpSource};
use rejoin_tests::scripted::{Scripted, control, data, fresh, prefixed, settings, tag};
use rejoin_tests::{soon, until};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The tests measure the memory of the whole process, so one runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test while no other one runs, which has given back all that was its own by then: what it
/// leaves to its tasks goes with its runtime.
fn alone(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

fn memory() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

async fn listen(config: ListenerConfig) -> (SocketAddr, StableListener<String>) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, StableListener::with_config(listener, config).unwrap())
}

async fn listen_raw() -> (SocketAddr, StableListener<Raw>) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), StableListener::new(listener))
}

#[test]
fn small_items_do_not_keep_large_blocks_alive() {
    alone(async {
        const FILLER: usize = 60 << 10;
        const INBOX: usize = 32 << 10;
        let mut config = ListenerConfig::default();
        config.conduit.inbox_bytes_max = INBOX;
        let (address, mut listener) = listen(config).await;
        let (mut peer, _) = soon(Scripted::greet(address, &fresh(1))).await.unwrap();
        peer.send(&settings(1 << 20)).await.unwrap();
        let (tx, _rx) = soon(listener.accept()).await.unwrap().split();
        peer.send(&data(0, None, &[0])).await.unwrap();

        let before = memory();
        // Items of one byte, and after each as many bytes of no use as fill the rest of the block that
        // the link has read it into: something that was received before.
        let filler = prefixed(&data(0, None, &vec![0; FILLER]));
        let items = u32::try_from(INBOX / 40).unwrap();
        for seq in 1..items {
            let item = prefixed(&data(seq, None, &[0]));
            peer.send_raw(&[item, filler.clone()].concat()).await.unwrap();
        }
        until(|| tx.stats().messages_received >= u64::from(items)).await;
        let after = memory();
        let grown = after.saturating_sub(before);
        assert!(grown < 2 << 20, "{items} items of one byte cost {} KiB", grown >> 10);
        // The link and the session are as good as before.
        peer.send(&control(items, tag::PING, &[7])).await.unwrap();
        soon(peer.recv_tag(tag::PONG)).await.unwrap();
    });
}

#[test]
fn a_long_run_of_messages_costs_no_more_than_a_short_one() {
    alone(async {
        const MESSAGES: u32 = 300_000;
        const WARM: u32 = 50_000;
        // Little room, so that all of it is used soon.
        let mut config = ListenerConfig::default();
        config.conduit.inbox_bytes_max = 256 << 10;
        config.conduit.send_log_bytes_max = 256 << 10;
        let conduit = config.conduit.clone();
        let (address, mut listener) = listen(config).await;
        let client = StableConduit::<String>::connect_with(TcpSource::new(address), conduit);
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        let ((tx, _rx), (_peer_tx, mut peer_rx)) =
            (client.unwrap().split(), server.unwrap().split());
        let sending = tokio::spawn(async move {
            let text = "x".repeat(63);
            for _ in 0..MESSAGES {
                tx.send(&text).await.unwrap();
            }
            soon(tx.flush_acked()).await.unwrap();
            (tx, _rx)
        });
        let (mut early, mut late) = (0, 0);
        for number in 0..MESSAGES {
            soon(peer_rx.recv()).await.unwrap().unwrap();
            if number < WARM {
                early = early.max(memory());
            } else {
                late = late.max(memory());
            }
        }
        let (tx, _rx) = sending.await.unwrap();
        assert_eq!(tx.stats().messages_acknowledged, u64::from(MESSAGES));
        assert_eq!(tx.stats().send_log_bytes, 0);
        assert!(late < early + (512 << 10), "{} KiB, then {} KiB", early >> 10, late >> 10);
    });
}

/// Comes, says something or nothing, and vanishes.
async fn vanish(address: SocketAddr, number: u32) {
    let mut peer = Scripted::dial(address).await.unwrap();
    match number % 4 {
        0 => {}
        1 => {
            // The listener may be done with this peer already.
            let _ = peer.send_raw(&prefixed(&fresh(number))[..15]).await;
        }
        2 => {
            peer.send(&fresh(number)).await.unwrap();
            peer.recv().await.unwrap();
        }
        _ => {
            peer.send(&fresh(number)).await.unwrap();
            peer.recv().await.unwrap();
            peer.reset();
        }
    }
}

#[test]
fn peers_that_vanish_leave_nothing() {
    alone(async {
        const WAVES: u32 = 30;
        const PEERS: u32 = 100;
        let mut config = ListenerConfig::default();
        // Sessions of which the peer never showed itself are kept for twice as long.
        config.conduit.handshake_deadline = Duration::from_millis(250);
        let (address, listener) = listen(config).await;
        let all_gone = async || {
            until(|| listener.sessions() == 0 && listener.handshakes().pending == 0).await;
            memory()
        };
        let (mut first, mut peak, mut opened) = (0, 0, 0);
        for wave in 0..WAVES {
            let mut peers = tokio::task::JoinSet::new();
            for number in 0..PEERS {
                peers.spawn(vanish(address, wave * PEERS + number));
            }
            while let Some(result) = soon(peers.join_next()).await {
                result.unwrap();
            }
            peak = peak.max(memory());
            opened = opened.max(listener.sessions());
            if wave == 2 {
                first = all_gone().await;
            }
        }
        let last = all_gone().await;
        assert_eq!(listener.handshakes().accepted, u64::from(WAVES * PEERS));
        assert!(opened > 0, "sessions did come about");
        assert!(peak < 200 << 20, "{} KiB at most", peak >> 10);
        assert!(last < first + (256 << 10), "{} KiB first, {} KiB last", first >> 10, last >> 10);
    });
}

#[test]
fn peers_that_send_large_messages_share_one_budget() {
    alone(async {
        const PEERS: u32 = 20;
        const BUDGET: usize = 16 << 20;
        let mut config = ListenerConfig::default();
        config.buffered_bytes_max = BUDGET;
        let (address, mut listener) = listen(config).await;
        let client = StableConduit::<String>::connect(TcpSource::new(address));
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        let ((tx, _rx), (_peer_tx, mut peer_rx)) =
            (client.unwrap().split(), server.unwrap().split());

        let before = memory();
        let written = Arc::new(AtomicUsize::new(0));
        let mut peers = tokio::task::JoinSet::new();
        let mut conduits = Vec::new();
        for number in 0..PEERS {
            let (mut peer, _) = soon(Scripted::greet(address, &fresh(number))).await.unwrap();
            peer.send(&settings(1 << 20)).await.unwrap();
            conduits.push(soon(listener.accept()).await.unwrap());
            let written = Arc::clone(&written);
            peers.spawn(async move {
                // All but the end of a message of the largest size.
                peer.send_raw(&(16_u32 << 20).to_le_bytes()).await.unwrap();
                for _ in 0..255 {
                    peer.send_raw(&[0; 64 << 10]).await.unwrap();
                    written.fetch_add(64 << 10, Ordering::Relaxed);
                }
                peer
            });
        }
        // Others go on meanwhile, until the peers get on no more.
        let (mut peak, mut quiet, mut last) = (0, 0, 0);
        while quiet < 200 {
            tx.send(&"x".repeat(100)).await.unwrap();
            assert_eq!(soon(peer_rx.recv()).await.unwrap().unwrap().len(), 100);
            peak = peak.max(memory() - before);
            let now = written.load(Ordering::Relaxed);
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        // One of them goes beyond the budget, to the end of its message.
        let bound = BUDGET + (16 << 20) + PEERS as usize * (512 << 10);
        assert!(last > BUDGET, "{} KiB were written", last >> 10);
        assert!(peak < bound, "{} KiB of {} KiB", peak >> 10, bound >> 10);
        assert_eq!(tx.stats().resumes, 0);
    });
}

#[test]
fn messages_that_come_one_by_one_cost_about_what_they_count() {
    alone(async {
        const MESSAGES: usize = 20_000;
        let mut config = ListenerConfig::default();
        config.conduit.inbox_bytes_max = 1 << 10;
        let (address, mut listener) = listen(config).await;
        let client = StableConduit::<String>::connect(TcpSource::new(address));
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        // The peer does not read, and the driver has all the time to see each message.
        let ((tx, _rx), _server) = (client.unwrap().split(), server.unwrap());
        let before = memory();
        for _ in 0..MESSAGES {
            tx.send(&"x".repeat(9)).await.unwrap();
            tokio::task::yield_now().await;
        }
        let counted = usize::try_from(tx.stats().send_log_bytes).unwrap();
        let held = memory() - before;
        assert!(counted > (MESSAGES - 100) * (10 + 32));
        assert!(held < counted + (64 << 10), "{} KiB for {} KiB", held >> 10, counted >> 10);
    });
}

#[test]
fn a_conduit_that_has_gone_quiet_gives_its_memory_back() {
    alone(async {
        let mut config = ListenerConfig::default();
        config.conduit.ping_interval = Duration::from_millis(300);
        let conduit = config.conduit.clone();
        let (address, mut listener) = listen(config).await;
        let before = memory();
        let client = StableConduit::<String>::connect_with(TcpSource::new(address), conduit);
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        let ((tx, _rx), (_peer_tx, mut peer_rx)) =
            (client.unwrap().split(), server.unwrap().split());
        let mut peak = 0;
        let sending = async {
            for _ in 0..100_000 {
                tx.send(&"x".repeat(63)).await.unwrap();
            }
        };
        let receiving = async {
            for number in 0..100_000 {
                // Late, so that much has to wait.
                if number == 0 {
                    until(|| tx.stats().send_log_bytes >= 2 << 20).await;
                }
                soon(peer_rx.recv()).await.unwrap().unwrap();
                peak = peak.max(memory() - before);
            }
        };
        tokio::join!(sending, receiving);
        assert!(peak > 2 << 20, "{} KiB at most", peak >> 10);
        // Both ends, the links between them, and their tasks.
        until(|| memory() - before < 160 << 10).await;
    });
}

/// How often memory was asked for.
fn asked() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[test]
fn a_stream_of_small_messages_allocates_next_to_nothing() {
    alone(async {
        const WARM: usize = 100_000;
        const MESSAGES: usize = 100_000;
        let begun = memory();
        let (address, mut listener) = listen_raw().await;
        let client = StableConduit::<Raw>::connect(TcpSource::new(address));
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        let ((tx, _rx), (_peer_tx, mut peer_rx)) =
            (client.unwrap().split(), server.unwrap().split());
        let sending = async {
            for _ in 0..WARM + MESSAGES {
                tx.send(&&[7; 64][..]).await.unwrap();
            }
            soon(tx.flush_acked()).await.unwrap();
        };
        let mut before = 0;
        let receiving = async {
            for number in 0..WARM + MESSAGES {
                if number == WARM {
                    before = asked();
                }
                // A deadline for each would be a timer, and no part of what is measured.
                peer_rx.recv().await.unwrap().unwrap();
            }
        };
        soon(async { tokio::join!(sending, receiving) }).await;
        // The sender, which runs ahead, and the receiver, which gets 64 KiB at a time, together.
        let count = asked() - before;
        assert!(count < MESSAGES / 500, "{count} allocations");
        // The next test must not see this one's memory become free.
        drop((tx, _rx, _peer_tx, peer_rx, listener));
        until(|| memory() < begun + (128 << 10)).await;
    });
}

#[test]
fn an_idle_session_holds_little() {
    alone(async {
        const SESSIONS: usize = 100;
        const EACH_MAX: usize = 13 << 10;
        let (listener, connector) = memory_listener(MemoryConfig::default());
        let mut listener = StableListener::<Raw>::new(listener);
        let mut ends = Vec::with_capacity(2 * SESSIONS);
        let before = memory();
        for _ in 0..SESSIONS {
            let client = StableConduit::<Raw>::connect(connector.source());
            let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
            let (mut client, mut server) = (client.unwrap().split(), server.unwrap().split());
            client.0.send(&&[7; 64][..]).await.unwrap();
            soon(server.1.recv()).await.unwrap().unwrap();
            server.0.send(&&[7; 64][..]).await.unwrap();
            soon(client.1.recv()).await.unwrap().unwrap();
            ends.push(client);
            ends.push(server);
        }
        // What a bare memory link holds after a message each way is no part of a session.
        let links = {
            let mut links = Vec::with_capacity(SESSIONS);
            let before = memory();
            for _ in 0..SESSIONS {
                let (near, far) = memory_link_pair(MemoryConfig::default());
                let (mut near, mut far) = (near.split(), far.split());
                for (from, to) in [(&mut near.0, &mut far.1), (&mut far.0, &mut near.1)] {
                    from.send(&[0; 11], Bytes::from_static(&[0; 64])).await.unwrap();
                    from.flush().await.unwrap();
                    to.recv().await.unwrap().unwrap();
                }
                links.push((near, far));
            }
            memory() - before
        };
        let held = || memory().saturating_sub(before + links) / SESSIONS;
        until(|| held() < EACH_MAX).await;
        // The next test must not see this one's memory become free.
        drop((ends, listener, connector));
        until(|| memory() < before + (128 << 10)).await;
    });
}
