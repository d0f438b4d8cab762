//! Runs for long and watches the resident memory: `cargo xtask soak`. Linux only, run by hand in
//! release mode; the figures are in `docs/testing.md`, and small versions are tests
//! (`tests/memory.rs`).
//!
//! The exit status says whether the memory stayed flat.

use std::alloc::System;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use rejoin_conformance::proxy::{Fault, FaultProxy};
use rejoin_tcp::{ListenerConfig, Raw, StableConduit, StableListener, TcpLinkListener, TcpSource};
use rejoin_tests::scripted::{Scripted, fresh, prefixed};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::process::Command;
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Outcome = Result<bool, Box<dyn Error>>;

/// Runs for long and watches the resident memory.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Ends with one line of JSON, for messages.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sends ten million messages one way over a link that is cut again and again.
    Messages(Messages),
    /// Lets 100 000 peers connect and vanish.
    Peers {
        /// How many peers.
        #[arg(long, default_value_t = 100_000)]
        count: u32,
    },
    /// Is some of those peers, in a process of its own.
    #[command(hide = true)]
    Vanish { port: u16, first: u32 },
}

#[derive(Debug, clap::Args)]
struct Messages {
    /// How much the send log and the inbox hold, each; as much as by default unless told.
    #[arg(default_value_t = 4096)]
    kib: usize,
    /// How many messages.
    #[arg(long, default_value_t = 10_000_000)]
    count: u64,
    /// How many messages between two cuts.
    #[arg(long, default_value_t = 100_000)]
    cut_every: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let default = Messages { kib: 4096, count: 10_000_000, cut_every: 100_000 };
    let flat = match options.what.unwrap_or(What::Messages(default)) {
        What::Messages(what) => messages(&what, options.json).await?,
        What::Peers { count } => peers(count).await?,
        What::Vanish { port, first } => return vanish_all(port, first).await,
    };
    if !options.json {
        println!("{}", if flat { "flat" } else { "NOT FLAT" });
    }
    Ok(if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The resident memory of this process in KiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    Ok(line.and_then(|line| line.split_whitespace().nth(1)).ok_or("no VmRSS")?.parse()?)
}

/// What this process has allocated and not given back, in KiB. The allocator keeps more than that,
/// in pieces that nobody uses, which the resident memory contains.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated) >> 10
}

async fn messages(options: &Messages, json: bool) -> Outcome {
    const STEP: u64 = 10_000;
    let &Messages { kib, count, cut_every } = options;
    let mut config = ListenerConfig::default();
    config.conduit.send_log_bytes_max = kib << 10;
    config.conduit.inbox_bytes_max = kib << 10;
    let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
    let proxy = FaultProxy::start(listener.local_addr()?).await?;
    let source = TcpSource::new(proxy.addr());
    let client = StableConduit::<Raw>::connect_with(source, config.conduit.clone());
    let mut listener = StableListener::<Raw>::with_config(listener, config)?;
    let (client, server) = tokio::join!(client, listener.accept());
    // The side that called has its whole window from the beginning.
    let ((tx, _rx), (peer_tx, mut peer_rx)) = (server?.split(), client?.split());
    let watcher = tx.clone();
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        for number in 0..count {
            let mut message = [7u8; 64];
            message[..8].copy_from_slice(&number.to_le_bytes());
            tx.send(&&message[..]).await.map_err(|error| error.to_string())?;
        }
        tx.flush_acked().await.map_err(|error| error.to_string())
    });
    // Nothing is received until the send log and the inbox are full: more memory than now may never
    // be needed.
    let mut accepted = 0;
    while accepted == 0 || watcher.stats().messages_accepted > accepted {
        accepted = watcher.stats().messages_accepted;
        rejoin_tests::pass(Duration::from_millis(300)).await;
    }
    eprintln!("{accepted} messages fill everything: {} KiB", resident()?);
    // The highest while the first messages pass, and after them.
    let (mut warm, mut later, mut cuts) = (0, 0, 0_u64);
    for number in 0..count {
        let message = peer_rx.recv().await?.ok_or("closed early")?;
        if message.get().first_chunk() != Some(&number.to_le_bytes()) {
            return Err(format!("message {number} is not what was sent").into());
        }
        if number % STEP == 0 {
            let highest = if number <= count / 10 { &mut warm } else { &mut later };
            *highest = resident()?.max(*highest);
        }
        if number % (count / 10).max(1) == 0 {
            eprintln!("{number:>9} messages: {} KiB, {} allocated", resident()?, allocated());
        }
        if number % cut_every == cut_every - 1 {
            let fault = if cuts.is_multiple_of(2) { Fault::Reset } else { Fault::Fin };
            drop(proxy.cut(fault));
            cuts += 1;
        }
    }
    sending.await??;
    let seconds = began.elapsed().as_secs_f64();
    let resumes = peer_tx.stats().resumes;
    // Half a MiB is a few blocks that happen to be in use or free, and a leak of less than a bit for
    // each message.
    let flat = later * 100 <= warm * 105 + 100 * 512 && resumes >= cuts.min(1);
    let replayed = watcher.stats().messages_replayed;
    eprintln!("{count} messages of 64 bytes in {seconds:.1} s, in order and all acknowledged");
    eprintln!("{cuts} cuts, {resumes} resumes, {replayed} messages replayed");
    eprintln!("highest in the first tenth: {warm} KiB; highest after it: {later} KiB");
    if json {
        println!(
            "{{\"messages\":{count},\"bound_kib\":{kib},\"cuts\":{cuts},\"resumes\":{resumes},\
             \"replayed\":{replayed},\"seconds\":{seconds:.1},\"highest_first_tenth_kib\":{warm},\
             \"highest_later_kib\":{later},\"flat\":{flat}}}"
        );
    }
    Ok(flat)
}

/// How many peers come at a time, and how many before the memory is looked at.
const WAVE: u32 = 1_000;
const TURN: u32 = 10_000;

async fn peers(count: u32) -> Outcome {
    let listener = TcpLinkListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    let mut config = ListenerConfig::default();
    // So that sessions of peers that vanished go while the run goes on: within twice this.
    config.conduit.handshake_deadline = Duration::from_millis(500);
    // So that the first peers already reach what there can be at once, which is what memory follows.
    config.sessions_max = 200;
    config.pending_handshakes_max = 100;
    let mut listener = StableListener::<Raw>::with_config(listener, config)?;
    let began = Instant::now();
    let (mut baseline, mut highest) = (0, 0);
    for turn in 0..count.div_ceil(TURN) {
        // Not in this process, whose memory is to be that of the listener.
        let mut peers = Command::new(std::env::current_exe()?);
        peers.args(["vanish", &port.to_string(), &(turn * TURN).to_string()]);
        let mut peers = peers.kill_on_drop(true).spawn()?;
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let status = loop {
            tokio::select! {
                status = peers.wait() => break status?,
                _ = tick.tick() => highest = resident()?.max(highest),
            }
        };
        if !status.success() {
            return Err(format!("the peers failed: {status}").into());
        }
        let (sessions, pending) = (listener.sessions(), listener.handshakes().pending);
        let come = (turn + 1) * TURN;
        println!("{come:>6} peers: {} KiB, {sessions} sessions, {pending} pending", resident()?);
        if turn == 1 {
            all_gone(&listener).await;
            baseline = resident()?;
            println!("all of them forgotten: {baseline} KiB, {} allocated", allocated());
        }
    }
    all_gone(&listener).await;
    let last = resident()?;
    println!("{:?} in {:.1} s", listener.handshakes(), began.elapsed().as_secs_f64());
    println!("highest: {highest} KiB; all forgotten: {last} KiB, {} allocated", allocated());
    // Whoever comes now is served.
    let source = TcpSource::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let (client, server) = tokio::join!(StableConduit::<Raw>::connect(source), listener.accept());
    let ((tx, _rx), (_peer_tx, mut peer_rx)) = (client?.split(), server?.split());
    tx.send(&&b"hello"[..]).await?;
    peer_rx.recv().await?.ok_or("closed early")?;
    Ok(last * 100 <= baseline * 105)
}

/// The peers of one turn, of which `first` is the first.
async fn vanish_all(port: u16, first: u32) -> Result<ExitCode, Box<dyn Error>> {
    for wave in (first..first + TURN).step_by(WAVE as usize) {
        // Each address has its own ports to be called from, which are used up for a minute.
        let [_, _, high, low] = (wave / WAVE).to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(127, 1, high, low), port));
        let mut peers = JoinSet::new();
        for number in wave..wave + WAVE {
            peers.spawn(vanish(address, number));
        }
        while let Some(result) = peers.join_next().await {
            result??;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Comes, says nothing, half a hello or a whole one, and vanishes.
async fn vanish(address: SocketAddr, number: u32) -> std::io::Result<()> {
    let mut peer = Scripted::dial(address).await?;
    match number % 3 {
        0 => {}
        // The listener may be done with this peer already.
        1 => drop(peer.send_raw(&prefixed(&fresh(number))[..15]).await),
        _ => {
            peer.send(&fresh(number)).await?;
            peer.recv().await;
        }
    }
    if number.is_multiple_of(2) {
        peer.reset();
    }
    Ok(())
}

async fn all_gone(listener: &StableListener<Raw>) {
    rejoin_tests::until(|| listener.sessions() == 0 && listener.handshakes().pending == 0).await;
}
