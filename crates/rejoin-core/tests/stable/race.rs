//! The same promises on several threads, where the handles and the driver really run at once.

use std::time::Duration;

use tokio::time::timeout;

use crate::common::{Drop, World, narrow, poll_times, recv, room, send};

/// Clones send at once, some giving up now and then, while links are cut: everything that was
/// accepted arrives, once, in the order of the positions that were given out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_at_once_under_cuts() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 400;
    let mut world = World::with(narrow(20), room(16, 16));
    let (near, far) = world.open_with(room(16, 16)).await;
    let ((tx, _near_rx), (_far_tx, mut rx)) = (near.split(), far.split());
    let network = world.network.clone();
    let cutter = tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(3));
        loop {
            often.tick().await;
            network.cut_links();
        }
    });
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let tx = tx.clone();
            tokio::spawn(async move {
                let mut positions = Vec::new();
                for n in 0..EACH {
                    let id = sender * EACH + n;
                    let mut times = 0;
                    let position = loop {
                        let attempt = poll_times(send(&tx, id), times, Drop::Woken);
                        if let Some(position) = attempt.await {
                            break position.unwrap();
                        }
                        times += 1;
                    };
                    positions.push((position.get(), id));
                }
                positions
            })
        })
        .collect();
    let receiving = async {
        let mut received = Vec::new();
        for position in 0..SENDERS * EACH {
            received.push((position, recv(&mut rx).await.unwrap().unwrap()));
        }
        received
    };
    let received = timeout(Duration::from_secs(60), receiving).await.expect("hangs");
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }
    sent.sort_unstable();
    assert_eq!(received, sent);
    cutter.abort();
    timeout(Duration::from_secs(20), tx.flush_acked()).await.expect("hangs").unwrap();
    assert!(tx.stats().resumes > 0);
}

/// Both sides end at about the same time, in all orders that threads come up with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closes_that_cross() {
    for _ in 0..100 {
        let mut world = World::with(narrow(4), room(8, 8));
        let (near, far) = world.open_with(room(8, 8)).await;
        let ends = [near, far].map(|conduit| {
            let (tx, mut rx) = conduit.split();
            tokio::spawn(async move {
                for n in 0..8 {
                    if send(&tx, n).await.is_err() {
                        break;
                    }
                }
                let closing = tokio::spawn(async move { tx.close().await });
                let mut received = 0;
                while let Some(n) = recv(&mut rx).await.unwrap() {
                    assert_eq!(n, received);
                    received += 1;
                }
                closing.await.unwrap().unwrap();
            })
        });
        for end in ends {
            timeout(Duration::from_secs(20), end).await.expect("hangs").unwrap();
        }
    }
}
