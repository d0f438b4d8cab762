//! What a WebSocket peer sends after the upgrade. However the bytes come, they mean the same.

use rejoin_core::{Link, LinkRx, Peer};
use rejoin_websocket::{Side, WebSocketConfig, WebSocketLink};

use super::feed::{Feed, ready};
use super::input::Input;

/// Receives to the end, in one piece and in many.
pub(super) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let side = input.one_of([Side::Server, Side::Client]);
    let bytes_max = input.one_of([0, 1, 125, 126, 1_000, 70_000, 16 << 20, usize::MAX]);
    let sizes = input.sizes();
    let stream = input.rest();
    let whole = receive(stream, &[], side, bytes_max);
    if !sizes.is_empty() {
        assert_eq!(receive(stream, &sizes, side, bytes_max), whole);
    }
}

/// The messages, and how it ended.
fn receive(
    stream: &[u8],
    sizes: &[usize],
    side: Side,
    bytes_max: usize,
) -> (Vec<Vec<u8>>, Option<String>) {
    let config = WebSocketConfig { message_bytes_max: bytes_max, ..WebSocketConfig::default() };
    let feed = Feed::new(stream, sizes);
    let written = feed.written();
    let link = WebSocketLink::from_upgraded(feed, side, Peer::default(), &config);
    let (tx, mut rx) = link.split();
    let mut messages = Vec::new();
    let end = loop {
        match ready(rx.recv()) {
            Ok(Some(message)) => {
                assert!(message.len() <= bytes_max);
                messages.push(message.to_vec());
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    // Once more: the end is the end.
    assert!(!matches!(ready(rx.recv()), Ok(Some(_))));
    drop((tx, rx));
    let said = written.take();
    assert!(said.len() <= 2 * stream.len() + 200, "an answer costs what was asked");
    (messages, end)
}
