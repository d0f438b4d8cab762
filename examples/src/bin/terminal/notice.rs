//! Says on standard error when the link is away and when it is back.

use std::io::{self, Write};
use std::time::Duration;

use rejoin_tcp::Status;
use tokio::sync::watch;
use tokio::time::sleep;

/// An outage that is over sooner is not worth disturbing anybody.
const UNNOTICED: Duration = Duration::from_millis(300);

/// Says how the session fares, until it has ended.
pub(crate) async fn say(mut status: watch::Receiver<Status>) {
    while let Some(cause) = wait_for(&mut status, away).await {
        let soon_back = tokio::select! {
            back = wait_for(&mut status, back) => back,
            () = sleep(UNNOTICED) => None,
        };
        if soon_back.is_some() {
            continue;
        }
        line(&format!("the link is away: {cause}; what you type is kept"));
        if wait_for(&mut status, back).await.is_none() {
            return;
        }
        line("the link is back");
    }
}

/// Waits until there is something to tell; `None` when there never will be.
async fn wait_for<T>(
    status: &mut watch::Receiver<Status>,
    tell: fn(&Status) -> Option<T>,
) -> Option<T> {
    let mut told = None;
    let wait = status.wait_for(|status| {
        told = tell(status);
        told.is_some() || status.is_final()
    });
    wait.await.ok()?;
    told
}

fn away(status: &Status) -> Option<String> {
    match status {
        Status::Suspended { cause, .. } => Some(cause.to_string()),
        _ => None,
    }
}

fn back(status: &Status) -> Option<()> {
    matches!(status, Status::Connected { .. }).then_some(())
}

/// Prints a line of its own, also in raw mode.
fn line(text: &str) {
    // Whoever closes standard error does not want to know.
    let _ = write!(io::stderr(), "\r\n[terminal: {text}]\r\n");
}
