//! Two hundred strangers at once. Alone in its binary, because it measures the memory of the
//! process.

#[path = "support/intruder.rs"]
mod intruder;

use std::alloc::System;

use intruder::{Intruder, listen, soon};
use rejoin_tcp::{StableConduit, TcpSource};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn memory() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

const STRANGERS: u8 = 200;

/// 256 KiB for each stranger, both ends of its connection and the test's own part included. An
/// eighth of them announces 16 MiB.
const MEMORY_MAX: usize = STRANGERS as usize * (256 << 10);

#[tokio::test]
async fn a_flood_of_strangers_costs_bounded_memory_and_disturbs_no_session() {
    let (address, mut listener) = listen().await;
    let mut honest = Vec::new();
    for _ in 0..3 {
        let client = StableConduit::<String>::connect(TcpSource::new(address));
        let (client, server) = soon(async { tokio::join!(client, listener.accept()) }).await;
        honest.push((client.unwrap().split(), server.unwrap().split()));
    }

    let before = memory();
    let mut peak = before;
    let mut strangers = JoinSet::new();
    for number in 0..STRANGERS {
        let intruder = match number % 8 {
            0 => Intruder::Http,
            1 => Intruder::Tls,
            2 => Intruder::Noise,
            3 => Intruder::Nothing,
            4 => Intruder::HugeLength,
            5 => Intruder::LargeLength,
            6 => Intruder::HalfHello,
            _ => Intruder::HelloThenGarbage(number),
        };
        strangers.spawn(intruder.intrude(address));
    }
    // The honest talk for as long as the strangers are there, and a while at least.
    let mut rounds = 0;
    while !strangers.is_empty() || rounds < 100 {
        for ((tx, rx), (peer_tx, peer_rx)) in &mut honest {
            let text = format!("round {rounds}");
            soon(tx.send(&text)).await.unwrap();
            assert_eq!(*soon(peer_rx.recv()).await.unwrap().unwrap(), text);
            soon(peer_tx.send(&text)).await.unwrap();
            assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), text);
        }
        while strangers.try_join_next().is_some() {}
        peak = peak.max(memory());
        rounds += 1;
    }
    assert!(peak - before < MEMORY_MAX, "{} KiB", (peak - before) >> 10);
    for ((tx, _), (peer_tx, _)) in &honest {
        assert_eq!((tx.stats().resumes, peer_tx.stats().resumes), (0, 0));
    }

    soon(async {
        while listener.sessions() > 3 || listener.handshakes().pending > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stats = listener.handshakes();
    let with_hello = u64::from((0..STRANGERS).map(|number| u8::from(number % 8 == 7)).sum::<u8>());
    assert_eq!(stats.accepted, 3 + u64::from(STRANGERS));
    assert_eq!(
        stats.bad_hello + stats.closed_early + stats.timed_out + stats.evicted,
        u64::from(STRANGERS) - with_hello,
        "{stats:?}"
    );
}
