//! Typed messages through a conduit, against the codec alone: encoding on one thread and decoding on
//! another, which no link and no session could be faster than.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use facet::Facet;
use rejoin_core::{Codec, MsgFamily};

use crate::Failure;
use crate::endpoints::{Medium, Session, joined, session, two_workers};
use crate::measure::{Case, Goal, Round};

/// What a [`Reading`] takes on the wire, whatever its number.
const WIRE_BYTES: usize = 38;

/// The first number: so large that all that follow are encoded in as many bytes.
const FIRST: u64 = 1 << 48;

/// How many messages go from the one thread to the other at a time.
const BATCH: usize = 1024;

#[derive(Clone, PartialEq, Debug, Facet)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Reading {
    number: u64,
    sensor: String,
    celsius: f64,
    bar: f64,
    samples: Vec<u32>,
}

impl Reading {
    fn first() -> Self {
        let sensor = "boiler3".to_owned();
        Self { number: FIRST, sensor, celsius: 71.25, bar: 1.5, samples: vec![300, 301, 302] }
    }

    /// Checks that this is what was sent as the message with `number`.
    fn check(&self, number: u64) -> Result<(), Failure> {
        if self.number == FIRST + number && self.sensor.len() == 7 && self.samples.len() == 3 {
            return Ok(());
        }
        Err(format!("message {number} is not what was sent").into())
    }
}

/// So many messages take about a second with each codec; of a tenth of one, the first pages of each buffer
/// would be a twentieth.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case::<Reading>("typed struct, FacetPostcard", 300_000),
        #[cfg(feature = "serde")]
        case::<rejoin_core::Serde<Reading>>("typed struct, SerdePostcard", 6_000_000),
    ]
}

fn case<F>(name: &'static str, count: u64) -> Case
where
    F: for<'a> MsgFamily<Msg<'a> = Reading>,
{
    Case::new((name, WIRE_BYTES, "messages/s"), Goal::RatioAtLeast(0.85), move |effort| {
        let count = effort.messages(count);
        let ours = two_workers()?.block_on(conduit::<F>(count))?;
        Ok(Round { ours, baseline: Some(codec_alone::<F>(count)?) })
    })
}

async fn conduit<F>(count: u64) -> Result<f64, Failure>
where
    F: for<'a> MsgFamily<Msg<'a> = Reading>,
{
    let Session { client, server, listener: _listener } = session::<F>(Medium::Tcp).await?;
    let ((tx, _client_rx), (_server_tx, mut rx)) = (client.split(), server.split());
    let receiving = tokio::spawn(async move {
        let mut number = 0;
        while let Some(reading) = rx.recv().await? {
            reading.get().check(number)?;
            number += 1;
            if number == count {
                return Ok(Instant::now());
            }
        }
        Err("the peer closed".into())
    });
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        let mut reading = Reading::first();
        for number in 0..count {
            reading.number = FIRST + number;
            tx.send(&reading).await?;
        }
        Ok(tx)
    });
    let (ended, _open) = tokio::try_join!(joined(receiving), joined(sending))?;
    Ok(count as f64 / (ended - began).as_secs_f64())
}

fn codec_alone<F>(count: u64) -> Result<f64, Failure>
where
    F: for<'a> MsgFamily<Msg<'a> = Reading>,
{
    let (batches, incoming) = sync_channel(8);
    let began = Instant::now();
    let ended = thread::scope(|scope| {
        let encoding = scope.spawn(move || encode::<F>(count, &batches));
        let decoding = scope.spawn(move || decode::<F>(count, &incoming));
        let ended = decoding.join().map_err(|_| "decoding panicked")?;
        encoding.join().map_err(|_| "encoding panicked")??;
        ended
    })?;
    Ok(count as f64 / (ended - began).as_secs_f64())
}

fn encode<F>(count: u64, batches: &SyncSender<BytesMut>) -> Result<(), Failure>
where
    F: for<'a> MsgFamily<Msg<'a> = Reading>,
{
    let mut reading = Reading::first();
    let mut batch = BytesMut::with_capacity(BATCH * WIRE_BYTES);
    for number in 0..count {
        reading.number = FIRST + number;
        F::Codec::encode(&reading, &mut batch)?;
        if batch.len() == BATCH * WIRE_BYTES || number + 1 == count {
            let full = std::mem::replace(&mut batch, BytesMut::with_capacity(BATCH * WIRE_BYTES));
            // The other thread has failed and says why.
            if batches.send(full).is_err() {
                break;
            }
        }
    }
    Ok(())
}

fn decode<F>(count: u64, batches: &Receiver<BytesMut>) -> Result<Instant, Failure>
where
    F: for<'a> MsgFamily<Msg<'a> = Reading>,
{
    let mut number = 0;
    for batch in batches {
        for bytes in batch.chunks(WIRE_BYTES) {
            F::Codec::decode(bytes)?.check(number)?;
            number += 1;
        }
    }
    if number < count {
        return Err("encoding has failed".into());
    }
    Ok(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<F>()
    where
        F: for<'a> MsgFamily<Msg<'a> = Reading>,
    {
        for number in [FIRST, FIRST + 10_000_000] {
            let mut out = BytesMut::new();
            let reading = Reading { number, ..Reading::first() };
            F::Codec::encode(&reading, &mut out).unwrap();
            assert_eq!(out.len(), WIRE_BYTES);
            assert_eq!(F::Codec::decode(&out).unwrap(), reading);
        }
    }

    #[test]
    fn a_reading_takes_as_many_bytes_as_the_case_says() {
        check::<Reading>();
        #[cfg(feature = "serde")]
        check::<rejoin_core::Serde<Reading>>();
    }
}
