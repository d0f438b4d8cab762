//! Raw bytes both ways at once: each end sends and receives, in a task for each.

use std::time::Instant;

use bytes::Bytes;
use rejoin_core::Raw;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::one_way::{receive, receive_plain, send, send_plain};
use crate::Failure;
use crate::content::Messages;
use crate::endpoints::{Medium, Session, joined, session, tcp_streams, two_workers};
use crate::measure::{Case, Goal, Round};

const BYTES: usize = 64;

pub(super) fn case() -> Case {
    let what = ("both ways at once, TCP", BYTES, "messages/s");
    Case::new(what, Goal::RatioAtLeast(0.60), |effort| {
        let messages = Messages { count: effort.messages(1_500_000), bytes: BYTES };
        let ours = two_workers()?.block_on(conduit(messages))?;
        let baseline = two_workers()?.block_on(length_delimited(messages))?;
        Ok(Round { ours, baseline: Some(baseline) })
    })
}

async fn conduit(messages: Messages) -> Result<f64, Failure> {
    let Session { client, server, listener: _listener } = session::<Raw>(Medium::Tcp).await?;
    let ((client_tx, client_rx), (server_tx, server_rx)) = (client.split(), server.split());
    let began = Instant::now();
    let (there, back) = (
        (tokio::spawn(send(client_tx, messages)), tokio::spawn(receive(server_rx, messages))),
        (tokio::spawn(send(server_tx, messages)), tokio::spawn(receive(client_rx, messages))),
    );
    let (_client, there, _server, back) =
        tokio::try_join!(joined(there.0), joined(there.1), joined(back.0), joined(back.1))?;
    Ok(rate(messages, began, there.max(back)))
}

async fn length_delimited(messages: Messages) -> Result<f64, Failure> {
    let (client, server) = tcp_streams().await?;
    let ((client_in, client_out), (server_in, server_out)) =
        (client.into_split(), server.into_split());
    let codec = LengthDelimitedCodec::new;
    let client_out = FramedWrite::new(client_out, codec());
    let server_out = FramedWrite::new(server_out, codec());
    let client_in = FramedRead::new(client_in, codec());
    let server_in = FramedRead::new(server_in, codec());
    let began = Instant::now();
    let (there, back) = (
        (
            tokio::spawn(send_plain::<Bytes, _>(client_out, messages)),
            tokio::spawn(receive_plain(server_in, messages)),
        ),
        (
            tokio::spawn(send_plain::<Bytes, _>(server_out, messages)),
            tokio::spawn(receive_plain(client_in, messages)),
        ),
    );
    let (_client, there, _server, back) =
        tokio::try_join!(joined(there.0), joined(there.1), joined(back.0), joined(back.1))?;
    Ok(rate(messages, began, there.max(back)))
}

fn rate(messages: Messages, began: Instant, ended: Instant) -> f64 {
    2.0 * messages.count as f64 / (ended - began).as_secs_f64()
}
