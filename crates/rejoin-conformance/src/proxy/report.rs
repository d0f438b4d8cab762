//! What a cut tells afterwards: how many connections it hit, and how busy they were.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// A cut that was asked for, and that may not have happened yet.
///
/// Dropping it does not call the cut off.
#[derive(Debug)]
pub struct Cut {
    report: oneshot::Receiver<CutReport>,
}

impl Cut {
    /// Waits until all connections to cut were cut or have ended otherwise.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the report; the cut happens all the same.
    pub async fn report(self) -> CutReport {
        self.report.await.expect("a ledger sends its report when it is dropped")
    }
}

/// What a cut has hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CutReport {
    /// How many connections.
    pub connections: usize,
    /// How many bytes those had carried to the server before.
    pub to_server_bytes: u64,
    /// How many bytes those had carried to their clients before.
    pub to_client_bytes: u64,
    /// How long before the cut the last of these bytes was forwarded; `None` when none was.
    pub idle: Option<Duration>,
}

impl CutReport {
    /// Whether the cut hit a connection at all.
    #[must_use]
    pub fn hit(&self) -> bool {
        self.connections > 0
    }

    /// Whether the cut hit a connection that had carried bytes no longer than `within` before.
    #[must_use]
    pub fn was_busy(&self, within: Duration) -> bool {
        self.idle.is_some_and(|idle| idle <= within)
    }
}

/// Collects a [`CutReport`] and sends it when the last connection concerned lets go of it.
#[derive(Debug)]
pub(super) struct Ledger {
    report: Mutex<CutReport>,
    done: Option<oneshot::Sender<CutReport>>,
}

impl Ledger {
    pub(super) fn open() -> (Arc<Self>, Cut) {
        let (done, report) = oneshot::channel();
        (Arc::new(Self { report: Mutex::default(), done: Some(done) }), Cut { report })
    }

    /// Notes that a connection was hit that had carried this much, the last of it `idle` ago.
    pub(super) fn record(&self, to_server: u64, to_client: u64, idle: Option<Duration>) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.connections += 1;
        report.to_server_bytes += to_server;
        report.to_client_bytes += to_client;
        report.idle = [report.idle, idle].into_iter().flatten().min();
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let report = *self.report.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = self.done.take() {
            // Nobody may want to know.
            let _ = done.send(report);
        }
    }
}
