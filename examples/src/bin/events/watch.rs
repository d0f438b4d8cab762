//! The client: follows the events of a server through whatever happens to its connections, and keeps
//! account of them.

use std::time::Duration;

use rejoin_websocket::{StableConduit, StableConfig, WebSocketSource};

use crate::{Event, Failure};

/// How much may wait here to be read. Little: a client that reads slowly prefers to be told what it
/// has missed over reading what is old.
const INBOX_BYTES_MAX: usize = 8 * 1024;

/// What a client has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) received: u64,
    /// How many events it was told to have missed.
    pub(crate) skipped: u64,
    /// How often an event was not the one that had to come next.
    pub(crate) wrong: u64,
    pub(crate) told_goodbye: bool,
    /// How often its session went on over another connection.
    pub(crate) resumes: u64,
    /// The number of the next event, once there was one.
    next: Option<u64>,
}

impl Seen {
    fn note(&mut self, event: &Event) {
        match *event {
            Event::Happened { number, .. } => {
                self.expect(number);
                self.received += 1;
                self.next = Some(number + 1);
            }
            Event::Skipped { count } => {
                self.skipped += count;
                self.next = self.next.map(|next| next + count);
            }
            Event::Goodbye { events } => {
                self.expect(events);
                self.told_goodbye = true;
            }
        }
    }

    fn expect(&mut self, number: u64) {
        self.wrong += u64::from(self.next.is_some_and(|next| next != number));
    }
}

/// Takes events, each for as long as `slow`, and shows them, until the server closes.
pub(crate) async fn follow(
    url: &str,
    slow: Duration,
    mut show: impl FnMut(&Event) -> Result<(), String>,
) -> Result<Seen, Failure> {
    let mut config = StableConfig::default();
    config.inbox_bytes_max = INBOX_BYTES_MAX;
    let source = WebSocketSource::new(url);
    let (tx, mut rx) = StableConduit::<Event>::connect_with(source, config).await?.split();
    let mut seen = Seen::default();
    while let Some(event) = rx.recv().await? {
        seen.note(&event);
        show(&event)?;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
    }
    // The answer to the close of the server must be out before this process ends, or else the server
    // takes it for one that may come back.
    tx.close().await?;
    seen.resumes = tx.stats().resumes;
    Ok(seen)
}
