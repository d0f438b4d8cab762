//! The device: measures at its own pace, whether or not anybody can be told, and sends what it has.

use std::io;
use std::pin::pin;
use std::time::Duration;

use rejoin_serial::{ConnectError, SendError, StableConduit, StableTx, Status};
use tokio::time::{Interval, interval};

use crate::Failure;
use crate::event::{Event, tell_of};
use crate::journal::Journal;
use crate::line;
use crate::options::{DeviceOptions, LineOptions};
use crate::reading::Reading;

/// Runs until it is told to stop, or until the gateway has all readings that were to be taken.
pub(crate) async fn run(options: &DeviceOptions) -> Result<(), Failure> {
    let mut device = Device {
        clock: interval(Duration::from_millis(options.interval)),
        journal: Journal::open(&options.journal)?,
        readings_max: options.readings.unwrap_or(u64::MAX),
    };
    let mut stop = pin!(line::told_to_stop(&options.line));
    loop {
        let tx = tokio::select! {
            sent = send_all(&mut device, &options.line) => sent?,
            // The journal has what is not delivered.
            () = &mut stop => return Ok(()),
        };
        let mut status = tx.status();
        tokio::select! {
            () = &mut stop, if options.line.supervised => {}
            // The story still goes on: it wants to see a session, also one without readings.
            _ = status.wait_for(Status::is_final), if options.line.supervised => continue,
            else => {}
        }
        // Whatever comes of it: everything was acknowledged.
        let _ = tx.close().await;
        return Ok(());
    }
}

#[derive(Debug)]
struct Device {
    clock: Interval,
    journal: Journal,
    readings_max: u64,
}

impl Device {
    /// Takes the next reading when it is time to; never ready when there is none to take.
    async fn measure(&mut self) -> io::Result<()> {
        if self.has_measured_all() || !self.journal.has_room() {
            std::future::pending::<()>().await;
        }
        self.clock.tick().await;
        self.journal.keep(Reading::take(self.journal.next()))
    }

    fn has_measured_all(&self) -> bool {
        self.journal.next() >= self.readings_max
    }

    /// Goes on measuring while something is waited for.
    async fn measure_during<T>(&mut self, wait: impl Future<Output = T>) -> io::Result<T> {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = &mut wait => return Ok(done),
                measured = self.measure() => measured?,
            }
        }
    }
}

/// Sends everything, in one session after another; gives the last one, in which nothing is left to
/// acknowledge.
async fn send_all(device: &mut Device, line: &LineOptions) -> Result<StableTx<Reading>, Failure> {
    let mut next = device.journal.first();
    loop {
        let tx = connect(device, line).await?;
        match send_from(&mut next, device, &tx).await? {
            Ended::Delivered => return Ok(tx),
            Ended::SessionLost => {
                // Positions mean nothing in another session. The reading has its own number, and the
                // first one that is not known to be stored is where the next session goes on.
                if let Some((_, bytes)) = tx.take_unacknowledged().into_iter().next() {
                    next = StableTx::<Reading>::decode(bytes)?.number;
                }
            }
        }
    }
}

enum Ended {
    Delivered,
    SessionLost,
}

/// Sends readings from `next` on for as long as the session lives.
async fn send_from(
    next: &mut u64,
    device: &mut Device,
    tx: &StableTx<Reading>,
) -> Result<Ended, Failure> {
    let first = *next;
    loop {
        device.journal.forget_before(first + tx.stats().messages_acknowledged)?;
        if let Some(reading) = device.journal.get(*next) {
            match device.measure_during(tx.send(&reading)).await? {
                Ok(_) => *next += 1,
                Err(SendError::Lost(_) | SendError::Closed) => return Ok(Ended::SessionLost),
                Err(error) => return Err(error.into()),
            }
        } else if !device.has_measured_all() {
            device.measure().await?;
        } else if tx.flush_acked().await.is_ok() {
            device.journal.forget_before(*next)?;
            Event::Delivered(*next).tell()?;
            return Ok(Ended::Delivered);
        } else {
            return Ok(Ended::SessionLost);
        }
    }
}

/// Opens a session, however long it takes until the gateway is there.
async fn connect(device: &mut Device, line: &LineOptions) -> Result<StableTx<Reading>, Failure> {
    loop {
        let connect = StableConduit::connect_with(line::source(line), line::session(line));
        match device.measure_during(connect).await? {
            Ok(conduit) => {
                Event::Session.tell()?;
                tell_of(conduit.status());
                // The gateway has nothing to say but its acknowledgements.
                let (tx, _rx) = conduit.split();
                return Ok(tx);
            }
            Err(error) if ConnectError::is_transient(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
