//! The rule of `cancel`, for what a handle does besides sending, receiving and waiting, and for
//! what a listener does besides accepting.

use std::time::Duration;

use rejoin_core::protocol::CloseReason;
use rejoin_core::{SendError, StableConfig, Status};
use tokio::task::{JoinHandle, yield_now};

use crate::cancel::{BOTH, capacity, cutter, world};
use crate::common::{
    Drop, Rx, Tx, World, cancel_at_every_poll, item, narrow, pass, poll_times, recv, room, send,
    send_all, settle, until, within,
};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(1000);
/// Tells the receiver that it has everything.
const LAST: u64 = u64::MAX;
/// Larger than the numbers of one sender.
const OTHERS: u64 = 1_000_000;

const BOTH_WAYS: [(Drop, bool); 4] =
    [(Drop::Pending, false), (Drop::Woken, false), (Drop::Pending, true), (Drop::Woken, true)];

/// Receives until the last item, slowly, so that senders have to wait; gives the others.
fn receive_all(mut rx: Rx) -> JoinHandle<(Vec<u64>, Rx)> {
    tokio::spawn(async move {
        let mut received = Vec::new();
        loop {
            match within(recv(&mut rx)).await.unwrap().expect("the last one comes first") {
                LAST => return (received, rx),
                n => received.push(n),
            }
            pass(Duration::from_millis(1)).await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn sending_with_a_time_limit_on_the_wait() {
    for (when, cuts) in BOTH_WAYS {
        let mut world = world();
        let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(4, 3)).await;
        let before = capacity(&world, &tx, &mut rx).await;
        let cutter = cuts.then(|| cutter(&world.network));
        let receiving = receive_all(rx);
        let mut gave_up = 0;
        for n in 0..80 {
            // Some of those that are short give up by themselves.
            let wait = if n % 2 == 0 { LONG } else { Duration::from_millis(n % 3) };
            let position = loop {
                let sent =
                    cancel_at_every_poll(when, async || tx.send_timeout(&&item(n)[..], wait).await);
                match sent.await {
                    Ok(position) => break position,
                    Err(SendError::Full) if wait < LONG => {
                        gave_up += 1;
                        pass(Duration::from_millis(1)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(position.get(), before + n);
        }
        assert!(gave_up > 0, "{when:?}, cuts: {cuts}");
        within(send(&tx, LAST)).await.unwrap();
        let (received, mut rx) = within(receiving).await.unwrap();
        assert!(received.into_iter().eq(0..80), "{when:?}, cuts: {cuts}");
        if let Some(cutter) = cutter {
            cutter.abort();
        }
        assert_eq!(capacity(&world, &tx, &mut rx).await, before, "{when:?}, cuts: {cuts}");
    }
}

/// What was dropped was written or was not: it arrives once, at its position, or never.
#[tokio::test(start_paused = true)]
async fn sending_what_expires() {
    for (when, cuts) in BOTH_WAYS {
        let mut world = world();
        let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(4, 3)).await;
        let before = capacity(&world, &tx, &mut rx).await;
        let cutter = cuts.then(|| cutter(&world.network));
        let receiving = receive_all(rx);
        // Others who do not give up are in the queue, too.
        let others = [1, 2].map(|other| {
            let tx = tx.clone();
            tokio::spawn(async move {
                let mut sent = Vec::new();
                for n in other * OTHERS..other * OTHERS + 60 {
                    sent.push((n, within(tx.send_within(&&item(n)[..], LONG)).await.unwrap()));
                }
                sent
            })
        });
        // Each attempt has a number of its own.
        let (mut number, mut sent, mut dropped, mut never) =
            (0, Vec::new(), Vec::new(), Vec::new());
        for round in 0..60 {
            for _ in 0..round % 5 {
                sent.push((number, within(send(&tx, number)).await.unwrap()));
                number += 1;
            }
            for times in 0.. {
                assert!(times < 1000, "never comes to its end");
                let payload = &item(number)[..];
                let offered = tx.send_within(&payload, LONG);
                match within(poll_times(offered, times, when)).await {
                    Some(position) => sent.push((number, position.unwrap())),
                    // Nobody else had a turn before it was withdrawn.
                    None if times == 0 || (times == 1 && when == Drop::Pending) => {
                        never.push(number);
                    }
                    None => dropped.push(number),
                }
                number += 1;
                if sent.last().is_some_and(|&(last, _)| last + 1 == number) {
                    break;
                }
                yield_now().await;
            }
        }
        for other in others {
            sent.extend(within(other).await.unwrap());
        }
        within(send(&tx, LAST)).await.unwrap();
        let (received, mut rx) = within(receiving).await.unwrap();
        let at = format!("{when:?}, cuts: {cuts}");
        let own = received.iter().filter(|&&n| n < OTHERS);
        assert!(own.is_sorted_by(|a, b| a < b), "each once and in order: {at}");
        assert_eq!(received.iter().filter(|&&n| n >= OTHERS).count(), 120);
        for (n, position) in sent {
            let index = usize::try_from(position.get() - before).unwrap();
            assert_eq!(received[index], n, "{at}");
        }
        assert!(never.len() >= 60);
        assert!(!never.iter().any(|n| received.contains(n)), "withdrawn, and sent: {at}");
        let written = dropped.iter().filter(|n| received.contains(n)).count();
        assert!(when == Drop::Pending || written > 0, "none was written and dropped: {at}");
        if let Some(cutter) = cutter {
            cutter.abort();
        }
        assert_eq!(capacity(&world, &tx, &mut rx).await, before, "{at}");
    }
}

/// Sends up to `count` items, one a millisecond, until the conduit is closed; closes it, and gives
/// how many were accepted.
fn send_slowly(tx: Tx, count: u64) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut accepted = 0;
        while accepted < count {
            match within(send(&tx, accepted)).await {
                Ok(_) => accepted += 1,
                Err(SendError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
            pass(Duration::from_millis(1)).await;
        }
        within(tx.close()).await.unwrap();
        accepted
    })
}

/// Receives 0, 1, 2 and so on to the end; gives how many came.
fn count_all(mut rx: Rx) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(n) = within(recv(&mut rx)).await.unwrap() {
            assert_eq!(n, count);
            count += 1;
        }
        count
    })
}

#[tokio::test(start_paused = true)]
async fn migrating() {
    for (when, cuts) in BOTH_WAYS {
        let mut world = world();
        let ((tx, near_rx), (far_tx, far_rx)) = world.halves_with(room(4, 3)).await;
        let migrator = tx.clone();
        let sending = [send_slowly(tx, 2000), send_slowly(far_tx, 2000)];
        let receiving = [count_all(far_rx), count_all(near_rx)];
        let cutter = cuts.then(|| cutter(&world.network));
        for turns in 0..40 {
            let migrated = cancel_at_every_poll(when, async || migrator.migrate().await).await;
            assert!(cuts || migrated.is_ok(), "{migrated:?}");
            // The future is woken once; what it has set going is met at every turn.
            tokio::select! {
                biased;
                migrated = migrator.migrate() => assert!(cuts || migrated.is_ok()),
                () = async { for _ in 0..turns { yield_now().await } } => {}
            }
        }
        if let Some(cutter) = cutter {
            cutter.abort();
        }
        settle().await;
        until(&mut migrator.status(), crate::common::is_connected).await;
        let before = migrator.stats();
        assert!(before.generation > 40, "{before:?}");
        assert!(before.messages_accepted < 2000, "the traffic goes on: {before:?}");
        let given_up = poll_times(migrator.migrate(), 1, Drop::Pending).await;
        assert!(given_up.is_none());
        settle().await;
        assert_eq!(migrator.stats().generation, before.generation, "none that nobody waits for");
        within(migrator.migrate()).await.unwrap();
        assert_eq!(migrator.stats().generation, before.generation + 1);
        for (sending, receiving) in sending.into_iter().zip(receiving) {
            assert_eq!(within(sending).await.unwrap(), 2000);
            assert_eq!(within(receiving).await.unwrap(), 2000, "{when:?}, cuts: {cuts}");
        }
        assert_eq!(world.listener.sessions(), 0);
    }
}

/// The handle is still there afterwards: it is closed, and can wait for that again.
#[tokio::test(start_paused = true)]
async fn closing_and_keeping_the_handle() {
    for (when, cuts) in BOTH_WAYS {
        for times in 1..6 {
            let mut world = world();
            let ((tx, near_rx), (far_tx, far_rx)) = world.halves_with(room(4, 3)).await;
            let cutter = cuts.then(|| cutter(&world.network));
            let status = far_tx.status();
            let receiving = [count_all(far_rx), count_all(near_rx)];
            let peer_sends = send_slowly(far_tx, 1000);
            send_all(&tx, 0..20).await;
            // Never polled, never closed.
            drop(tx.close_with(CloseReason::new(6, "not now")));
            send_all(&tx, 20..24).await;
            let closing = tx.close_with(CloseReason::new(7, "enough"));
            let _ = poll_times(closing, times, when).await;
            let refused = tx.try_send(&&item(24)[..]);
            assert!(matches!(refused, Err(SendError::Closed)), "{refused:?}");
            cancel_at_every_poll(when, async || {
                tx.close_with(CloseReason::new(8, "once more")).await.unwrap();
            })
            .await;
            assert_eq!(tx.stats().messages_acknowledged, 24);
            let [far_received, near_received] = receiving;
            assert_eq!(within(far_received).await.unwrap(), 24, "{when:?}, cuts: {cuts}");
            let accepted = within(peer_sends).await.unwrap();
            assert_eq!(within(near_received).await.unwrap(), accepted);
            let end = until(&mut status.clone(), Status::is_final).await;
            let Status::Closed { by_peer: Some(reason) } = end else { panic!("{end:?}") };
            assert_eq!((reason.code(), reason.text()), (7, "enough"), "the first one counts");
            until(&mut tx.status(), Status::is_final).await;
            assert!(tx.take_unacknowledged().is_empty());
            if let Some(cutter) = cutter {
                cutter.abort();
            }
        }
    }
}

/// The sessions go on, or are closed after what was sent; none is cut off.
#[tokio::test(start_paused = true)]
async fn draining() {
    const COUNT: u64 = 200;
    for when in BOTH {
        let mut outcomes = Vec::new();
        for times in 0..6 {
            let mut world = World::with(narrow(2), room(4, 3));
            let (near, far) = world.open_with(room(4, 3)).await;
            let unseen = world.connect(StableConfig::default()).await.unwrap();
            let ((tx, near_rx), (far_tx, far_rx)) = (near.split(), far.split());
            let mut status = tx.status();
            let sending = [send_slowly(tx, COUNT), send_slowly(far_tx, COUNT)];
            let receiving = [count_all(far_rx), count_all(near_rx)];
            pass(Duration::from_millis(20)).await;
            let drain = world.listener.drain(LONG, Duration::from_millis(50));
            let drained = within(poll_times(drain, times, when)).await;
            if let Some(drained) = &drained {
                assert_eq!(drained.unfinished.len(), 1);
            }
            let mut accepted = [0; 2];
            for ((accepted, sending), receiving) in accepted.iter_mut().zip(sending).zip(receiving)
            {
                *accepted = within(sending).await.unwrap();
                assert_eq!(within(receiving).await.unwrap(), *accepted, "{when:?}, {times}");
            }
            let end = until(&mut status, Status::is_final).await;
            assert!(matches!(end, Status::Closed { .. }), "{end:?}");
            let end = until(&mut unseen.status(), Status::is_final).await;
            assert!(matches!(end, Status::Closed { .. }), "{end:?}");
            // The listener closes it at the limit, and only if it still had a turn then.
            let unharmed = accepted == [COUNT; 2];
            let may_close = drained.is_some() || (when == Drop::Woken && times > 1);
            assert!(unharmed || may_close, "{when:?}, {times}: {accepted:?}");
            outcomes.push((unharmed, drained.is_some()));
        }
        assert_eq!(outcomes[0], (true, false));
        assert_eq!(outcomes[5], (false, true), "{when:?}");
    }
}
