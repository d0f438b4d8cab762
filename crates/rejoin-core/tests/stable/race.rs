//! The same promises on several threads, where the handles and the driver really run at once.

use std::time::Duration;

use rejoin_core::protocol::LossReason;
use rejoin_core::{SendError, StableConfig, Status};
use tokio::time::timeout;

use crate::common::{
    Drop, ITEM, World, is_suspended, item, narrow, number, poll_times, recv, room, send, send_all,
    settle, until,
};

/// Clones send at once, some giving up now and then, while links are cut: everything that was
/// accepted arrives, once, in the order of the positions that were given out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_at_once_under_cuts() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 400;
    let mut world = World::with(narrow(20), room(16, 16));
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(16, 16)).await;
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

/// A sender on another thread that is refused in the very moment of the loss reads why, and what was
/// not acknowledged is there to be taken back: no moment in between says *closed*.
#[test]
fn a_sender_that_meets_the_end_reads_why_it_came() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    for _ in 0..5 {
        let mut world = runtime.block_on(async { World::new() });
        let mut config = StableConfig::default();
        // Many small messages, so that to take them back is no matter of an instant.
        config.send_log_bytes_max = 30_000 * ITEM;
        let (near, _far) = runtime.block_on(world.open_with(config));
        let (tx, _rx) = near.split();
        world.network.refuse_dials();
        world.network.cut_links();
        runtime.block_on(until(&mut tx.status(), is_suspended));
        let sender = {
            let tx = tx.clone();
            std::thread::spawn(move || {
                let mut accepted = 0;
                loop {
                    match tx.try_send(&&item(accepted)[..]) {
                        Ok(_) => accepted += 1,
                        Err(SendError::Full) => std::hint::spin_loop(),
                        Err(error) => return (accepted, error, tx.take_unacknowledged().len()),
                    }
                }
            })
        };
        while tx.stats().send_log_messages < 20_000 {
            runtime.block_on(settle());
        }
        runtime.block_on(until(&mut tx.status(), Status::is_final));
        let (accepted, error, taken) = sender.join().unwrap();
        let SendError::Lost(lost) = error else { panic!("{error}") };
        assert_eq!((lost.accepted, lost.acknowledged), (accepted, 0));
        assert_eq!(taken as u64, accepted);
    }
}

/// What was accepted and not yet looked at when the runtime ended is handed back with the rest.
#[test]
fn a_runtime_that_ends_gives_back_what_its_driver_has_not_seen() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let mut world = runtime.block_on(async { World::new() });
    let (near, _far) = runtime.block_on(world.open());
    let (tx, _rx) = near.split();
    runtime.block_on(send_all(&tx, 0..3));
    runtime.block_on(tx.flush_acked()).unwrap();
    for n in 3..10 {
        tx.try_send(&&item(n)[..]).unwrap();
    }
    drop(runtime);
    let refused = tx.try_send(&&item(10)[..]);
    let Err(SendError::Lost(lost)) = refused else { panic!("{refused:?}") };
    assert_eq!(lost.reason, LossReason::Stopped);
    assert_eq!((lost.accepted, lost.acknowledged), (10, 3));
    let taken = tx.take_unacknowledged().into_iter();
    assert!(
        taken
            .map(|(position, bytes)| (position.get(), number(&bytes[..8])))
            .eq((3..10).map(|n| (n, n)))
    );
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
