//! Parts of cases that have a process to themselves, from both sides: how the measurements start one
//! and read its numbers, and what it does. What concerns the allocator is in `allocations.rs`.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use rejoin_core::{Raw, StableConduit, StableListener};
use rejoin_tcp::{TcpLinkListener, TcpSource};
use tokio::task::JoinSet;

use crate::Failure;
use crate::allocations;
use crate::content::{Messages, stamp};
use crate::endpoints::{Medium, Session, joined, session, two_workers};
use crate::machine::{cpu_seconds, raise_file_limit, resident_kib};

/// The program of these parts, beside the one that measures.
const PROGRAM: &str = "rejoin-bench-apart";

/// What a process is started for.
#[derive(Clone, Copy, Debug, Parser)]
pub(crate) enum Part {
    /// Bytes that an idle session holds on the heap.
    Heap { sessions: usize, quiet_ms: u64 },
    /// The highest resident memory in KiB during the first messages, and after them.
    Resident { count: u64, warm: u64 },
    /// The share of a core that idle sessions take, in percent.
    Idle { sessions: usize, time_ms: u64 },
    /// Allocations of a process that sends, after so many messages that are not counted.
    Send { address: SocketAddr, warm: u64, count: u64 },
    /// Allocations of a process that receives, and the bytes of the messages.
    Receive { address: SocketAddr, warm: u64, count: u64 },
}

impl Part {
    fn args(self) -> Vec<String> {
        let (name, args): (_, [&dyn ToString; 3]) = match &self {
            Self::Heap { sessions, quiet_ms } => ("heap", [sessions, quiet_ms, &""]),
            Self::Resident { count, warm } => ("resident", [count, warm, &""]),
            Self::Idle { sessions, time_ms } => ("idle", [sessions, time_ms, &""]),
            Self::Send { address, warm, count } => ("send", [address, warm, count]),
            Self::Receive { address, warm, count } => ("receive", [address, warm, count]),
        };
        let args = args.map(ToString::to_string).into_iter().filter(|arg| !arg.is_empty());
        std::iter::once(name.to_owned()).chain(args).collect()
    }
}

/// A process at work. Ends with this one's standard output.
pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn start(part: &Part) -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        let child = Command::new(&program)
            .args(part.args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {PROGRAM}, which is built beside: {error}"))?;
        Ok(Self(child))
    }

    /// Waits for its numbers.
    pub(crate) fn numbers<const N: usize>(self) -> Result<[f64; N], Failure> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("{PROGRAM} failed: {}", output.status).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> =
            text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        numbers.try_into().map_err(|_| format!("{PROGRAM} gave other numbers: {text}").into())
    }
}

/// What the other process does.
pub(crate) fn main() -> Result<(), Failure> {
    raise_file_limit();
    let numbers = two_workers()?.block_on(async {
        match Part::parse() {
            Part::Heap { sessions, quiet_ms } => {
                let quiet = Duration::from_millis(quiet_ms);
                allocations::heap_of_a_session(sessions, quiet).await.map(|bytes| vec![bytes])
            }
            Part::Resident { count, warm } => resident(count, warm).await,
            Part::Idle { sessions, time_ms } => {
                idle(sessions, Duration::from_millis(time_ms)).await.map(|percent| vec![percent])
            }
            Part::Send { address, warm, count } => {
                allocations::of_sending(address, warm, count).await.map(|count| vec![count])
            }
            Part::Receive { address, warm, count } => {
                allocations::of_receiving(address, warm, count).await.map(Vec::from)
            }
        }
    })?;
    println!("{}", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// How often the resident memory is looked at, in messages.
const LOOK_EVERY: u64 = 1_000;

/// How often log and inbox are filled within the first messages. A receiver reports what it has taken by
/// the quarter of its window, so up to a quarter of the inbox may be free each time.
const FILL_TIMES: u64 = 16;

async fn resident(count: u64, warm: u64) -> Result<Vec<f64>, Failure> {
    let messages = Messages { count, bytes: 64 };
    let Session { client, server, listener: _listener } = session::<Raw>(Medium::Tcp).await?;
    let ((tx, _client_rx), (_server_tx, mut rx)) = (client.split(), server.split());
    let watched = tx.clone();
    let sending = tokio::spawn(async move {
        let mut message = messages.blank();
        for number in 0..count {
            stamp(&mut message, number);
            tx.send(&&message[..]).await?;
        }
        Ok(tx)
    });
    // Nothing is taken until log and inbox are full: a conduit with its default settings may have
    // that much, so it is no growth. An accepted session's inbox gets its size only while messages are
    // taken, so this is done several times within the first messages.
    let full = async || {
        let mut accepted = u64::MAX;
        while watched.stats().messages_accepted != accepted {
            accepted = watched.stats().messages_accepted;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let (mut before, mut after) = (0, 0);
    for number in 0..count {
        if number < warm && number % (warm / FILL_TIMES) == 0 {
            full().await;
        }
        let message = rx.recv().await?.ok_or("the peer closed")?;
        messages.check(number, message.get())?;
        if number % LOOK_EVERY == 0 {
            let highest = if number < warm { &mut before } else { &mut after };
            *highest = resident_kib().ok_or("the system does not tell")?.max(*highest);
        }
    }
    let _open = joined(sending).await?;
    Ok(vec![before as f64, after as f64])
}

/// How many connect at a time, which a listener's backlog has room for.
const CONNECT_TOGETHER: usize = 64;

/// Percent of a core. Both ends of all sessions are in this process.
async fn idle(sessions: usize, time: Duration) -> Result<f64, Failure> {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut listener = StableListener::<Raw>::new(listener);
    let mut ends = Vec::with_capacity(2 * sessions);
    while ends.len() < 2 * sessions {
        let count = CONNECT_TOGETHER.min(sessions - ends.len() / 2);
        let mut connecting = JoinSet::new();
        for _ in 0..count {
            connecting.spawn(StableConduit::<Raw>::connect(TcpSource::new(address)));
        }
        for _ in 0..count {
            ends.push(listener.accept().await?);
        }
        while let Some(client) = connecting.join_next().await {
            ends.push(client??);
        }
    }
    // What belongs to connecting is over when it has been quiet for as long as acknowledgements
    // wait, several times over.
    tokio::time::sleep(Duration::from_secs(1).min(time)).await;
    let before = cpu_seconds();
    let began = std::time::Instant::now();
    tokio::time::sleep(time).await;
    let share = (cpu_seconds() - before) / began.elapsed().as_secs_f64();
    if ends.iter().any(|end| end.stats().resumes > 0) {
        return Err("a session was not idle".into());
    }
    Ok(share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_process_understands_what_it_is_started_for() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7000));
        for part in [
            Part::Heap { sessions: 1, quiet_ms: 2 },
            Part::Resident { count: 1, warm: 2 },
            Part::Idle { sessions: 1, time_ms: 2 },
            Part::Send { address, warm: 1, count: 2 },
            Part::Receive { address, warm: 1, count: 2 },
        ] {
            let args = std::iter::once(PROGRAM.to_owned()).chain(part.args());
            let parsed = Part::try_parse_from(args).unwrap();
            assert_eq!(format!("{parsed:?}"), format!("{part:?}"));
        }
    }
}
