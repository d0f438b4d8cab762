//! A full send log after an outage: until its last message is delivered on a new link, against
//! sending as many afresh on a link that was never cut, through the same proxy.

use std::time::Instant;

use rejoin_conformance::proxy::{Admission, Fault, FaultProxy};
use rejoin_core::{Raw, SendError, StableConduit, StableListener, StableTx, Status};
use rejoin_tcp::{TcpLinkListener, TcpSource};

use super::one_way::{receive, send};
use crate::Failure;
use crate::content::{Messages, stamp};
use crate::endpoints::{joined, two_workers};
use crate::measure::{Case, Goal, Round};

const BYTES: usize = 64;

pub(super) fn case() -> Case {
    let what = ("resume with a full send log of 4 MiB", BYTES, "ms");
    Case::new(what, Goal::RatioAtMost(1.5), |effort| {
        // What the log takes decides, so that this case is tiny by itself.
        let _ = effort;
        let (ours, count) = two_workers()?.block_on(resumed())?;
        let baseline = two_workers()?.block_on(afresh(count))?;
        Ok(Round { ours, baseline: Some(baseline) })
    })
}

/// A session whose link goes through a proxy.
struct Proxied {
    proxy: FaultProxy,
    client: StableConduit<Raw>,
    server: StableConduit<Raw>,
    _listener: StableListener<Raw>,
}

async fn proxied() -> Result<Proxied, Failure> {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
    let proxy = FaultProxy::start(listener.local_addr()?).await?;
    let mut listener = StableListener::<Raw>::new(listener);
    let source = TcpSource::new(proxy.addr());
    let (client, server) = tokio::join!(StableConduit::connect(source), listener.accept());
    Ok(Proxied { proxy, client: client?, server: server?, _listener: listener })
}

/// Milliseconds from when the way is free until all are delivered, and how many they are.
async fn resumed() -> Result<(f64, u64), Failure> {
    let Proxied { proxy, client, server, _listener } = proxied().await?;
    let ((tx, _client_rx), (_server_tx, rx)) = (client.split(), server.split());
    proxy.admit(Admission::Refuse);
    proxy.cut(Fault::Reset).report().await;
    // Nothing may be written any more, or less would have to be replayed than is said.
    let mut status = tx.status();
    status.wait_for(|status| matches!(status, Status::Suspended { .. })).await?;
    let count = fill(&tx)?;
    // Not while an attempt is under way, which is refused and followed by a delay.
    status.wait_for(|status| matches!(status, Status::Suspended { retry_at: Some(_), .. })).await?;
    let receiving = tokio::spawn(receive(rx, Messages { count, bytes: BYTES }));
    let began = Instant::now();
    proxy.admit(Admission::Forward);
    tx.reconnect_now();
    let ended = joined(receiving).await?;
    Ok(((ended - began).as_secs_f64() * 1e3, count))
}

/// Sends until nothing more is accepted.
fn fill(tx: &StableTx<Raw>) -> Result<u64, Failure> {
    let mut message = vec![0x5a; BYTES];
    for number in 0.. {
        stamp(&mut message, number);
        match tx.try_send(&&message[..]) {
            Ok(_) => {}
            Err(SendError::Full) => return Ok(number),
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("a send log is bounded")
}

async fn afresh(count: u64) -> Result<f64, Failure> {
    let Proxied { proxy: _proxy, client, server, _listener } = proxied().await?;
    let ((tx, _client_rx), (_server_tx, rx)) = (client.split(), server.split());
    let messages = Messages { count, bytes: BYTES };
    let receiving = tokio::spawn(receive(rx, messages));
    let began = Instant::now();
    let sending = tokio::spawn(send(tx, messages));
    let (ended, _open) = tokio::try_join!(joined(receiving), joined(sending))?;
    Ok((ended - began).as_secs_f64() * 1e3)
}
