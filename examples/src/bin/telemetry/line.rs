//! The serial line, as both ends have to set it up.

use std::time::Duration;

use rejoin_serial::{SerialConfig, SerialSource, StableConfig};
use tokio::sync::oneshot;

use crate::options::LineOptions;

/// A source of links on the port; the initiator's.
pub(crate) fn source(line: &LineOptions) -> SerialSource {
    SerialSource::new(line.port.as_path()).with_config(SerialConfig::new(line.baud))
}

/// Settings for a session on this line: those that suit its speed, and more patience. A meter in a
/// cellar may be out of reach for days, and nothing that it has is worth less by then.
pub(crate) fn session(line: &LineOptions) -> StableConfig {
    let mut config = SerialConfig::new(line.baud).stable_config();
    config.outage_max = Duration::from_secs(7 * 24 * 3600);
    // One cable has one peer, who is either there or not: asking more often costs nobody anything.
    config.ping_interval = Duration::from_millis(500);
    config.peer_dead_after = Duration::from_secs(2);
    config.redial.backoff_max = Duration::from_millis(500);
    config
}

/// Ready when the process is to stop: at Ctrl-C, or at the end of a supervisor's pipe.
pub(crate) async fn told_to_stop(line: &LineOptions) {
    if line.supervised {
        let (ended, wait) = oneshot::channel();
        // A thread of its own, which nobody waits for: a read from standard input cannot be cancelled.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = ended.send(());
        });
        let _ = wait.await;
    } else if tokio::signal::ctrl_c().await.is_err() {
        // There are no signals here, so nobody can tell.
        std::future::pending::<()>().await;
    }
}
