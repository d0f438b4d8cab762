//! A conduit's limits over the transport: sizes, windows, acknowledgements by the application.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use rejoin_core::SendError;
use rejoin_core::protocol::Position;
use tokio::time::timeout;

use super::trials;
use crate::kit::world::{Rx, Traffic, Tx, config};
use crate::kit::{Outcome, Random, Stage, pattern, shown};

trials! { "stable":
    ten_thousand_random_sizes [],
    the_largest_message [],
    flow_control [],
    manual_acknowledgement [],
}

/// 10 000 messages of random sizes from nothing to the most that the link carries, most of them
/// small, with cuts in between.
async fn ten_thousand_random_sizes(stage: Stage) -> Outcome {
    const COUNT: usize = 10_000;
    let mut settings = config(stage.capability());
    settings.send_log_bytes_max = 1 << 20;
    settings.inbox_bytes_max = 1 << 20;
    settings.ack_messages_max = 64;
    let max = settings.message_bytes_max;
    let sizes: Vec<_> =
        Random(10_000).sizes(COUNT, stage.capability()).map(|size| size.min(max)).collect();
    let world = stage.world(settings, VecDeque::new()).await?;
    let sending = async {
        for (n, &size) in (0..).zip(&sizes) {
            world.near.tx.send(&&pattern(n, size)[..]).await?;
        }
        Outcome::Ok(world.near.tx.close().await?)
    };
    let mut rx = world.far.rx;
    let receiving = async {
        for (n, &size) in (0..).zip(&sizes) {
            let item = rx.recv().await?;
            let bytes = item.as_ref().map_or(&[][..], |item| item.get());
            assert!(bytes == pattern(n, size), "{n}: {} of {size}", shown(bytes));
            if n % 2500 == 2000 {
                world.tap.kill();
            }
        }
        assert!(rx.recv().await?.is_none());
        Outcome::Ok(world.far.tx.close().await?)
    };
    tokio::try_join!(sending, receiving).map(|_| ())
}

/// A message that fills the link's largest payload passes both ways; a larger one is refused, and
/// the conduit goes on.
async fn the_largest_message(stage: Stage) -> Outcome {
    let settings = config(stage.capability());
    let max = settings.message_bytes_max;
    let mut world = stage.world(settings, VecDeque::new()).await?;
    let (near, far) = (&mut world.near, &mut world.far);
    for (from, to) in [(&near.tx, &mut far.rx), (&far.tx, &mut near.rx)] {
        let refused = from.send(&&vec![0; max + 1][..]).await;
        assert!(matches!(refused, Err(SendError::TooLarge { .. })), "{refused:?}");
        let largest = pattern(1, max);
        let sending = async {
            from.send(&&largest[..]).await?;
            from.send(&&b"small"[..]).await?;
            Ok(())
        };
        let receiving = async {
            for expected in [&largest[..], b"small"] {
                let item = to.recv().await?;
                assert!(item.is_some_and(|item| *item.get() == expected));
            }
            Outcome::Ok(())
        };
        tokio::try_join!(sending, receiving)?;
    }
    world.close().await
}

/// How long a sender has to get nowhere to count as waiting. Too short a time makes the trial
/// weaker, never wrong.
const STUCK: Duration = Duration::from_millis(60);
const ITEM: usize = 968;
/// What an item counts as.
const COST: usize = 1000;
const LAST: &[u8] = b"last";
const LOG: usize = 16 * 1024;
const WINDOW: usize = 32 * 1024;
/// How many items fill a window, about.
const LEAST: u64 = (WINDOW / COST) as u64;

struct Filling {
    sent: Cell<u64>,
    stop: Cell<bool>,
}

impl Filling {
    async fn run(&self, tx: &Tx) -> Outcome {
        while !self.stop.get() {
            tx.send(&&pattern(self.sent.get(), ITEM)[..]).await?;
            self.sent.set(self.sent.get() + 1);
        }
        tx.send(&LAST).await?;
        Ok(())
    }

    async fn take_all(&self, rx: &mut Rx) -> Outcome {
        for n in 0.. {
            let item = rx.recv().await?;
            let bytes = item.as_ref().map_or(&[][..], |item| item.get());
            if bytes == LAST {
                break;
            }
            assert!(bytes == pattern(n, ITEM), "{} in place of item {n}", shown(bytes));
        }
        Ok(())
    }
}

/// Polls `running` until nothing is sent any more.
async fn until_stuck(
    fillings: &[Filling; 2],
    mut running: Pin<&mut impl Future<Output = Outcome>>,
) -> Outcome {
    let count = || fillings.each_ref().map(|filling| filling.sent.get());
    loop {
        let before = count();
        match timeout(STUCK, &mut running).await {
            Ok(ended) => return ended,
            // With less than a window under way, it is only slow.
            Err(_) if count() == before && count().iter().all(|&sent| sent >= LEAST) => {
                return Ok(());
            }
            Err(_) => {}
        }
    }
}

/// Nobody receives: either side may send what one log and one window hold, then waits (WIN-1). Two
/// full sides do not dead-lock: acknowledgements, pings and resumes pass (WIN-5). Then everything
/// arrives.
async fn flow_control(stage: Stage) -> Outcome {
    let mut settings = config(stage.capability());
    settings.send_log_bytes_max = LOG;
    settings.inbox_bytes_max = WINDOW;
    let mut world = stage.world(settings, VecDeque::new()).await?;
    let fillings = [(); 2].map(|()| Filling { sent: Cell::new(0), stop: Cell::new(false) });
    let [toward_far, toward_near] = &fillings;
    {
        let (near, far) = (&mut world.near, &mut world.far);
        let mut running = pin!(async {
            tokio::try_join!(toward_far.run(&near.tx), toward_near.run(&far.tx)).map(|_| ())
        });
        until_stuck(&fillings, running.as_mut()).await?;
        // A link that dies now is replaced, and lets through no more than before.
        world.tap.kill();
        tokio::select! {
            resumed = near.connected_after(1) => drop(resumed?),
            ended = &mut running => return ended,
        }
        until_stuck(&fillings, running.as_mut()).await?;
        for filling in &fillings {
            let sent = usize::try_from(filling.sent.get()).expect("few");
            let most = LOG + WINDOW + 2 * COST;
            assert!(sent * COST <= most, "{sent} items of {COST} bytes; at most {most} bytes");
            filling.stop.set(true);
        }
        tokio::try_join!(
            running,
            toward_far.take_all(&mut far.rx),
            toward_near.take_all(&mut near.rx)
        )?;
    }
    world.carry(Traffic::Both, || true).await?;
    world.close().await
}

/// With manual acknowledgement an item counts as delivered when the application says so (ACK-8), also
/// across a resume, which brings nothing twice.
async fn manual_acknowledgement(stage: Stage) -> Outcome {
    const COUNT: u64 = 20;
    let near = config(stage.capability());
    let mut far = near.clone();
    far.manual_ack = true;
    let mut world = stage.world_of(near, far, VecDeque::new()).await?;
    for n in 0..COUNT {
        world.near.tx.send(&&n.to_le_bytes()[..]).await?;
    }
    for n in 0..COUNT {
        if n == COUNT / 2 {
            world.tap.kill();
            world.near.connected_after(1).await?;
        }
        let item = world.far.rx.recv().await?;
        assert!(item.is_some_and(|item| *item.get() == n.to_le_bytes()), "item {n}");
    }
    assert_eq!(world.near.tx.stats().messages_acknowledged, 0, "nobody has said so");
    for n in [0, COUNT / 2, COUNT - 2] {
        world.far.rx.acknowledge(Position::new(n));
        world.near.tx.acked(Position::new(n)).await?;
        assert_eq!(world.near.tx.stats().messages_acknowledged, n + 1);
    }
    world.far.rx.acknowledge(Position::new(COUNT - 1));
    world.near.tx.flush_acked().await?;
    world.close().await
}
