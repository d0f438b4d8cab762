//! The work that every peer does, in rounds in which all of them take their turn, and the check of
//! what arrives.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::peers::{self, Channel, Peer};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many messages, and how long each is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages {
    pub(crate) count: u64,
    pub(crate) bytes: usize,
}

impl Messages {
    fn check(self, number: u64, message: &[u8]) -> Result<(), Failure> {
        let begins = message.first_chunk().is_some_and(|it| u64::from_le_bytes(*it) == number);
        if begins && message.len() == self.bytes {
            return Ok(());
        }
        Err(format!("message {number} of {} bytes is not what was sent", message.len()).into())
    }
}

/// Cuts numbered messages from blocks, instead of allocating each.
struct Mint {
    template: Vec<u8>,
    arena: BytesMut,
}

impl Mint {
    fn new(messages: Messages) -> Self {
        Self { template: vec![0x5a; messages.bytes], arena: BytesMut::new() }
    }

    fn message(&mut self, number: u64) -> Bytes {
        self.template[..8].copy_from_slice(&number.to_le_bytes());
        if self.arena.capacity() < self.template.len() {
            self.arena.reserve(self.template.len().max(64 << 10));
        }
        self.arena.extend_from_slice(&self.template);
        self.arena.split().freeze()
    }
}

/// Something that all peers do.
pub(crate) struct Contest {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) messages: Messages,
    pub(crate) rounds: usize,
}

/// No peer takes as long for what it is asked to do.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// The median of each peer, ours first.
pub(crate) fn measure(contest: &Contest) -> Result<Vec<(Peer, f64)>, Failure> {
    let mut figures: Vec<_> = peers::ALL.iter().map(|peer| (*peer, Vec::new())).collect();
    for _ in 0..contest.rounds {
        for (peer, figures) in &mut figures {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let figure = runtime
                .block_on(async { tokio::time::timeout(HANGS_AFTER, peer.run(contest)).await })
                .unwrap_or_else(|_| Err("hangs".into()))
                .map_err(|error| format!("{}: {error}", peer.name()))?;
            figures.push(figure);
        }
    }
    Ok(figures.into_iter().map(|(peer, figures)| (peer, median(figures))).collect())
}

/// What `contest` gives between the two ends of a channel.
pub(crate) async fn between<C, S>(contest: &Contest, client: C, server: S) -> Result<f64, Failure>
where
    C: Channel,
    S: Channel,
{
    match contest.name {
        "one-way" => one_way(contest.messages, client, server).await,
        _ => ping_pong(contest.messages, client, server).await,
    }
}

/// Messages per second from the first send until the receiver has the last.
async fn one_way<C, S>(messages: Messages, mut client: C, mut server: S) -> Result<f64, Failure>
where
    C: Channel,
    S: Channel,
{
    let (received, all_received) = oneshot::channel();
    let receiving = tokio::spawn(async move {
        for number in 0..messages.count {
            messages.check(number, &server.next().await?)?;
        }
        let ended = Instant::now();
        // Nobody waits any more where the sender has failed, which says why.
        let _ = received.send(());
        Ok((ended, server))
    });
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        let mut mint = Mint::new(messages);
        for number in 0..messages.count {
            client.feed(mint.message(number)).await?;
        }
        client.flush().await?;
        // Slozhn writes, and hears acknowledgements, only while somebody waits for messages.
        tokio::select! {
            _ = all_received => Ok(client),
            message = client.next() => Err(message.err().unwrap_or("an answer to nothing".into())),
        }
    });
    let ((ended, _server), _client) = tokio::try_join!(joined(receiving), joined(sending))?;
    Ok(messages.count as f64 / (ended - began).as_secs_f64())
}

/// The median of the microseconds that a message takes there and back.
async fn ping_pong<C, S>(messages: Messages, mut client: C, mut server: S) -> Result<f64, Failure>
where
    C: Channel,
    S: Channel,
{
    let echo = tokio::spawn(async move {
        for _ in 0..messages.count {
            let message = server.next().await?;
            server.feed(message).await?;
            server.flush().await?;
        }
        Ok(server)
    });
    let calling = tokio::spawn(async move {
        let mut mint = Mint::new(messages);
        let mut times = Vec::new();
        for number in 0..messages.count {
            let began = Instant::now();
            client.feed(mint.message(number)).await?;
            client.flush().await?;
            messages.check(number, &client.next().await?)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok((times, client))
    });
    let (_server, (times, _client)) = tokio::try_join!(joined(echo), joined(calling))?;
    Ok(median(times))
}

async fn joined<T>(task: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await?
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
