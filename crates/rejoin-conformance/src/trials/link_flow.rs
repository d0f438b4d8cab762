//! A link alone: what happens when much is under way, and when nobody takes it.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{BoxLinkRx, BoxLinkTx, LinkRx, LinkTx};
use tokio::time::timeout;

use super::trials;
use crate::kit::{
    Connected, Outcome, Random, Stage, exchange, expect, link_pair, pattern, put, shown,
};

trials! { "link":
    both_directions_at_full_speed [],
    a_full_medium_makes_the_sender_wait [],
    a_stuck_direction_leaves_the_other_alone [],
    a_waiting_receiver_leaves_the_sender_alone [],
    a_dropped_send_kills_only_its_link [],
}

/// Both halves of both ends work at the same time, as fast as they can.
async fn both_directions_at_full_speed(stage: Stage) -> Outcome {
    async fn send(end: &mut BoxLinkTx, seed: u64, lengths: &[usize]) -> Outcome {
        for (n, &len) in (seed..).zip(lengths) {
            end.send(&n.to_le_bytes(), Bytes::from(pattern(n, len))).await?;
        }
        end.flush().await?;
        Ok(())
    }
    async fn receive(end: &mut BoxLinkRx, seed: u64, lengths: &[usize]) -> Outcome {
        for (n, &len) in (seed..).zip(lengths) {
            expect(end, &[&n.to_le_bytes()[..], &pattern(n, len)].concat()).await?;
        }
        Ok(())
    }
    let mut left = stage.capability().load_bytes;
    let mut random = Random(1);
    let mut lengths = Vec::new();
    while left > 0 {
        let len = random.below(4000);
        lengths.push(len);
        left = left.saturating_sub(len + 8);
    }
    let Connected { near, far, .. } = &mut stage.connected().await?;
    tokio::try_join!(
        send(&mut near.tx, 0, &lengths),
        receive(&mut far.rx, 0, &lengths),
        send(&mut far.tx, 1 << 32, &lengths),
        receive(&mut near.rx, 1 << 32, &lengths),
    )?;
    Ok(())
}

/// How long a sender has to get nowhere to count as waiting. Too short a time makes a trial weaker,
/// never wrong.
const STUCK: Duration = Duration::from_millis(60);
const PIECE: usize = 16 * 1024;
const LAST: &[u8] = b"the last one";

/// Sends pieces for as long as nobody says stop.
struct Filling {
    sent: Cell<u64>,
    too_many: u64,
    stop: Cell<bool>,
}

impl Filling {
    fn new(stage: &Stage) -> Self {
        // More than link and medium may hold.
        let too_many = (stage.capability().buffered_bytes_max / PIECE) as u64 + 2;
        Self { sent: Cell::new(0), too_many, stop: Cell::new(false) }
    }

    async fn run(&self, tx: &mut BoxLinkTx) -> Outcome {
        while !self.stop.get() {
            let n = self.sent.get();
            put(tx, &piece(n)).await?;
            self.sent.set(n + 1);
            assert!(n < self.too_many, "{n} pieces of {PIECE} bytes, and no end");
        }
        put(tx, LAST).await?;
        Ok(())
    }

    /// Polls `running` until it gets nowhere.
    async fn until_stuck(&self, mut running: Pin<&mut impl Future<Output = Outcome>>) -> Outcome {
        loop {
            let before = self.sent.get();
            match timeout(STUCK, &mut running).await {
                Ok(ended) => return ended,
                Err(_) if self.sent.get() == before => return Ok(()),
                Err(_) => {}
            }
        }
    }
}

fn piece(n: u64) -> Vec<u8> {
    pattern(n, PIECE)
}

/// Receives what was sent, in order, up to the last one.
async fn take_all(rx: &mut BoxLinkRx) -> Outcome {
    for n in 0.. {
        let received = rx.recv().await?;
        let payload = received.as_deref().unwrap_or_default();
        if payload == LAST {
            break;
        }
        assert!(payload == piece(n), "{} in place of piece {n}", shown(payload));
    }
    Ok(())
}

/// A sender waits while the medium takes no more; then everything arrives all the same.
async fn a_full_medium_makes_the_sender_wait(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            let filling = Filling::new(&stage);
            let mut running = pin!(filling.run(&mut link.near.tx));
            filling.until_stuck(running.as_mut()).await?;
            filling.stop.set(true);
            tokio::try_join!(running, take_all(&mut link.far.rx)).map(|_| ())
        })
        .await
}

/// What goes the other way does not wait for a direction in which nothing is received.
async fn a_stuck_direction_leaves_the_other_alone(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            let filling = Filling::new(&stage);
            let mut running = pin!(filling.run(&mut link.near.tx));
            filling.until_stuck(running.as_mut()).await?;
            let other_way = async {
                for n in 0..100 {
                    put(&mut link.far.tx, &piece(n)).await?;
                    expect(&mut link.near.rx, &piece(n)).await?;
                }
                Outcome::Ok(())
            };
            tokio::select! {
                done = other_way => done?,
                ended = &mut running => return ended,
            }
            filling.stop.set(true);
            tokio::try_join!(running, take_all(&mut link.far.rx)).map(|_| ())
        })
        .await
}

/// What is sent does not wait for what is received: here the peer speaks only when spoken to.
async fn a_waiting_receiver_leaves_the_sender_alone(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            for n in 0..20 {
                let (question, answer) = (piece(n), piece(n + 100));
                let near = async {
                    // The receiver waits before the sender begins.
                    tokio::try_join!(biased; expect(&mut link.near.rx, &answer), async {
                        Ok(put(&mut link.near.tx, &question).await?)
                    })
                };
                let far = async {
                    expect(&mut link.far.rx, &question).await?;
                    Ok(put(&mut link.far.tx, &answer).await?)
                };
                tokio::try_join!(near, far)?;
            }
            Ok(())
        })
        .await
}

/// A send that is given up half-way takes its link along, and nothing else: the peer sees no part
/// of a payload, and the next link is whole.
async fn a_dropped_send_kills_only_its_link(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            let filling = Filling::new(&stage);
            {
                let mut running = pin!(filling.run(&mut link.near.tx));
                filling.until_stuck(running.as_mut()).await?;
            }
            drop(link.near);
            for n in 0.. {
                // Some media cannot tell that nobody is there any more.
                let Ok(received) = timeout(STUCK, link.far.rx.recv()).await else { break };
                let Ok(Some(payload)) = received else { break };
                assert!(payload == piece(n), "{} in place of piece {n}", shown(&payload));
            }
            drop(link.far);
            let (mut near, mut far) = link_pair(&mut link.initiator, &mut link.acceptor).await?;
            exchange(&mut near, &mut far).await
        })
        .await
}
