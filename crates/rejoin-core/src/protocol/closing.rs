//! How the two directions of a session are closed.
//!
//! Each side closes its own sending direction, after all of its data, and the other confirms it. A
//! side that reads a close finishes what it has accepted and closes its direction, too. The session
//! is over when both closes are confirmed.

use std::time::{Duration, Instant};

use crate::protocol::frame::CloseReason;

/// Where the two closes stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing {
    /// Why this side closes; `None` while it does not.
    reason: Option<CloseReason>,
    confirmed_by_peer: bool,
    peer_closed: bool,
    /// A close of the peer is to be confirmed.
    confirmation_due: bool,
    confirmation_sent: bool,
    linger_until: Option<Instant>,
}

impl Closing {
    /// This side closes.
    pub(super) fn close(&mut self, now: Instant, linger: Duration, reason: CloseReason) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.linger_until.get_or_insert(now + linger);
        }
    }

    /// The peer closes; gives whether that is news.
    pub(super) fn handle_close(&mut self, now: Instant, linger: Duration) -> bool {
        self.confirmation_due = true;
        self.linger_until.get_or_insert(now + linger);
        !std::mem::replace(&mut self.peer_closed, true)
    }

    /// The peer confirms our close; gives whether that is news.
    pub(super) fn handle_close_ack(&mut self) -> bool {
        !std::mem::replace(&mut self.confirmed_by_peer, true)
    }

    /// A new link: a peer that lacks our confirmation repeats its close there.
    pub(super) fn reset_link(&mut self) {
        self.confirmation_due = false;
    }

    /// Whether there is a close of the peer to confirm.
    pub(super) fn is_confirmation_due(&self) -> bool {
        self.confirmation_due
    }

    /// Whether to confirm the peer's close now; asked once for each confirmation.
    pub(super) fn next_close_ack(&mut self) -> bool {
        let due = std::mem::take(&mut self.confirmation_due);
        self.confirmation_sent |= due;
        due
    }

    /// Why this side closes, if it does and the peer may not know.
    pub(super) fn to_send(&self) -> Option<&CloseReason> {
        self.reason.as_ref().filter(|_| !self.confirmed_by_peer)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.reason.is_some()
    }

    pub(super) fn confirmed_by_peer(&self) -> bool {
        self.confirmed_by_peer
    }

    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    pub(super) fn is_complete(&self) -> bool {
        self.confirmed_by_peer && self.confirmation_sent
    }

    pub(super) fn both_closed(&self) -> bool {
        self.reason.is_some() && self.peer_closed
    }

    pub(super) fn linger_until(&self) -> Option<Instant> {
        self.linger_until
    }
}
