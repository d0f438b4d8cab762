//! Telemetry: a device on a serial line measures, a gateway stores what it has measured in a database,
//! and every reading ends there exactly once, whatever happens to the line or to either of the two.
//!
//! # Who keeps what, and until when
//!
//! A session outlives the link under it: noise and pulled plugs are the library's business, and nothing
//! here mentions them. It does not outlive the two processes, so that the rest is the program's:
//!
//! - The gateway [acknowledges](rejoin_serial::StableRx::acknowledge) a reading only after the
//!   transaction that stores it is committed. What it had received and not stored when it was killed is
//!   not acknowledged, and so is sent again.
//! - The device keeps each reading in a [journal] until it is acknowledged. When the session is lost
//!   because the gateway was restarted, the session gives back what it does not know to be delivered,
//!   and the device goes on from there in the next session.
//! - A device that was restarted itself goes on from its journal, with the numbers that come next. This
//!   is what devices do that have some memory which survives a power cut, a data logger or a meter.
//!   Those without lose what they had not delivered, and number the readings of each start anew; there
//!   the key of a reading would be the number of the start and the number of the reading.
//! - What is sent again may have been stored before. The number of a reading is the table's primary
//!   key, so the second copy changes nothing.
//!
//! Run without arguments, it is the whole [story] on a cable of pseudo-terminals, with two processes
//! and everything that can happen to them.

#[cfg(unix)]
mod database;
#[cfg(unix)]
mod device;
#[cfg(unix)]
mod event;
#[cfg(unix)]
mod gateway;
#[cfg(unix)]
mod journal;
#[cfg(unix)]
mod line;
#[cfg(unix)]
mod options;
#[cfg(unix)]
mod reading;
#[cfg(unix)]
mod screen;
#[cfg(unix)]
mod story;
#[cfg(unix)]
mod verdict;

#[cfg(unix)]
use std::{error::Error, io, io::Write};

use std::process::ExitCode;

/// Whatever ends a part of this program.
#[cfg(unix)]
type Failure = Box<dyn Error + Send + Sync>;

#[cfg(unix)]
#[tokio::main]
async fn main() -> ExitCode {
    use clap::Parser;

    use options::{Options, Role};

    let options = Options::parse();
    let done = match &options.role {
        Some(Role::Device(device)) => device::run(device).await,
        Some(Role::Gateway(gateway)) => gateway::run(gateway).await,
        None => story::run(&options.story).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The exit code tells it even where nobody listens.
            let _ = writeln!(io::stderr(), "failed: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("failed: this example needs pseudo-terminals, which only Unix has");
    ExitCode::FAILURE
}

/// An error and what caused it, in one line.
#[cfg(unix)]
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
