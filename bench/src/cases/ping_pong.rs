//! One message there and back, again and again: the median time, on both kinds of runtime.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use rejoin_core::Raw;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::Failure;
use crate::content::{Messages, stamp};
use crate::endpoints::{
    Medium, Session, current_thread, joined, session, tcp_streams, two_workers,
};
use crate::measure::{Case, Goal, Round, median};

const BYTES: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("ping-pong, TCP, current-thread runtime", current_thread),
        case("ping-pong, TCP, multi-thread runtime", two_workers),
    ]
}

fn case(name: &'static str, runtime: fn() -> io::Result<Runtime>) -> Case {
    Case::new((name, BYTES, "µs, p50"), Goal::RatioAtMost(1.25), move |effort| {
        let messages = Messages { count: effort.messages(30_000), bytes: BYTES };
        let ours = runtime()?.block_on(conduit(messages))?;
        let baseline = runtime()?.block_on(length_delimited(messages))?;
        Ok(Round { ours, baseline: Some(baseline) })
    })
}

async fn conduit(messages: Messages) -> Result<f64, Failure> {
    let Session { client, server, listener: _listener } = session::<Raw>(Medium::Tcp).await?;
    let echo = tokio::spawn(async move {
        let (tx, mut rx) = server.split();
        for _ in 0..messages.count {
            let message = rx.recv().await?.ok_or("the peer closed")?;
            tx.send(message.get()).await?;
        }
        Ok((tx, rx))
    });
    let calling = tokio::spawn(async move {
        let (tx, mut rx) = client.split();
        let mut message = messages.blank();
        let mut times = Vec::with_capacity(usize::try_from(messages.count)?);
        for number in 0..messages.count {
            let began = Instant::now();
            stamp(&mut message, number);
            tx.send(&&message[..]).await?;
            let answer = rx.recv().await?.ok_or("the peer closed")?;
            messages.check(number, answer.get())?;
            times.push(began.elapsed());
        }
        Ok(times)
    });
    finish(echo, calling).await
}

async fn length_delimited(messages: Messages) -> Result<f64, Failure> {
    let (client, server) = tcp_streams().await?;
    let echo = tokio::spawn(async move {
        let mut framed = Framed::new(server, LengthDelimitedCodec::new());
        for _ in 0..messages.count {
            let message = framed.next().await.ok_or("the peer closed")??;
            framed.send(message.freeze()).await?;
        }
        Ok(framed)
    });
    let calling = tokio::spawn(async move {
        let mut framed = Framed::new(client, LengthDelimitedCodec::new());
        let mut message = messages.blank();
        let mut arena = BytesMut::with_capacity(64 << 10);
        let mut times = Vec::with_capacity(usize::try_from(messages.count)?);
        for number in 0..messages.count {
            let began = Instant::now();
            stamp(&mut message, number);
            arena.extend_from_slice(&message);
            let sent: Bytes = arena.split().freeze();
            framed.send(sent).await?;
            let answer = framed.next().await.ok_or("the peer closed")??;
            messages.check(number, &answer)?;
            times.push(began.elapsed());
        }
        Ok(times)
    });
    finish(echo, calling).await
}

async fn finish<T>(
    echo: JoinHandle<Result<T, Failure>>,
    calling: JoinHandle<Result<Vec<Duration>, Failure>>,
) -> Result<f64, Failure> {
    let (_open, times) = tokio::try_join!(joined(echo), joined(calling))?;
    Ok(median(times.iter().map(|time| time.as_secs_f64() * 1e6)))
}
