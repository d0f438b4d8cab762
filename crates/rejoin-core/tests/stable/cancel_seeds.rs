//! The rule of `cancel`, over schedules that are drawn from a seed: how much room there is, who sends
//! how, after how many polls each future is dropped, and when links are cut, freeze or cannot be had.
//!
//! Both sides send at once, several senders each. What was accepted arrives once, in the order of its
//! sender; what was not never does; and at the end both sides close in good order.

use std::collections::HashSet;
use std::time::Duration;

use rejoin_core::{MemoryNetwork, Status};
use tokio::task::{JoinHandle, yield_now};

use crate::common::{
    Drop, Rx, Tx, World, item, narrow, pass, poll_times, recv, room, until, within,
};

const SEEDS: u64 = 60;
const SENDERS: u64 = 2;
const ATTEMPTS: u64 = 30;
const LONG: Duration = Duration::from_secs(1000);

/// Xorshift.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn when(&mut self) -> Drop {
        [Drop::Pending, Drop::Woken][self.below(2)]
    }

    fn time(&mut self) -> Duration {
        Duration::from_millis(self.below(300) as u64)
    }

    async fn turns(&mut self) {
        for _ in 0..self.below(20) {
            yield_now().await;
        }
    }
}

/// What became of the items of one sender.
#[derive(Default)]
struct Sent {
    accepted: Vec<u64>,
    /// Withdrawn by one who cannot know whether they were written just then.
    perhaps: HashSet<u64>,
}

fn disturb(network: &MemoryNetwork, mut random: Random) -> JoinHandle<()> {
    let network = network.clone();
    tokio::spawn(async move {
        loop {
            random.turns().await;
            match random.below(6) {
                0 => {
                    network.refuse_dials();
                    network.cut_links();
                    pass(random.time()).await;
                    network.answer_dials();
                }
                1 => {
                    network.freeze_links();
                    pass(random.time()).await;
                    network.thaw_links();
                }
                _ => network.cut_links(),
            }
            pass(random.time()).await;
        }
    })
}

async fn send_somehow(tx: Tx, sender: u64, mut random: Random) -> Sent {
    let mut sent = Sent::default();
    for attempt in 0..ATTEMPTS {
        let n = sender * 1000 + attempt;
        let payload = &item(n)[..];
        let (polls, when) = (random.below(6), random.when());
        let accepted = match random.below(8) {
            0..3 => poll_times(tx.send(&payload), polls, when).await.map(Result::unwrap),
            3 | 4 => {
                let permit = poll_times(tx.reserve(), polls, when).await.map(Result::unwrap);
                if random.below(3) > 0 {
                    random.turns().await;
                }
                // One in four is dropped unused.
                let permit = permit.filter(|_| random.below(4) > 0);
                permit.map(|permit| permit.send(&payload).unwrap())
            }
            5 => {
                let wait = random.time();
                let sent = poll_times(tx.send_timeout(&payload, wait), polls, when).await;
                sent.and_then(Result::ok)
            }
            6 => {
                let offered = poll_times(tx.send_within(&payload, LONG), polls, when).await;
                if offered.is_none() {
                    sent.perhaps.insert(n);
                }
                offered.map(Result::unwrap)
            }
            _ => Some(within(tx.send(&payload)).await.unwrap()),
        };
        sent.accepted.extend(accepted.map(|_| n));
        let (polls, when) = (random.below(6), random.when());
        match (random.below(8), accepted) {
            (0, Some(position)) => {
                poll_times(tx.acked(position), polls, when).await.transpose().unwrap();
            }
            (1, _) => {
                poll_times(tx.flush_acked(), polls, when).await.transpose().unwrap();
            }
            // An acceptor cannot, and a link may fail; neither is the question here.
            (2, _) => drop(poll_times(tx.migrate(), polls, when).await),
            _ => {}
        }
        random.turns().await;
    }
    sent
}

fn receive(mut rx: Rx, mut random: Random) -> JoinHandle<Vec<u64>> {
    tokio::spawn(async move {
        let mut received = Vec::new();
        loop {
            let (polls, when) = (random.below(4), random.when());
            match poll_times(recv(&mut rx), polls, when).await {
                Some(Ok(Some(n))) => received.push(n),
                Some(Ok(None)) => break,
                Some(Err(error)) => panic!("{error}"),
                None => pass(random.time() / 50).await,
            }
        }
        let status = until(&mut rx.status(), Status::is_final).await;
        assert!(matches!(status, Status::Closed { .. }), "{status:?}");
        received
    })
}

#[track_caller]
fn check(seed: u64, received: Vec<u64>, senders: &[Sent]) {
    let distinct: HashSet<_> = received.iter().collect();
    assert_eq!(distinct.len(), received.len(), "seed {seed}: something came twice");
    for (sender, sent) in (0..).zip(senders) {
        let own = received.iter().filter(|n| *n / 1000 == sender);
        let certain: Vec<_> = own.filter(|n| !sent.perhaps.contains(n)).copied().collect();
        assert_eq!(certain, sent.accepted, "seed {seed}, sender {sender}");
    }
}

async fn run(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let config = room(1 + random.below(6), 1 + random.below(5));
    let mut world = World::with(narrow(1 + random.below(4)), config.clone());
    let ((near, near_rx), (far, far_rx)) = world.halves_with(config).await;
    let disturbing = disturb(&world.network, Random::new(seed + 1_000_000));
    let mut seeds = (1..).map(|step| seed + step * 10_000);
    let mut fresh = || Random::new(seeds.next().unwrap());
    let received = [receive(near_rx, fresh()), receive(far_rx, fresh())];
    let mut sending = Vec::new();
    for tx in [&far, &near] {
        for sender in 0..SENDERS {
            sending.push(tokio::spawn(send_somehow(tx.clone(), sender, fresh())));
        }
    }
    let mut sent = Vec::new();
    for sender in sending {
        sent.push(within(sender).await.unwrap());
    }
    disturbing.abort();
    world.network.thaw_links();
    world.network.answer_dials();
    within(near.flush_acked()).await.unwrap();
    within(far.flush_acked()).await.unwrap();
    let resumes = near.stats().resumes;
    within(near.close()).await.unwrap();
    let senders = sent.chunks(usize::try_from(SENDERS).unwrap());
    for (received, senders) in received.into_iter().zip(senders) {
        check(seed, within(received).await.unwrap(), senders);
    }
    resumes
}

#[tokio::test(start_paused = true)]
async fn whatever_is_dropped_when_nothing_is_lost_or_repeated() {
    let mut resumes = 0;
    for seed in 0..SEEDS {
        resumes += run(seed).await;
    }
    assert!(resumes > SEEDS, "only {resumes} resumes in all");
}
