//! One session of a peer: sends numbered messages in bursts, checks what arrives, and tells how it
//! stands and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rejoin_tcp::{Raw, RecvError, StableConduit, StableRx, StableTx, Status};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::message::{self, Arrivals, Side};
use super::peer::Process;
use super::report::{Report, SessionReport, State};
use super::transport::Transport;
use crate::pass;
use crate::sim::rng::Rng;

/// How often a session tells how it stands.
const TELL_EVERY: Duration = Duration::from_millis(400);
/// The same where acknowledgements wait for it, and how many messages may wait for that.
const TELL_EXACT_EVERY: Duration = Duration::from_millis(40);
const UNTOLD_MAX: u64 = 64;

/// Which part a peer has in a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Talk {
    /// Sends first, under this number.
    Begins { session: u64 },
    /// Learns the number from what comes.
    Answers,
}

/// Talks until the session ends.
pub(super) async fn talk(process: Arc<Process>, conduit: StableConduit<Raw>, part: Talk) {
    let (tx, mut rx) = conduit.split();
    let (session, first) = match part {
        Talk::Begins { session } => (session, None),
        Talk::Answers => {
            let first = match rx.recv().await {
                Ok(Some(first)) => first.get().to_vec(),
                _ => return tell_nameless(&tx),
            };
            let Some((Side::Client, session, _)) = message::decode(&first) else {
                return Report::Broken("the first message is damaged".into()).tell();
            };
            (session, Some(first))
        }
    };
    let mut conversation = Conversation {
        pace: Pace { transport: process.transport, side: process.side, session },
        sender: None,
        report: SessionReport {
            side: process.side,
            session,
            state: State::Open,
            accepted: 0,
            acknowledged: 0,
            received: 0,
            arrivals: Arrivals::default(),
            resumes: 0,
            replayed: 0,
            pause_ms: 0,
        },
        last_arrival: Instant::now(),
        untold: 0,
        process,
        tx,
        rx,
    };
    if let Some(first) = first {
        conversation.take(&first);
    }
    conversation.run().await;
}

/// A session of which the peer has never said anything.
fn tell_nameless(tx: &StableTx<Raw>) {
    let returned = tx.take_unacknowledged().len() as u64;
    Report::Nameless { accepted: tx.stats().messages_accepted, returned }.tell();
}

struct Conversation {
    process: Arc<Process>,
    tx: StableTx<Raw>,
    rx: StableRx<Raw>,
    pace: Pace,
    /// Gives how many messages were accepted.
    sender: Option<JoinHandle<u64>>,
    report: SessionReport,
    last_arrival: Instant,
    untold: u64,
}

impl Conversation {
    async fn run(mut self) {
        let (stop, stopped) = watch::channel(false);
        let seed = self.process.seed ^ self.report.session.rotate_left(17);
        let finishing = match self.process.side {
            Side::Client => self.process.finishing(),
            // It goes on until the client has said its last.
            Side::Server => stopped,
        };
        let sending = send(self.tx.clone(), self.pace, Rng::new(seed), finishing);
        self.sender = Some(tokio::spawn(sending));
        let exact = self.process.exact;
        let mut ticks = tokio::time::interval(if exact { TELL_EXACT_EVERY } else { TELL_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.process.update(&self.tx, &self.report);
        let end = loop {
            tokio::select! {
                received = self.rx.recv() => match received {
                    Ok(Some(bytes)) => {
                        let bytes = bytes.get().to_vec();
                        self.take(&bytes);
                        if exact && self.untold >= UNTOLD_MAX {
                            self.tell();
                        }
                    }
                    end => break end.map(drop),
                },
                _ = ticks.tick(), if self.untold > 0 => self.tell(),
            }
        };
        self.tell();
        stop.send_replace(true);
        let accepted = match self.sender.take() {
            Some(sender) => sender.await.ok(),
            None => None,
        };
        // The peer has closed; until this side has, too, the session is not over.
        let closed = self.tx.close().await;
        self.end(end, closed.is_ok(), accepted);
    }

    fn take(&mut self, bytes: &[u8]) {
        let from = self.report.side.other();
        self.report.arrivals.take(from, self.report.session, bytes);
        self.report.received += 1;
        self.untold += 1;
        let pause = self.last_arrival.elapsed().as_millis();
        self.report.pause_ms = self.report.pause_ms.max(u64::try_from(pause).unwrap_or(u64::MAX));
        self.last_arrival = Instant::now();
    }

    /// Tells how the session stands, and only then acknowledges what has come.
    fn tell(&mut self) {
        self.untold = 0;
        self.update();
        Report::Session(self.report.clone()).tell();
        if self.process.exact
            && let Some(position) = self.rx.last_position()
        {
            self.rx.acknowledge(position);
        }
    }

    fn update(&mut self) {
        let stats = self.tx.stats();
        self.report.accepted = stats.messages_accepted;
        self.report.acknowledged = stats.messages_acknowledged;
        self.report.resumes = stats.resumes;
        self.report.replayed = stats.messages_replayed;
        self.process.update(&self.tx, &self.report);
    }

    fn end(mut self, end: Result<(), RecvError>, closed: bool, accepted: Option<u64>) {
        self.update();
        self.process.remove(self.report.session);
        if let Err(RecvError::Lost(lost)) = &end {
            self.report.accepted = lost.accepted;
            self.report.acknowledged = lost.acknowledged;
        }
        let returned = self.tx.take_unacknowledged();
        self.report.state = match end {
            Ok(()) if closed => State::Closed,
            Ok(()) | Err(RecvError::Lost(_)) => State::Lost {
                reason: reason(&self.tx.status().borrow()),
                returned: returned.len() as u64,
                exact: self.is_exact(&returned),
            },
            Err(error) => {
                Report::Broken(format!("recv: {error}")).tell();
                State::Closed
            }
        };
        if accepted != Some(self.report.accepted) {
            let told = format!("{accepted:?} sent, but {} accepted", self.report.accepted);
            Report::Broken(told).tell();
        }
        Report::Session(self.report).tell();
    }

    /// Whether these are all messages that were accepted and not acknowledged, as they were sent.
    fn is_exact(&self, returned: &[(rejoin_tcp::protocol::Position, bytes::Bytes)]) -> bool {
        let SessionReport { side, session, accepted, acknowledged, .. } = self.report;
        returned.len() as u64 == accepted - acknowledged
            && returned.iter().zip(acknowledged..).all(|((position, bytes), number)| {
                position.get() == number && message::decode(bytes) == Some((side, session, number))
            })
    }
}

fn reason(status: &Status) -> String {
    match status {
        Status::Lost(reason) => reason.to_string(),
        other => format!("{other:?}"),
    }
}

/// What the traffic of a session looks like.
#[derive(Clone, Copy, Debug)]
struct Pace {
    transport: Transport,
    side: Side,
    session: u64,
}

impl Pace {
    /// Most messages are short, some are long.
    fn filler_bytes(self, rng: &mut Rng) -> usize {
        let max = self.transport.filler_bytes_max();
        let bytes = match rng.below(100) {
            0 => rng.below(max),
            1..10 => rng.below(2_000),
            _ => rng.below(150),
        };
        usize::try_from(bytes).unwrap_or(0)
    }
}

/// Sends bursts until it is to stop or nothing is taken any more, and gives how many were accepted.
async fn send(tx: StableTx<Raw>, pace: Pace, mut rng: Rng, mut stop: watch::Receiver<bool>) -> u64 {
    let mut number = 0;
    loop {
        for _ in 0..=rng.below(30) {
            let filler_bytes = pace.filler_bytes(&mut rng);
            let bytes = message::encode(pace.side, pace.session, number, filler_bytes);
            match tx.send(&&bytes[..]).await {
                Ok(position) if position.get() == number => number += 1,
                Ok(position) => {
                    let told = format!("message {number} has the position {position}");
                    Report::Broken(told).tell();
                    return number;
                }
                Err(_) => return number,
            }
        }
        let pause = Duration::from_millis(rng.below(60));
        tokio::select! {
            biased;
            stopped = stop.wait_for(|stop| *stop) => {
                drop(stopped);
                if pace.side == Side::Client {
                    // Ready when the peer has everything and has closed, too.
                    tokio::spawn(async move { tx.close().await });
                }
                return number;
            }
            () = pass(pause) => {}
        }
    }
}
