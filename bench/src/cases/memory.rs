//! What a conduit holds and how often it allocates. Each is measured in a process of its own, in
//! which nothing else is: see `apart.rs` and `allocations.rs`.

use rejoin_core::{Raw, StableConduit, StableListener};
use rejoin_tcp::{TcpLinkListener, TcpSource};

use super::one_way::{receive, send};
use crate::Failure;
use crate::apart::{Child, Part};
use crate::content::Messages;
use crate::endpoints::{joined, two_workers};
use crate::measure::{Case, Effort, Goal, Round};

const BYTES: usize = 64;

/// "None" for a count that a timer may disturb: fewer than one allocation in a thousand messages.
const NONE: f64 = 0.001;

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let sessions = effort.choose(500, 200, 20);
    let quiet_ms = effort.choose(5_000, 3_000, 100);
    let count = effort.choose(10_000_000, 2_000_000, 2_000);
    let warm_count = effort.choose(100_000, 100_000, 1_000);
    let heap = ("heap of an idle session, both ends", sessions, "bytes a session");
    let resident = ("resident memory over so many messages", count, "KiB, highest");
    let sending = ("allocations, sending", BYTES, "per message");
    let receiving = ("allocations, receiving", BYTES, "per 64 KiB received");
    vec![
        Case::new(heap, Goal::AtMost(16.0 * 1024.0), move |_| {
            let [bytes] = Child::start(&Part::Heap { sessions, quiet_ms })?.numbers()?;
            Ok(bytes.into())
        }),
        Case::new(resident, Goal::RatioAtMost(1.05), move |_| {
            let part = Part::Resident { count: count as u64, warm: warm_count };
            let [before, after] = Child::start(&part)?.numbers()?;
            Ok(Round { ours: after, baseline: Some(before) })
        })
        .once(),
        Case::new(sending, Goal::AtMost(NONE), |effort| Ok(sending_side(effort)?.into())),
        Case::new(receiving, Goal::AtMost(1.0), |effort| Ok(receiving_side(effort)?.into())),
    ]
}

/// How many messages come before the counted ones.
fn warm(effort: Effort) -> u64 {
    effort.choose(500_000, 200_000, 2_000)
}

fn counted(effort: Effort) -> u64 {
    effort.choose(2_000_000, 300_000, 2_000)
}

/// Allocations per message of a process that only sends. This one receives.
fn sending_side(effort: Effort) -> Result<f64, Failure> {
    let (warm, count) = (warm(effort), counted(effort));
    two_workers()?.block_on(async {
        let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut listener = StableListener::<Raw>::new(listener);
        let child = Child::start(&Part::Send { address, warm, count })?;
        let (_tx, rx) = listener.accept().await?.split();
        // The peer counts its messages in one go.
        receive(rx, Messages { count: warm + count, bytes: BYTES }).await?;
        let [allocations] = tokio::task::spawn_blocking(|| child.numbers()).await??;
        Ok(allocations / count as f64)
    })
}

/// Allocations per block of messages of a process that only receives. This one sends.
fn receiving_side(effort: Effort) -> Result<f64, Failure> {
    let (warm, count) = (warm(effort), counted(effort));
    two_workers()?.block_on(async {
        let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut listener = StableListener::<Raw>::new(listener);
        let child = Child::start(&Part::Receive { address, warm, count })?;
        let (tx, mut rx) = listener.accept().await?.split();
        let sending = tokio::spawn(async move {
            let tx = send(tx, Messages { count: warm, bytes: BYTES }).await?;
            rx.recv().await?.ok_or("the peer closed")?;
            Ok((send(tx, Messages { count, bytes: BYTES }).await?, rx))
        });
        let _open = joined(sending).await?;
        let [allocations, bytes] = tokio::task::spawn_blocking(|| child.numbers()).await??;
        Ok(allocations / (bytes / f64::from(64 << 10)))
    })
}

/// The side of these two that is in the other process.
pub(crate) async fn connect(address: std::net::SocketAddr) -> Result<StableConduit<Raw>, Failure> {
    Ok(StableConduit::<Raw>::connect(TcpSource::new(address)).await?)
}
