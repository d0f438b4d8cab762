//! What a process allocates, counted by its allocator: only the program `apart` has one that counts,
//! and only there do these functions give anything but zero.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{
    Link, LinkRx, LinkTx, MemoryConfig, Raw, StableConduit, StableListener, memory_link_pair,
    memory_listener,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats};

use crate::Failure;
use crate::cases::{connect, receive_all};
use crate::content::{Messages, stamp};

const BYTES: usize = 64;

fn stats() -> Stats {
    INSTRUMENTED_SYSTEM.stats()
}

/// How often memory was asked for.
fn asked() -> usize {
    let stats = stats();
    stats.allocations + stats.reallocations
}

/// The bytes that were given out and not given back.
fn held() -> usize {
    let stats = stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// What both ends of a session over a memory link hold together when nothing happens, in bytes,
/// without the link.
pub(crate) async fn heap_of_a_session(sessions: usize, quiet: Duration) -> Result<f64, Failure> {
    let begun = held();
    let mut links = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let (near, far) = memory_link_pair(MemoryConfig::default());
        let ((mut near_tx, mut near_rx), (mut far_tx, mut far_rx)) = (near.split(), far.split());
        pass(&mut near_tx, &mut far_rx).await?;
        pass(&mut far_tx, &mut near_rx).await?;
        links.push((near_tx, near_rx, far_tx, far_rx));
    }
    let of_links = held() - begun;
    drop(links);

    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<Raw>::new(listener);
    let mut ends = Vec::with_capacity(2 * sessions);
    let begun = held();
    for _ in 0..sessions {
        let (client, server) =
            tokio::join!(StableConduit::<Raw>::connect(connector.source()), listener.accept());
        let ((client_tx, mut client_rx), (server_tx, mut server_rx)) =
            (client?.split(), server?.split());
        client_tx.send(&&[0; BYTES][..]).await?;
        server_rx.recv().await?.ok_or("the peer closed")?;
        server_tx.send(&&[0; BYTES][..]).await?;
        client_rx.recv().await?.ok_or("the peer closed")?;
        ends.push((client_tx, client_rx));
        ends.push((server_tx, server_rx));
    }
    tokio::time::sleep(quiet).await;
    let of_sessions = held() as f64 - begun as f64 - of_links as f64;
    Ok(of_sessions / sessions as f64)
}

async fn pass(tx: &mut impl LinkTx, rx: &mut impl LinkRx) -> io::Result<()> {
    tx.send(&[0; 11], Bytes::from_static(&[0; BYTES])).await?;
    tx.flush().await?;
    rx.recv().await?.map(drop).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// How often a process asks for memory while it sends `count` messages, and has them acknowledged.
pub(crate) async fn of_sending(address: SocketAddr, warm: u64, count: u64) -> Result<f64, Failure> {
    let (tx, _rx) = connect(address).await?.split();
    let mut message = [0x5a; BYTES];
    let mut before = 0;
    for number in 0..warm + count {
        if number == warm {
            before = asked();
        }
        stamp(&mut message, number);
        tx.send(&&message[..]).await?;
    }
    tx.flush_acked().await?;
    Ok((asked() - before) as f64)
}

/// How often a process asks for memory while it receives `count` messages, and how many bytes they
/// are on the link. The peer sends them only when it is told that counting has begun: a conduit
/// receives ahead of its application, so some would else have come before.
pub(crate) async fn of_receiving(
    address: SocketAddr,
    warm: u64,
    count: u64,
) -> Result<[f64; 2], Failure> {
    let (tx, mut rx) = connect(address).await?.split();
    let so_far = || (asked(), tx.stats().bytes_received);
    receive_all(&mut rx, Messages { count: warm, bytes: BYTES }).await?;
    let before = so_far();
    tx.send(&&[0; BYTES][..]).await?;
    receive_all(&mut rx, Messages { count, bytes: BYTES }).await?;
    let after = so_far();
    Ok([(after.0 - before.0) as f64, (after.1 - before.1) as f64])
}
