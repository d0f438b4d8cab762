//! From one stream of events to one client: a task of its own for each, so that none waits for
//! another.
//!
//! The policy, which bounds what a client can cost: an event is sent only within [`AGE_MAX`] of when
//! it happened. One that has to wait for longer, because its client reads slowly or is away, is never
//! sent, and counted instead; as soon as there is room, the client is told the count in its place.
//! Whatever was sent arrives, also through a cut.

use std::time::Duration;

use rejoin_websocket::{SendError, StableConduit, StableTx};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::Event;

/// How old an event may be when it is sent.
pub(crate) const AGE_MAX: Duration = Duration::from_secs(1);

/// How many events wait for the task of a client, at most; each waits in one place for all of them.
pub(crate) const WAITING_MAX: usize = 4096;

/// An event that is on its way to all clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

/// Sends `events`, of which the first has the number `next`, to one client until there are no more,
/// then says goodbye.
pub(crate) async fn feed(
    conduit: StableConduit<Event>,
    mut events: broadcast::Receiver<Happened>,
    mut next: u64,
) -> Result<(), SendError> {
    let (tx, _rx) = conduit.split();
    let mut missed = 0;
    loop {
        match events.recv().await {
            Ok(event) => {
                next = event.number + 1;
                if !send_fresh(&tx, event, &mut missed).await? {
                    missed += 1;
                }
            }
            // This task was held up for so long that they were overwritten.
            Err(RecvError::Lagged(count)) => {
                next += count;
                missed += count;
            }
            Err(RecvError::Closed) => break,
        }
    }
    if missed > 0 {
        tx.send(&Event::Skipped { count: missed }).await?;
    }
    tx.send(&Event::Goodbye { events: next }).await?;
    // What the client does not take within the linger limit, the drain reports.
    let _ = tx.close().await;
    Ok(())
}

/// Sends an event, behind the count of those `missed` before, if it is not too old by then.
async fn send_fresh(
    tx: &StableTx<Event>,
    event: Happened,
    missed: &mut u64,
) -> Result<bool, SendError> {
    if *missed > 0 {
        if !send_until(tx, &Event::Skipped { count: *missed }, event.at + AGE_MAX).await? {
            return Ok(false);
        }
        *missed = 0;
    }
    let text = format!("the {} of the feed", ordinal(event.number + 1));
    let happened = Event::Happened { number: event.number, text };
    send_until(tx, &happened, event.at + AGE_MAX).await
}

/// Gives whether `event` was sent before `deadline`; if not, it never will be.
async fn send_until(
    tx: &StableTx<Event>,
    event: &Event,
    deadline: Instant,
) -> Result<bool, SendError> {
    let age_max = deadline.saturating_duration_since(Instant::now());
    if age_max.is_zero() {
        return Ok(false);
    }
    match tx.send_within(event, age_max).await {
        Ok(_) => Ok(true),
        Err(SendError::Expired) => Ok(false),
        Err(error) => Err(error),
    }
}

fn ordinal(number: u64) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}
