//! Settings of stable conduits and of the listeners that accept them.

use std::num::NonZeroU32;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;

use crate::acceptor::AcceptorConfig;
use crate::protocol::{Profile, SessionConfig};

const MIB: usize = 1024 * 1024;

/// Settings of a stable conduit. The defaults suit phones, Wi-Fi and data centres alike; slow lines
/// want a smaller send log and window.
///
/// # Memory
///
/// A conduit holds at most `send_log_bytes_max + inbox_bytes_max + 2 × message_bytes_max` bytes of
/// messages, 40 MiB by default, and next to nothing while it is idle. Buffers of messages to send can
/// be twice as large as what is in them, three times where large ones and tiny ones take turns, those of
/// tiny messages that are handed over one by one five times as large as they count, and the link has
/// buffers of its own.
/// Received messages stay in those as far as they fill them, so a peer that is out to waste memory can
/// make what waits in the inbox hold six times its size, but no more. Buffers that become free are kept
/// for two seconds or so, in either direction, to be used again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StableConfig {
    /// The largest message, in bytes of its encoding. Default 16 MiB; at most 1 GiB.
    ///
    /// The link must carry messages of this size, too. One message may overshoot the send log, and
    /// one the inbox.
    pub message_bytes_max: usize,
    /// How much the send log holds before senders wait: messages from the moment they are accepted
    /// until the peer has acknowledged them. Each counts its bytes and 32 more. Default 4 MiB.
    ///
    /// Worst case: this and one message.
    pub send_log_bytes_max: usize,
    /// How much may be received before the application takes it: the window that the peer is given.
    /// Counted as for the send log. Default 4 MiB.
    ///
    /// Worst case: this and one message, and as much again for a peer that speaks the base profile
    /// and so knows no window.
    pub inbox_bytes_max: usize,
    /// Acknowledge without waiting for data to carry it after this many messages. Default 64.
    pub ack_messages_max: u32,
    /// Acknowledge without waiting for data to carry it after this long. Default 50 ms.
    pub ack_delay: Duration,
    /// Ask for a sign of life when nothing was heard for this long. Default 5 s; less than
    /// `peer_dead_after`.
    pub ping_interval: Duration,
    /// Give a link up when nothing was heard on it for this long, or nothing could be written to
    /// it. Default 20 s.
    ///
    /// A timer that fires late by more than a quarter of this, or a second, means that this process
    /// was stopped itself, and the peer is given as long again. Of what cannot be written, only the time
    /// counts in which this process was awake, and a quarter of this at most for each time that it was
    /// stopped. Less than about 50 ms is of no use: a busy machine is silent for that long without being
    /// dead.
    pub peer_dead_after: Duration,
    /// How long a handshake on a new link may take. Default 5 s.
    pub handshake_deadline: Duration,
    /// How long a session outlives its last link, on either side. Default 5 min.
    ///
    /// An accepted session of which the peer vanished right after its hello is kept for no longer
    /// than two handshake deadlines.
    pub outage_max: Duration,
    /// How long a close may take until it says what is not known to be delivered. Default 10 s. The link
    /// then has up to six more to take what was said last.
    pub linger: Duration,
    /// How links are dialled, and dialled again.
    pub redial: RedialPolicy,
    /// Whether the application [acknowledges](crate::StableRx::acknowledge) what it receives,
    /// instead of the conduit on arrival. Default `false`.
    pub manual_ack: bool,
    /// The highest profile to speak. Default [`Profile::Extended`]; a peer that knows the base
    /// profile only is spoken to in it.
    pub profile: Profile,
}

impl Default for StableConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 * MIB,
            send_log_bytes_max: 4 * MIB,
            inbox_bytes_max: 4 * MIB,
            ack_messages_max: 64,
            ack_delay: Duration::from_millis(50),
            ping_interval: Duration::from_secs(5),
            peer_dead_after: Duration::from_secs(20),
            handshake_deadline: Duration::from_secs(5),
            outage_max: Duration::from_secs(300),
            linger: Duration::from_secs(10),
            redial: RedialPolicy::default(),
            manual_ack: false,
            profile: Profile::Extended,
        }
    }
}

/// How links are dialled, and dialled again.
///
/// The first attempt after an outage is made at once. Each further one waits for a random time
/// between 0 and a limit that begins at `backoff_min` and doubles up to `backoff_max` ("full
/// jitter"), so that a thousand clients of a restarted server do not come back together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RedialPolicy {
    /// The limit of the first delay. Default 100 ms.
    pub backoff_min: Duration,
    /// The limit of all later delays. Default 10 s.
    pub backoff_max: Duration,
    /// How long one attempt may take to give a link, the handshake on it not counted. Default 10 s.
    pub attempt_deadline: Duration,
    /// How long `connect` goes on trying while attempts fail in a way that may heal. Default 10 s.
    /// The last attempt is made when this has passed, if not one before it has succeeded.
    pub connect_limit: Duration,
    /// How many attempts may fail in one outage, or before the first link, until the session is given
    /// up; `None` for any number within [`outage_max`](StableConfig::outage_max) or `connect_limit`.
    /// Default `None`; at least 1.
    ///
    /// [`reconnect_now`](crate::StableTx::reconnect_now) begins to count anew.
    pub attempts_max: Option<u32>,
}

impl Default for RedialPolicy {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            attempt_deadline: Duration::from_secs(10),
            connect_limit: Duration::from_secs(10),
            attempts_max: None,
        }
    }
}

/// Settings of a [`StableListener`](crate::StableListener).
///
/// ```
/// use rejoin_core::ListenerConfig;
///
/// let mut config = ListenerConfig::default();
/// config.sessions_max = 500;
/// config.buffered_bytes_max = 256 << 20; // for all sessions together
/// config.conduit.send_log_bytes_max = 1 << 20; // for each
/// assert!(config.validate().is_ok());
/// ```
///
/// # Memory
///
/// Besides its pending handshakes, for which see [`AcceptorConfig`], a listener holds at most
/// `buffered_bytes_max` and one message of `message_bytes_max`, and for each of at most
/// `sessions_max` sessions 384 KiB and what its own application sends beyond a full send log, which is
/// one message. How much more memory messages may hold than they count stands at [`StableConfig`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// Settings of each conduit that is accepted.
    pub conduit: StableConfig,
    /// How many sessions there may be at a time; further ones are refused. Default 10 000.
    pub sessions_max: usize,
    /// How many conduits may wait for [`accept`](crate::StableListener::accept); while so many do,
    /// new sessions are refused. Default 128.
    pub backlog_max: usize,
    /// How much all sessions together may buffer in their send logs and inboxes, and of messages that
    /// are being received, beyond the 64 KiB of each that a session has in any case. At least
    /// [`message_bytes_max`](StableConfig::message_bytes_max). Default 1 GiB.
    ///
    /// A session gets as much as its own settings allow, as it needs it. When most of this is in
    /// use, sessions give back what they do not need, and those that want more wait for their
    /// peers to acknowledge, or give their peers smaller windows. When all of it is, one that is in
    /// the middle of a large message goes on beyond it, and the links of the others are not read
    /// until that has come; one that is not read for
    /// [`peer_dead_after`](StableConfig::peer_dead_after) is given up, and what there was of the message
    /// with it. So is the one that goes on, if it takes longer than that while others wait: where this
    /// may be used up, a large message must cross the link in less.
    pub buffered_bytes_max: usize,
    /// How many handshakes may be under way at a time; a further one takes the place of the oldest.
    /// Default 1024.
    pub pending_handshakes_max: usize,
    /// How many peers are accepted in a second; further ones are accepted in their turn. After a
    /// quiet second, so many may come at once. Default 10 000.
    pub handshakes_per_second_max: NonZeroU32,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            conduit: StableConfig::default(),
            sessions_max: 10_000,
            backlog_max: 128,
            buffered_bytes_max: 1024 * MIB,
            pending_handshakes_max: 1024,
            handshakes_per_second_max: AcceptorConfig::default().handshakes_per_second_max,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting is zero, or larger than it may be.
    #[error("{setting} is out of range")]
    OutOfRange {
        /// Its name.
        setting: &'static str,
    },
    /// Pings would come too late to tell a silent peer from a dead one.
    #[error("ping_interval must be less than peer_dead_after")]
    PingTooRare,
    /// The largest message would never find room.
    #[error("buffered_bytes_max must be at least conduit.message_bytes_max")]
    BudgetTooSmall,
    /// A [`Failover`](crate::Failover) was given a source of the acceptor's role.
    #[error("a failover takes sources of the initiator's role only")]
    AcceptorInFailover,
    /// A [`SourceListener`](crate::SourceListener) was given a source of the initiator's role.
    #[error("a listener takes a source of the acceptor's role only")]
    InitiatorInListener,
    /// The limit of the first delay is larger than that of all later ones.
    #[error("redial.backoff_min must not be more than redial.backoff_max")]
    BackoffReversed,
}

impl StableConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// When a setting makes no sense, alone or together with another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const BYTES_MAX: usize = 1024 * MIB;
        for (setting, value) in [
            ("message_bytes_max", self.message_bytes_max),
            ("send_log_bytes_max", self.send_log_bytes_max),
            ("inbox_bytes_max", self.inbox_bytes_max),
            ("ack_messages_max", self.ack_messages_max as usize),
        ] {
            if !(1..=BYTES_MAX).contains(&value) {
                return Err(ConfigError::OutOfRange { setting });
            }
        }
        for (setting, value) in [
            ("ack_delay", self.ack_delay),
            ("ping_interval", self.ping_interval),
            ("peer_dead_after", self.peer_dead_after),
            ("handshake_deadline", self.handshake_deadline),
            ("outage_max", self.outage_max),
            ("redial.backoff_min", self.redial.backoff_min),
            ("redial.backoff_max", self.redial.backoff_max),
            ("redial.attempt_deadline", self.redial.attempt_deadline),
        ] {
            if value.is_zero() || value > DURATION_MAX {
                return Err(ConfigError::OutOfRange { setting });
            }
        }
        for (setting, value) in
            [("linger", self.linger), ("redial.connect_limit", self.redial.connect_limit)]
        {
            if value > DURATION_MAX {
                return Err(ConfigError::OutOfRange { setting });
            }
        }
        if self.redial.attempts_max == Some(0) {
            return Err(ConfigError::OutOfRange { setting: "redial.attempts_max" });
        }
        if self.redial.backoff_min > self.redial.backoff_max {
            return Err(ConfigError::BackoffReversed);
        }
        if self.ping_interval >= self.peer_dead_after {
            return Err(ConfigError::PingTooRare);
        }
        Ok(())
    }

    pub(crate) fn session(&self) -> SessionConfig {
        SessionConfig {
            profile: self.profile,
            item_bytes_max: self.message_bytes_max,
            send_log_bytes_max: self.send_log_bytes_max,
            window_bytes: self.inbox_bytes_max,
            ack_frames_max: self.ack_messages_max,
            ack_delay: self.ack_delay,
            ping_interval: self.ping_interval,
            peer_dead_after: self.peer_dead_after,
            outage_max: self.outage_max,
            unproved_max: self.outage_max.min(2 * self.handshake_deadline),
            linger: self.linger,
            manual_ack: self.manual_ack,
        }
    }
}

/// Far enough for "never", and safe to add to the present.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl ListenerConfig {
    /// Checks the settings, those of the conduits included.
    ///
    /// # Errors
    ///
    /// When a setting makes no sense, alone or together with another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.conduit.validate()?;
        for (setting, value) in [
            ("sessions_max", self.sessions_max),
            ("backlog_max", self.backlog_max),
            ("pending_handshakes_max", self.pending_handshakes_max),
        ] {
            if !(1..=Semaphore::MAX_PERMITS).contains(&value) {
                return Err(ConfigError::OutOfRange { setting });
            }
        }
        if self.buffered_bytes_max < self.conduit.message_bytes_max {
            return Err(ConfigError::BudgetTooSmall);
        }
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> AcceptorConfig {
        AcceptorConfig {
            handshake_deadline: self.conduit.handshake_deadline,
            pending_handshakes_max: self.pending_handshakes_max,
            handshakes_per_second_max: self.handshakes_per_second_max,
        }
    }
}
