//! Messages behind a length: a stream of a peer that says anything, cut anywhere, against a reader
//! of a few lines.

use bytes::Bytes;
use rejoin_core::{LinkRx, LinkTx};
use rejoin_stream::{LengthPrefixedRx, LengthPrefixedTx, StreamConfig, StreamRecvError};

use super::feed::{Feed, ready};
use super::input::Input;

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Closed,
    Truncated,
    TooLarge,
}

/// Reads a stream to its end, and writes what it held.
pub(super) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let bytes_max = input.one_of([0, 1, 20, 300, 5_000, 70_000, 16 << 20, usize::MAX]);
    let sizes = input.sizes();
    let stream = input.rest();
    let config = StreamConfig { payload_bytes_max: bytes_max, ..StreamConfig::default() };

    let (expected, end) = model(stream, bytes_max);
    let mut rx = LengthPrefixedRx::new(Feed::new(stream, &sizes), &config);
    for payload in &expected {
        let received = ready(rx.recv()).expect("a message").expect("no end yet");
        assert_eq!(received, payload);
    }
    for _ in 0..2 {
        let received = match ready(rx.recv()) {
            Ok(None) => End::Closed,
            Ok(Some(more)) => panic!("{} bytes too many", more.len()),
            Err(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
                Some(StreamRecvError::Truncated { .. }) => End::Truncated,
                Some(StreamRecvError::PayloadTooLarge { .. }) => End::TooLarge,
                Some(StreamRecvError::Failed) => end,
                _ => panic!("{error}"),
            },
        };
        assert_eq!(received, end);
    }

    let feed = Feed::new(&[], &sizes);
    let written = feed.written();
    let mut tx = LengthPrefixedTx::new(feed, &config);
    for (number, payload) in expected.iter().enumerate() {
        let (head, body) = payload.split_at(number.min(11).min(payload.len()));
        ready(tx.send(head, Bytes::copy_from_slice(body))).expect("it was received");
    }
    ready(tx.close()).expect("nothing fails here");
    let bytes: usize = expected.iter().map(|payload| payload.len() + 4).sum();
    assert_eq!(written.take(), stream[..bytes]);
}

fn model(mut stream: &[u8], bytes_max: usize) -> (Vec<&[u8]>, End) {
    let mut payloads = Vec::new();
    loop {
        if stream.is_empty() {
            return (payloads, End::Closed);
        }
        let Some((prefix, rest)) = stream.split_first_chunk() else {
            return (payloads, End::Truncated);
        };
        let bytes = u32::from_le_bytes(*prefix) as usize;
        if bytes > bytes_max {
            return (payloads, End::TooLarge);
        }
        let Some((payload, rest)) = rest.split_at_checked(bytes) else {
            return (payloads, End::Truncated);
        };
        payloads.push(payload);
        stream = rest;
    }
}
