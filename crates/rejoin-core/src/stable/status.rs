//! What a conduit tells of itself while it works.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::link::Peer;
use crate::protocol::{CloseReason, LossReason};

/// Where a stable conduit stands.
///
/// ```
/// # use rejoin_core::{Status, StableTx};
/// async fn watch(tx: StableTx<String>) {
///     let mut status = tx.status();
///     drop(tx); // it would keep the conduit open
///     while status.changed().await.is_ok() {
///         match &*status.borrow_and_update() {
///             Status::Connected { peer, generation, .. } => println!("link {generation} to {peer}"),
///             Status::Suspended { cause, attempts, .. } => println!("away: {cause} ({attempts})"),
///             other if other.is_final() => break,
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// It never had a link yet.
    Connecting {
        /// How many attempts were made.
        attempts: u32,
    },
    /// It has a link.
    Connected {
        /// The number of the link within the session, from 1.
        generation: u64,
        /// The peer, as the transport knows it.
        peer: Peer,
        /// Present once the peer has said that it will end soon: when to try again.
        going_away: Option<Duration>,
    },
    /// It has lost its link and waits for, or tries to make, another one.
    Suspended {
        /// What the last link, or the last attempt, failed with.
        cause: SuspendCause,
        /// How many attempts were made in this outage; always 0 on the accepting side.
        attempts: u32,
        /// When the next attempt is made; `None` while one is under way, and on the accepting side.
        retry_at: Option<Instant>,
    },
    /// It was closed in good order.
    Closed {
        /// The reason that the peer gave; `None` when it gave none and only answered our close.
        by_peer: Option<CloseReason>,
    },
    /// The session is lost.
    Lost(LossReason),
}

impl Status {
    /// Whether the conduit has ended.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Lost(_))
    }
}

/// Why a conduit has no link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SuspendCause {
    /// The peer closed the link, which is not a close of the conduit.
    LinkClosed,
    /// The link failed: the error, and behind it what it was caused by.
    LinkFailed(Arc<str>),
    /// Nothing was heard from the peer for too long.
    PeerSilent,
    /// Nothing could be written for too long.
    WriteStalled,
    /// A message on its way went beyond what a listener may
    /// [buffer](crate::ListenerConfig::buffered_bytes_max), and did not come to its end in time while
    /// others waited.
    TooSlow,
    /// The link was given up to learn the position of a peer that cannot acknowledge alone.
    PositionWanted,
    /// The peer sent what no correct peer sends.
    Violation(Arc<str>),
    /// An attempt to make a link failed: the error, and behind it what it was caused by.
    AttemptFailed(Arc<str>),
}

impl fmt::Display for SuspendCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkClosed => f.write_str("the peer closed the link"),
            Self::LinkFailed(error) => write!(f, "the link failed: {error}"),
            Self::PeerSilent => f.write_str("the peer is silent"),
            Self::WriteStalled => f.write_str("the link takes nothing"),
            Self::TooSlow => f.write_str("a large message took too long while others waited"),
            Self::PositionWanted => f.write_str("the position of the peer is wanted"),
            Self::Violation(what) => write!(f, "the peer broke the protocol: {what}"),
            Self::AttemptFailed(error) => write!(f, "an attempt failed: {error}"),
        }
    }
}

/// Figures of a conduit at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages accepted for sending.
    pub messages_accepted: u64,
    /// Messages that the peer has acknowledged.
    pub messages_acknowledged: u64,
    /// Messages received, in order and once each.
    pub messages_received: u64,
    /// Messages written again after a resume.
    pub messages_replayed: u64,
    /// Messages received again and ignored.
    pub messages_duplicate: u64,
    /// Bytes of messages written to links, replays included.
    pub bytes_written: u64,
    /// Bytes of messages received.
    pub bytes_received: u64,
    /// What the send log holds, counted as in
    /// [`send_log_bytes_max`](crate::StableConfig::send_log_bytes_max).
    pub send_log_bytes: u64,
    /// How many messages the send log holds: accepted, and not acknowledged yet.
    pub send_log_messages: u64,
    /// How long ago the oldest of them was accepted.
    pub oldest_unacknowledged: Option<Duration>,
    /// How long the message that was acknowledged last had waited for that since it was accepted,
    /// outages included; `None` until one was.
    pub ack_lag: Option<Duration>,
    /// What waits for the application, counted as in
    /// [`inbox_bytes_max`](crate::StableConfig::inbox_bytes_max).
    pub inbox_bytes: u64,
    /// Links after the first.
    pub resumes: u64,
    /// The number of the latest link, from 1; 0 before the first.
    pub generation: u64,
    /// The latest measurement of the time to the peer and back; `None` until there was a ping, which
    /// a link that is never silent for a [`ping_interval`](crate::StableConfig::ping_interval) does
    /// without.
    pub round_trip: Option<Duration>,
}
