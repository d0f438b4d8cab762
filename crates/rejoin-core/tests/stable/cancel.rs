//! Every public asynchronous function, dropped at every point at which it waits, while traffic
//! flows and links are cut: nothing is lost, repeated or leaked, and the next call does not hang.
//!
//! Logs, windows and links are so small that everything has to wait. Each operation is dropped in
//! two ways: as soon as it waits, and when it was woken, so that a wake-up goes to waste.

use std::time::Duration;

use rejoin_core::protocol::CloseReason;
use rejoin_core::{ConduitRx, ConduitTx, ConduitTxPermit, MemoryNetwork, StableConfig, Status};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::common::{
    Conduit, Drop, Rx, Tx, World, cancel_at_every_poll, expect_all, fill, is_connected,
    is_suspended, item, narrow, number, poll_times, recv, room, send, settle, until, within,
};

pub(crate) const BOTH: [Drop; 2] = [Drop::Pending, Drop::Woken];
const ITEMS: u64 = 120;

pub(crate) fn world() -> World {
    World::with(narrow(2), room(4, 3))
}

/// Cuts all links again and again, at moments in which others are busy; the pauses are for the
/// delays of the redialling.
pub(crate) fn cutter(network: &MemoryNetwork) -> JoinHandle<()> {
    let network = network.clone();
    tokio::spawn(async move {
        for turns in (10..80).step_by(7).cycle() {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            network.cut_links();
            crate::common::pass(Duration::from_millis(turns)).await;
        }
    })
}

/// How much a conduit takes when nobody acknowledges; everything is acknowledged before and after.
pub(crate) async fn capacity(world: &World, tx: &Tx, rx: &mut Rx) -> u64 {
    within(tx.flush_acked()).await.unwrap();
    let mut status = tx.status();
    world.network.refuse_dials();
    world.network.cut_links();
    until(&mut status, is_suspended).await;
    let room = fill(tx);
    world.network.answer_dials();
    tx.reconnect_now();
    expect_all(rx, 0..room).await;
    within(tx.flush_acked()).await.unwrap();
    room
}

/// Sends in every way and receives in every way, each dropped at every poll.
#[tokio::test(start_paused = true)]
async fn sending_receiving_and_waiting_for_receipts() {
    for (when, cuts) in BOTH.into_iter().flat_map(|when| [(when, false), (when, true)]) {
        LocalSet::new().run_until(all_at_every_poll(when, cuts)).await;
    }
}

async fn all_at_every_poll(when: Drop, cuts: bool) {
    let mut world = world();
    let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(4, 3)).await;
    let before = capacity(&world, &tx, &mut rx).await;
    let cutter = cuts.then(|| cutter(&world.network));

    let receiving = spawn_local(async move {
        for n in 0..ITEMS {
            let received = match n % 2 {
                0 => cancel_at_every_poll(when, async || recv(&mut rx).await.unwrap()).await,
                _ => {
                    cancel_at_every_poll(when, async || {
                        let message = ConduitRx::recv(&mut rx).await.unwrap();
                        message.map(|message| number(message.get()))
                    })
                    .await
                }
            };
            assert_eq!(received, Some(n));
        }
        rx
    });
    for n in 0..ITEMS {
        let payload = &item(n)[..];
        let position = match n % 4 {
            0 => cancel_at_every_poll(when, async || send(&tx, n).await.unwrap()).await,
            1 => {
                cancel_at_every_poll(when, async || {
                    tx.reserve().await.unwrap().send(&payload).unwrap()
                })
                .await
            }
            2 => {
                cancel_at_every_poll(when, async || {
                    let permit = ConduitTx::reserve(&tx).await.unwrap();
                    ConduitTxPermit::send(permit, &payload).unwrap()
                })
                .await
            }
            _ => {
                // A permit that is dropped gives its room back.
                drop(cancel_at_every_poll(when, async || tx.reserve().await.unwrap()).await);
                within(send(&tx, n)).await.unwrap()
            }
        };
        assert_eq!(position.get(), before + n);
        if cuts && n % 6 == 5 {
            world.network.cut_links();
        }
        match n % 10 {
            3 => cancel_at_every_poll(when, async || tx.acked(position).await.unwrap()).await,
            7 => cancel_at_every_poll(when, async || tx.flush_acked().await.unwrap()).await,
            _ => {}
        }
    }
    let mut rx = within(receiving).await.unwrap();
    if let Some(cutter) = cutter {
        cutter.abort();
    }
    assert_eq!(capacity(&world, &tx, &mut rx).await, before, "{when:?}, cuts: {cuts}");
    let stats = tx.stats();
    assert!(!cuts || stats.resumes > 10, "{stats:?}");
    assert_eq!(stats.messages_accepted, stats.messages_acknowledged);
    assert_eq!(stats.send_log_bytes, 0);
}

/// Many wait for room at once, most give up, and those who stay all get theirs.
#[tokio::test(start_paused = true)]
async fn those_who_stay_in_the_queue_are_served_when_others_leave() {
    for when in BOTH {
        let mut world = world();
        let ((tx, _near_rx), (_far_tx, mut rx)) = world.halves_with(room(4, 3)).await;
        let mut waiting = Vec::new();
        for n in 0..60u64 {
            let tx = tx.clone();
            waiting.push(tokio::spawn(async move {
                let times = usize::try_from(n % 3).unwrap();
                // Every third one stays.
                let sent = match times {
                    2 => Some(within(send(&tx, n)).await),
                    times => poll_times(send(&tx, n), times, when).await,
                };
                sent.is_some_and(|sent| sent.is_ok())
            }));
            tokio::task::yield_now().await;
        }
        let receiving = tokio::spawn(async move {
            let mut received = Vec::new();
            while let Some(n) = within(recv(&mut rx)).await.unwrap() {
                received.push(n);
            }
            received
        });
        let mut accepted = Vec::new();
        for (n, waited) in (0..).zip(waiting) {
            if within(waited).await.unwrap() {
                accepted.push(n);
            }
        }
        assert!(accepted.len() >= 20);
        within(tx.close()).await.unwrap();
        let mut received = within(receiving).await.unwrap();
        received.sort_unstable();
        assert_eq!(received, accepted, "{when:?}");
    }
}

/// What a dropped `connect` had opened goes away by itself; the next one works.
#[tokio::test(start_paused = true)]
async fn connecting() {
    for when in BOTH {
        for refused in [false, true] {
            let mut world = world();
            if refused {
                world.network.refuse_dials();
                let network = world.network.clone();
                tokio::spawn(async move {
                    crate::common::pass(Duration::from_secs(1)).await;
                    network.answer_dials();
                });
            }
            let source = || world.connector.source();
            let near = cancel_at_every_poll(when, async || {
                Conduit::connect_with(source(), room(4, 3)).await.unwrap()
            })
            .await;
            let other =
                cancel_at_every_poll(when, async || Conduit::connect(source()).await.unwrap())
                    .await;
            for (n, conduit) in [(1, &near), (2, &other)] {
                until(&mut conduit.status(), is_connected).await;
                let tx = conduit.stats();
                assert_eq!(tx.messages_accepted, 0, "conduit {n}");
            }
            let (near_tx, _near_rx) = near.split();
            send(&near_tx, 7).await.unwrap();
            // Conduits that were given up may be among those accepted; they are closed.
            let mut found = false;
            while !found {
                let (_tx, mut rx) = within(world.listener.accept()).await.unwrap().split();
                found = tokio::select! {
                    received = recv(&mut rx) => received.unwrap() == Some(7),
                    () = settle() => false,
                };
                if found {
                    std::mem::forget((_tx, rx));
                }
            }
            drop(other);
            crate::common::pass(Duration::from_secs(30)).await;
            assert_eq!(world.listener.sessions(), 1, "{when:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn accepting() {
    for when in BOTH {
        let mut world = world();
        for n in 0..5 {
            let dial = tokio::spawn(Conduit::connect_with(world.connector.source(), room(4, 3)));
            let far =
                cancel_at_every_poll(when, async || world.listener.accept().await.unwrap()).await;
            let near = within(dial).await.unwrap().unwrap();
            let ((near_tx, near_rx), (far_tx, mut far_rx)) = (near.split(), far.split());
            send(&near_tx, n).await.unwrap();
            expect_all(&mut far_rx, n..n + 1).await;
            drop((near_rx, far_tx));
            within(near_tx.close()).await.unwrap();
        }
    }
}

/// A close that was polled once closes, whoever goes on waiting for it.
#[tokio::test(start_paused = true)]
async fn closing() {
    type Close = fn(Tx) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let closes: [Close; 3] = [
        |tx| Box::pin(async { tx.close().await.unwrap() }),
        |tx| Box::pin(async move { tx.close_with(CloseReason::new(7, "enough")).await.unwrap() }),
        |tx| Box::pin(async { ConduitTx::close(tx).await.unwrap() }),
    ];
    for when in BOTH {
        for (kind, close) in closes.into_iter().enumerate() {
            for times in 1..6 {
                let mut world = world();
                let (near, far) = world.open_with(room(4, 3)).await;
                let ((tx, mut near_rx), (far_tx, mut far_rx)) =
                    (near.split(), rejoin_core::Conduit::split(far));
                let cutter = cutter(&world.network);
                for n in 0..3 {
                    within(send(&tx, n)).await.unwrap();
                }
                within(send(&far_tx, 9)).await.unwrap();
                let clone = tx.clone();
                let _ = poll_times(close(tx), times, when).await;
                assert!(clone.try_send(&&item(0)[..]).is_err(), "closed at once");
                expect_all(&mut far_rx, 0..3).await;
                assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
                expect_all(&mut near_rx, 9..10).await;
                assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
                let end = until(&mut far_rx.status(), Status::is_final).await;
                let Status::Closed { by_peer: Some(reason) } = end else { panic!("{end:?}") };
                assert_eq!(reason.code(), if kind == 1 { 7 } else { 0 });
                cutter.abort();
            }
        }
    }
}

/// A close that was never polled has not happened.
#[tokio::test(start_paused = true)]
async fn a_close_that_was_never_polled_does_nothing() {
    let mut world = World::new();
    let ((tx, _near_rx), (_far_tx, mut far_rx)) = world.halves_with(StableConfig::default()).await;
    drop(tx.clone().close());
    within(send(&tx, 0)).await.unwrap();
    expect_all(&mut far_rx, 0..1).await;
}
