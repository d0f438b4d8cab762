//! Raw bytes one way: a conduit against `LengthDelimitedCodec`, or plain tungstenite, over the same
//! kind of sockets.
//!
//! The baselines are as one would write them: each message is fed, all are flushed once at the end,
//! and messages are cut from blocks instead of being allocated one by one.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rejoin_core::{Raw, StableRx, StableTx};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::Failure;
use crate::content::{Messages, stamp};
use crate::endpoints::{Medium, Session, joined, session, tcp_streams, two_workers};
use crate::measure::{Case, Effort, Goal, Round};

/// The size of the blocks that a baseline's messages are cut from.
const ARENA_BYTES: usize = 64 << 10;

/// So many messages take about a second.
fn count(bytes: usize) -> u64 {
    match bytes {
        0..=64 => 3_000_000,
        65..=1024 => 1_000_000,
        _ => 30_000,
    }
}

pub(super) fn tcp() -> Vec<Case> {
    let case = |bytes, goal| case("one-way, TCP", Medium::Tcp, bytes, goal);
    vec![case(64, 0.60), case(1 << 10, 0.85), case(64 << 10, 0.95)]
}

pub(super) fn other_media() -> Vec<Case> {
    let (unix, websocket) = ("one-way, Unix sockets", "one-way, WebSocket");
    vec![
        case(unix, Medium::Unix, 64, 0.60),
        case(unix, Medium::Unix, 64 << 10, 0.95),
        case(websocket, Medium::WebSocket, 64, 0.60),
        case(websocket, Medium::WebSocket, 64 << 10, 0.90),
    ]
}

fn case(name: &'static str, medium: Medium, bytes: usize, goal: f64) -> Case {
    Case::new((name, bytes, "messages/s"), Goal::RatioAtLeast(goal), move |effort| {
        round(medium, bytes, effort)
    })
}

fn round(medium: Medium, bytes: usize, effort: Effort) -> Result<Round, Failure> {
    let messages = Messages { count: effort.messages(count(bytes)), bytes };
    let ours = two_workers()?.block_on(conduit(medium, messages))?;
    let baseline = two_workers()?.block_on(async {
        match medium {
            Medium::Tcp => {
                let (client, server) = tcp_streams().await?;
                length_delimited(client, server, messages).await
            }
            Medium::Unix => {
                let (client, server) = UnixStream::pair()?;
                length_delimited(client, server, messages).await
            }
            Medium::WebSocket => tungstenite(messages).await,
        }
    })?;
    Ok(Round { ours, baseline: Some(baseline) })
}

/// Messages per second through a conduit.
async fn conduit(medium: Medium, messages: Messages) -> Result<f64, Failure> {
    let Session { client, server, listener: _listener } = session::<Raw>(medium).await?;
    let ((tx, _client_rx), (_server_tx, rx)) = (client.split(), server.split());
    let receiving = tokio::spawn(receive(rx, messages));
    let began = Instant::now();
    let sending = tokio::spawn(send(tx, messages));
    let (ended, _open) = tokio::try_join!(joined(receiving), joined(sending))?;
    Ok(messages.count as f64 / (ended - began).as_secs_f64())
}

/// Sends all, and gives the handle back, so that nothing closes meanwhile.
pub(super) async fn send(tx: StableTx<Raw>, messages: Messages) -> Result<StableTx<Raw>, Failure> {
    let mut message = messages.blank();
    for number in 0..messages.count {
        stamp(&mut message, number);
        tx.send(&&message[..]).await?;
    }
    Ok(tx)
}

/// Receives and checks all; gives the moment when it had the last.
pub(super) async fn receive(mut rx: StableRx<Raw>, messages: Messages) -> Result<Instant, Failure> {
    receive_all(&mut rx, messages).await?;
    Ok(Instant::now())
}

pub(crate) async fn receive_all(rx: &mut StableRx<Raw>, messages: Messages) -> Result<(), Failure> {
    for number in 0..messages.count {
        let message = rx.recv().await?.ok_or("the peer closed")?;
        messages.check(number, message.get())?;
    }
    Ok(())
}

async fn length_delimited<S>(client: S, server: S, messages: Messages) -> Result<f64, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let frames = FramedRead::new(server, LengthDelimitedCodec::new());
    let out = FramedWrite::new(client, LengthDelimitedCodec::new());
    plain::<Bytes, _, _, _, _>(out, frames, messages).await
}

async fn tungstenite(messages: Messages) -> Result<f64, Failure> {
    let (client, server) = tcp_streams().await?;
    let (client, server) =
        tokio::try_join!(client_async("ws://localhost/", client), accept_async(server))?;
    let frames = server.map(|message| message.map(Message::into_data));
    plain::<Message, _, _, _, _>(client.0, frames, messages).await
}

/// Messages per second through a sink and a stream that have no session.
async fn plain<M, O, I, B, E>(out: O, frames: I, messages: Messages) -> Result<f64, Failure>
where
    M: From<Bytes> + Send + 'static,
    O: Sink<M> + Send + Unpin + 'static,
    O::Error: Into<Failure> + Send,
    I: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: AsRef<[u8]> + Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let receiving = tokio::spawn(receive_plain(frames, messages));
    let began = Instant::now();
    let sending = tokio::spawn(send_plain::<M, _>(out, messages));
    let (ended, _open) = tokio::try_join!(joined(receiving), joined(sending))?;
    Ok(messages.count as f64 / (ended - began).as_secs_f64())
}

/// Feeds all, flushes once, and gives the sink back.
pub(super) async fn send_plain<M, O>(mut out: O, messages: Messages) -> Result<O, Failure>
where
    M: From<Bytes>,
    O: Sink<M> + Unpin,
    O::Error: Into<Failure>,
{
    let mut message = messages.blank();
    let mut arena = BytesMut::new();
    for number in 0..messages.count {
        stamp(&mut message, number);
        if arena.capacity() < message.len() {
            arena.reserve(ARENA_BYTES.max(message.len()));
        }
        arena.extend_from_slice(&message);
        out.feed(arena.split().freeze().into()).await.map_err(Into::into)?;
    }
    out.flush().await.map_err(Into::into)?;
    Ok(out)
}

/// Receives and checks all; gives the moment when it had the last.
pub(super) async fn receive_plain<I, B, E>(
    mut frames: I,
    messages: Messages,
) -> Result<Instant, Failure>
where
    I: Stream<Item = Result<B, E>> + Unpin,
    B: AsRef<[u8]>,
    E: Into<Failure>,
{
    for number in 0..messages.count {
        let message = frames.next().await.ok_or("the peer closed")?.map_err(Into::into)?;
        messages.check(number, message.as_ref())?;
    }
    Ok(Instant::now())
}
