//! What hostile peers take from an honest session on the same listener: its throughput alone, and
//! beside each kind of peer. Run by hand in release mode; the figures are in `docs/security.md`.
//!
//! The peers run in a process of their own, which this one starts as `disturbed KIND ADDRESS`.

use std::error::Error;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rejoin_tcp::{
    ListenerConfig, Raw, StableConduit, StableListener, StableRx, TcpLinkListener, TcpSource,
};
use rejoin_tests::scripted::{Scripted, control, data, fresh, prefixed, settings, tag};
use tokio::time::{MissedTickBehavior, interval};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long each run is, after a second to warm up.
const RUN: Duration = Duration::from_secs(5);

/// What each of 50 peers does 20 times a second.
const KINDS: [&str; 6] =
    ["vanish", "half-hello", "garbage", "ack-beyond-sent", "100 pings", "1 MiB of duplicates"];
const PEERS: u32 = 50;
const PACE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => measure_all().await,
        [kind, address] => attack(kind, address.parse()?).await,
        _ => Err("usage: disturbed".into()),
    }
}

async fn measure_all() -> Outcome<()> {
    println!("| beside | messages of 64 bytes per second | of undisturbed |");
    println!("| --- | --- | --- |");
    let alone = measure(None).await?;
    println!("| nobody | {alone:.0} | |");
    for kind in KINDS {
        let rate = measure(Some(kind)).await?;
        println!("| {kind} | {rate:.0} | {:.0} % |", rate / alone * 100.0);
    }
    let again = measure(None).await?;
    println!("| nobody, again | {again:.0} | {:.0} % |", again / alone * 100.0);
    Ok(())
}

/// Messages a second of one honest session, one way.
async fn measure(kind: Option<&str>) -> Outcome<f64> {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut config = ListenerConfig::default();
    config.conduit.handshake_deadline = Duration::from_secs(1);
    let mut listener = StableListener::<Raw>::with_config(listener, config)?;
    let client = StableConduit::<Raw>::connect(TcpSource::new(address));
    let (client, server) = tokio::join!(client, listener.accept());
    let ((tx, _rx), (_peer_tx, mut peer_rx)) = (client?.split(), server?.split());
    let sending = tokio::spawn(async move { while tx.send(&&[7u8; 64][..]).await.is_ok() {} });
    // Hostile sessions are accepted and kept.
    let accepting = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(conduit) = listener.accept().await {
            kept.push(conduit);
            kept.retain(|conduit: &StableConduit<Raw>| !conduit.status().borrow().is_final());
        }
    });
    let attackers = kind.map(|kind| Attackers::start(kind, address)).transpose()?;
    receive_for(&mut peer_rx, Duration::from_secs(1)).await?;
    let began = Instant::now();
    let count = receive_for(&mut peer_rx, RUN).await?;
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    drop(attackers);
    sending.abort();
    accepting.abort();
    Ok(rate)
}

async fn receive_for(rx: &mut StableRx<Raw>, time: Duration) -> Outcome<u32> {
    let until = Instant::now() + time;
    let mut count = 0u32;
    while !count.is_multiple_of(1000) || Instant::now() < until {
        rx.recv().await?.ok_or("closed early")?;
        count += 1;
    }
    Ok(count)
}

/// A process full of hostile peers.
struct Attackers(Child);

impl Attackers {
    fn start(kind: &str, address: SocketAddr) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([kind, &address.to_string()]).stdin(Stdio::null());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // Both fail only when it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn attack(kind: &str, address: SocketAddr) -> Outcome<()> {
    let kind = KINDS.iter().position(|known| *known == kind).ok_or("no such kind")?;
    let mut peers = tokio::task::JoinSet::new();
    for number in 0..PEERS {
        peers.spawn(async move {
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut session = None;
            for round in 0u32.. {
                ticks.tick().await;
                let nonce = round * PEERS + number;
                // Whatever fails is tried again with a new connection.
                session = once(kind, address, nonce, session.take()).await.ok().flatten();
            }
        });
    }
    peers.join_all().await;
    Ok(())
}

/// One act of one peer, which may keep its session for the next one.
async fn once(
    kind: usize,
    address: SocketAddr,
    nonce: u32,
    session: Option<Scripted>,
) -> std::io::Result<Option<Scripted>> {
    match kind {
        0 => Scripted::dial(address).await?.reset(),
        1 => {
            let mut peer = Scripted::dial(address).await?;
            peer.send_raw(&prefixed(&fresh(nonce))[..15]).await?;
            peer.reset();
        }
        2 => {
            let mut peer = open(address, nonce).await?;
            peer.send(&[0xff; 40]).await?;
            peer.until_end().await;
        }
        3 => {
            let mut peer = open(address, nonce).await?;
            peer.send(&control(0, tag::ACK, &[1, 9, 0])).await?;
            peer.until_end().await;
        }
        4 => {
            let mut peer = match session {
                Some(peer) => peer,
                None => open(address, nonce).await?,
            };
            let flood: Vec<_> =
                (0..100).flat_map(|token| prefixed(&control(0, tag::PING, &[token]))).collect();
            peer.send_raw(&flood).await?;
            while peer.recv().await != Some(control(0, tag::PONG, &[99])) {}
            return Ok(Some(peer));
        }
        _ => {
            let mut peer = match session {
                Some(peer) => peer,
                None => open(address, nonce).await?,
            };
            // A number from before the first item: a duplicate.
            peer.send(&data(u32::MAX, None, &vec![0; 1 << 20])).await?;
            return Ok(Some(peer));
        }
    }
    Ok(None)
}

async fn open(address: SocketAddr, nonce: u32) -> std::io::Result<Scripted> {
    let (mut peer, _) = Scripted::greet(address, &fresh(nonce)).await?;
    peer.send(&settings(1 << 20)).await?;
    Ok(peer)
}
