//! What a peer's process tells the parent on its output, and is told on its input: a line of JSON
//! each way.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::message::{Arrivals, Side};

/// One line of a peer's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// A server can be called here.
    Listening(String),
    /// How one session stands.
    Session(SessionReport),
    /// A session is over to which nothing had come, so that it has no number here.
    Nameless { accepted: u64, returned: u64 },
    /// Something that must not happen.
    Broken(String),
    /// All is said, and the process ends.
    Done,
}

/// How one session stands, for the process that tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SessionReport {
    pub(super) side: Side,
    pub(super) session: u64,
    pub(super) state: State,
    /// Messages accepted for sending.
    pub(super) accepted: u64,
    /// Those of them that the peer has acknowledged.
    pub(super) acknowledged: u64,
    /// Messages that were received: no more than these are acknowledged to the peer, as soon as this
    /// is told where acknowledgements are [exact](super::peer::Life).
    pub(super) received: u64,
    pub(super) arrivals: Arrivals,
    pub(super) resumes: u64,
    pub(super) replayed: u64,
    /// The longest time between two messages.
    pub(super) pause_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Open,
    Closed,
    Lost {
        reason: String,
        /// How many messages were handed back.
        returned: u64,
        /// Whether they are those that follow the last one acknowledged, all of them, as sent.
        exact: bool,
    },
}

/// One line of a peer's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Command {
    /// Close all sessions in good order, and end. A server waits for its sessions to be closed.
    Finish,
    /// Tell what was received, and end at once.
    Exit,
}

impl Report {
    /// Writes it as a line to the standard output, which has it when this returns.
    pub(super) fn tell(&self) {
        let mut line = serde_json::to_string(self).expect("a report has only simple parts");
        line.push('\n');
        // In one piece. A parent that does not listen any more has no use for it.
        let _ = io::stdout().lock().write_all(line.as_bytes());
    }
}
