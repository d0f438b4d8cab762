//! The gateway: stores what the device sends, and acknowledges it then, not before.

use std::io;
use std::time::Duration;

use rejoin_serial::{
    ListenerConfig, RecvError, SourceListener, StableConduit, StableListener, StableRx,
};
use tokio::time::{Instant, timeout_at};

use crate::Failure;
use crate::database::Database;
use crate::event::{Event, tell_of};
use crate::line;
use crate::options::GatewayOptions;
use crate::reading::Reading;

/// A transaction takes as much time for one reading as for many, so readings are waited for, up to
/// this long, …
pub(crate) const BATCH_TIME: Duration = Duration::from_millis(200);
/// … and up to so many.
const BATCH_READINGS: usize = 256;

/// Runs until it is told to stop.
pub(crate) async fn run(options: &GatewayOptions) -> Result<(), Failure> {
    let mut database = Database::open(&options.database)?;
    let mut sessions = listen(options)?;
    let mut repeats = 0;
    let mut current = None;
    let stop = line::told_to_stop(&options.line);
    tokio::pin!(stop);
    loop {
        let received = tokio::select! {
            () = &mut stop => return Ok(()),
            // A device that opens a new session has lost the old one, and sends again from its
            // journal what was not acknowledged in that.
            conduit = sessions.accept() => {
                current = Some(begin(conduit?)?);
                continue;
            }
            received = batch(&mut current) => received?,
        };
        let Some(readings) = received else {
            current = None;
            continue;
        };
        let stored = tokio::task::block_in_place(|| database.store(&readings))?;
        // Committed: now the device may forget them.
        if let Some(rx) = &current
            && let Some(position) = rx.last_position()
        {
            rx.acknowledge(position);
        }
        repeats += readings.len() as u64 - stored;
        Event::Stored { rows: database.rows(), repeats }.tell()?;
    }
}

fn listen(options: &GatewayOptions) -> Result<StableListener<Reading>, Failure> {
    let mut config = ListenerConfig::default();
    config.conduit = line::session(&options.line);
    config.conduit.manual_ack = true;
    // A listener, though a cable has one peer only: to a device that comes back to a session which this
    // process does not know, it says so at once, and it takes the new session of a device that was
    // restarted while the old one still waits for its return.
    let source = SourceListener::new(line::source(&options.line).accepting())?;
    Ok(StableListener::with_config(source, config)?)
}

fn begin(conduit: StableConduit<Reading>) -> io::Result<StableRx<Reading>> {
    Event::Session.tell()?;
    tell_of(conduit.status());
    let (_tx, rx) = conduit.split();
    Ok(rx)
}

/// The next readings of the session; `None` when it has ended, which may mean that the device was
/// switched off: if that had anything more to say, it will open another one. Where there is no session,
/// never ready.
///
/// # Cancel safety
///
/// Readings that were received by then are lost with the future, but not for the device: they are not
/// acknowledged. The future is therefore dropped only where its session is, too.
async fn batch(session: &mut Option<StableRx<Reading>>) -> Result<Option<Vec<Reading>>, Failure> {
    let Some(rx) = session else { return std::future::pending().await };
    let Some(first) = next(rx).await? else { return Ok(None) };
    let mut readings = vec![first];
    let end = Instant::now() + BATCH_TIME;
    while readings.len() < BATCH_READINGS {
        match timeout_at(end, next(rx)).await {
            Ok(received) => match received? {
                Some(reading) => readings.push(reading),
                None => break,
            },
            Err(_elapsed) => break,
        }
    }
    Ok(Some(readings))
}

async fn next(rx: &mut StableRx<Reading>) -> Result<Option<Reading>, RecvError> {
    match rx.recv().await {
        Ok(reading) => Ok(reading.map(|reading| *reading)),
        Err(RecvError::Lost(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
