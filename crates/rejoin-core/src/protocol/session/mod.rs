//! One end of one session: a pure state machine.
//!
//! Facts come in through `handle_*` and the application's calls; instructions come out of
//! [`poll_transmit`](Session::poll_transmit), [`poll_event`](Session::poll_event) and
//! [`poll_timeout`](Session::poll_timeout). Which link is current is the session's to decide; it
//! never touches one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::protocol::closing::Closing;
use crate::protocol::error::LossReason;
use crate::protocol::frame::{CloseReason, Settings};
use crate::protocol::hello::{Profile, ResumeKey};
use crate::protocol::liveness::{Liveness, Verdict, earlier};
use crate::protocol::receiver::{AckPolicy, Receiver};
use crate::protocol::send_log::{Batch, SendLog};
use crate::protocol::seq::Position;

mod handshake;
mod input;
mod output;

/// Limits and times of one session; a pure subset of what the application configures.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The profile to ask for, and the highest to answer with.
    pub profile: Profile,
    /// The largest item, in bytes.
    pub item_bytes_max: usize,
    /// The bound on the send log in bytes, by [cost](super::item_cost).
    pub send_log_bytes_max: usize,
    /// The bound on what was received and not yet taken, in bytes by [cost](super::item_cost).
    pub window_bytes: usize,
    /// Acknowledge alone after this many items.
    pub ack_frames_max: u32,
    /// Acknowledge alone after this long.
    pub ack_delay: Duration,
    /// Send a ping when nothing was read for this long.
    pub ping_interval: Duration,
    /// Give a link up when nothing was read for this long.
    pub peer_dead_after: Duration,
    /// End the session when it had no link for this long.
    pub outage_max: Duration,
    /// As `outage_max`, for an acceptor's session of which the peer has never shown that it has the
    /// key: it may have vanished after its hello, and nobody else can come back to such a session.
    /// Does not apply to base-profile peers, which may have nothing to say.
    pub unproved_max: Duration,
    /// End the session this long after it was asked to close, whatever is missing.
    pub linger: Duration,
    /// Whether the application acknowledges items, instead of the session on arrival.
    pub manual_ack: bool,
}

/// Who speaks first on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Sends the first hello, and dials where the transport has that notion.
    Initiator,
    /// Answers it.
    Acceptor,
}

/// Names a link within its session; later links have higher numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LinkGeneration(u64);

impl LinkGeneration {
    /// The number: 1 for the first link.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What the session wants its owner to do or know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer has shown that it knows the key given out on this link.
    KeyProved(LinkGeneration),
    /// The link is of no use any more; drop it, then tell with
    /// [`handle_link_down`](Session::handle_link_down) unless the session has moved on.
    DropLink {
        /// Which link.
        link: LinkGeneration,
        /// Why.
        cause: DropCause,
    },
    /// The peer will end soon and asks to be called again after this time.
    GoingAway {
        /// When to try again.
        retry_after: Duration,
    },
    /// The peer sends nothing more; what came before is complete.
    PeerClosed(CloseReason),
    /// Everything sent before our close was received, and so was the close.
    CloseConfirmed,
    /// The session is over. Nothing comes after this event.
    Ended(Ending),
}

/// Why a link is to be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropCause {
    /// A newer link has taken its place.
    Replaced,
    /// Nothing was heard for too long.
    PeerDead,
    /// A new handshake is the only way to learn what a base-profile peer has. Close the link
    /// gracefully, so that what is on its way arrives.
    AckWanted,
}

/// How a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Both sides have closed it, and everything was received and acknowledged.
    Closed,
    /// It ended otherwise; [`Session::take_unacknowledged`] has what the peer may lack.
    Lost(LossReason),
}

/// Counts of what happened in a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SessionCounters {
    /// Links after the first.
    pub resumes: u64,
    /// Items written again because an earlier link may not have delivered them.
    pub items_replayed: u64,
    /// Items received again and ignored.
    pub items_duplicate: u64,
    /// Inputs that named a link other than the current one and were ignored.
    pub inputs_stale: u64,
    /// Bytes of items received.
    pub bytes_received: u64,
    /// Bytes of items written, replays included.
    pub bytes_written: u64,
}

/// What belongs to the current link.
#[derive(Clone, Debug)]
struct Attached {
    generation: LinkGeneration,
    payload_bytes_max: usize,
    /// A base-profile peer cannot be pinged.
    liveness: Option<Liveness>,
    /// Whether the peer has sent a frame on this link.
    peer_heard: bool,
    settings_sent: bool,
    pong: Option<u64>,
    close_sent: bool,
    going_away_sent: bool,
    /// When the last item was written: how long a base peer has been silent about it.
    wrote_at: Instant,
}

/// One end of one session.
///
/// Invariants: those of [`SendLog`]; the items given out by [`handle_frame`](Self::handle_frame)
/// are a gapless, duplicate-free, in-order prefix of what the peer sent; input that names a link
/// other than the current one changes nothing but a counter; nothing happens after the end.
///
/// A clone is for whoever looks at what could follow, such as a model checker: of two that are both
/// used on links, neither keeps its word.
#[derive(Clone, Debug)]
pub struct Session {
    role: Role,
    config: SessionConfig,
    /// Known once the first handshake is complete.
    profile: Option<Profile>,
    /// The initiator's key for the next handshake.
    key: Option<ResumeKey>,
    nonce: ResumeKey,
    log: SendLog,
    receiver: Receiver,
    peer: Option<Settings>,
    /// The highest limit that the peer gave, by cost.
    send_limit: u64,
    attached: Option<Attached>,
    generation: LinkGeneration,
    detached_at: Option<Instant>,
    closing: Closing,
    going_away: Option<Duration>,
    ack_wanted: bool,
    /// Delay before a link to a base peer is cycled; doubled while that brings nothing, up to the
    /// time after which a silent peer of the extended profile would count as dead.
    cycle_delay: Duration,
    round_trip: Option<Duration>,
    ended: bool,
    /// Invariant: only with `ended`.
    closed_in_order: bool,
    events: VecDeque<Event>,
    counters: SessionCounters,
}

impl Session {
    /// A session that has no link yet. `nonce` is fresh randomness; only an initiator uses it.
    #[must_use]
    pub fn new(role: Role, config: SessionConfig, nonce: ResumeKey) -> Self {
        Self::starting_at(role, config, nonce, Position::default())
    }

    /// As [`new`](Self::new), with `first` as the number of the first item in both directions: the
    /// way to test what happens around the wrap of the numbers on the wire.
    #[must_use]
    pub fn starting_at(
        role: Role,
        config: SessionConfig,
        nonce: ResumeKey,
        first: Position,
    ) -> Self {
        Self {
            role,
            profile: None,
            key: None,
            nonce,
            log: SendLog::starting_at(first),
            receiver: Receiver::new(first, config.window_bytes as u64, config.manual_ack),
            peer: None,
            send_limit: 0,
            attached: None,
            generation: LinkGeneration::default(),
            detached_at: None,
            closing: Closing::default(),
            going_away: None,
            ack_wanted: false,
            cycle_delay: config.ack_delay,
            round_trip: None,
            ended: false,
            closed_in_order: false,
            events: VecDeque::new(),
            counters: SessionCounters::default(),
            config,
        }
    }

    /// Accepts the items of `batch` for sending, in order, see [`SendLog::append`].
    #[inline]
    pub fn append(&mut self, batch: &mut Batch) {
        debug_assert!(!self.closing.is_closing(), "an item after the close");
        self.log.append(batch);
    }

    /// Gives memory back that was not needed since the last time.
    pub fn trim(&mut self) {
        self.log.trim();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
    }

    /// The application has taken received items of this [cost](super::item_cost).
    pub fn consume(&mut self, cost: u64) {
        self.receiver.consume(cost);
    }

    /// From now on, gives the peer this window, in bytes by [cost](super::item_cost). A window that
    /// was given before shrinks only as the application takes what arrives.
    pub fn set_window(&mut self, bytes: u64) {
        self.receiver.set_window(bytes);
    }

    /// In manual mode: the application acknowledges every item before `count`.
    pub fn acknowledge(&mut self, now: Instant, count: u64) {
        self.receiver.acknowledge(now, count, &self.ack_policy());
    }

    /// Tells the peer, on this link and all later ones, that this side ends soon and when to try
    /// again. A base-profile peer cannot be told.
    pub fn go_away(&mut self, retry_after: Duration) {
        self.going_away = Some(retry_after);
        if let Some(attached) = &mut self.attached {
            attached.going_away_sent = false;
        }
    }

    /// How much of items, by [cost](super::item_cost), would be written at once if it were appended
    /// now: none unless there is a link and everything appended before is written.
    #[must_use]
    pub fn writable(&self) -> u64 {
        let idle = self.log.written() == self.log.appended() && !self.closing.is_closing();
        if self.attached.is_some() && !self.ended && idle {
            self.send_limit.saturating_sub(self.log.cost_written())
        } else {
            0
        }
    }

    /// Whether somebody waits for an acknowledgement. Makes a difference with a base-profile peer
    /// only, from which a new handshake may be needed to get one.
    pub fn set_ack_wanted(&mut self, wanted: bool) {
        self.ack_wanted = wanted;
    }

    /// Closes the sending direction once everything appended is written; nothing may be appended
    /// after it. Later calls are ignored. To be called, too, when the peer has closed its direction
    /// and everything accepted from the application is appended.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        self.closing.close(now, self.config.linger, reason);
        self.finish_if_closed();
    }

    /// Ends the session at once.
    pub fn abort(&mut self, reason: LossReason) {
        self.end(Ending::Lost(reason));
    }

    /// `link` is dead or was dropped.
    pub fn handle_link_down(&mut self, now: Instant, link: LinkGeneration) {
        if self.attached.as_ref().is_some_and(|attached| attached.generation == link) {
            self.detach(now);
        } else {
            self.counters.inputs_stale += 1;
        }
    }

    /// Does what is due at `now`; to be called when the time of
    /// [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if self.closing.linger_until().is_some_and(|at| at <= now) {
            self.give_up(LossReason::LingerExpired);
            return;
        }
        if self.expires_at().is_some_and(|at| at <= now) {
            self.give_up(match self.role {
                Role::Initiator => LossReason::OutageLimit,
                Role::Acceptor => LossReason::Expired,
            });
            return;
        }
        self.receiver.handle_timeout(now);
        let cycle = self.cycle_at().is_some_and(|at| at <= now);
        let Some(attached) = &mut self.attached else { return };
        let link = attached.generation;
        let verdict = attached.liveness.as_mut().map(|liveness| liveness.handle_timeout(now));
        if verdict == Some(Verdict::Dead) {
            self.events.push_back(Event::DropLink { link, cause: DropCause::PeerDead });
            self.detach(now);
        } else if cycle {
            let delay_max = self.config.peer_dead_after.max(self.config.ack_delay);
            self.cycle_delay = (self.cycle_delay * 2).min(delay_max);
            self.events.push_back(Event::DropLink { link, cause: DropCause::AckWanted });
            self.detach(now);
        }
    }

    /// What the owner should know or do next; `None` when there is nothing. May change after every
    /// other call.
    #[must_use]
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; `None` for never. May
    /// change after every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let liveness = self.attached.as_ref().and_then(|it| it.liveness.as_ref());
        let liveness = liveness.map(Liveness::next_at);
        let ack = if self.attached.is_some() && self.profile == Some(Profile::Extended) {
            self.receiver.next_ack_at()
        } else {
            None
        };
        let mut next = earlier(liveness, ack);
        for other in [self.closing.linger_until(), self.expires_at(), self.cycle_at()] {
            next = earlier(next, other);
        }
        next
    }

    /// Empties the log and gives out what the peer has not acknowledged, oldest first.
    #[must_use]
    pub fn take_unacknowledged(&mut self) -> Vec<(Position, Bytes)> {
        self.log.take_unacknowledged()
    }

    /// The send log.
    #[must_use]
    pub fn log(&self) -> &SendLog {
        &self.log
    }

    /// How many items came, counted from the first of the session.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.receiver.received()
    }

    /// The cost of the received items that the application has yet to take.
    #[must_use]
    pub fn inbox_cost(&self) -> u64 {
        self.receiver.cost_held()
    }

    /// The cost of the received items that the application has yet to take, together with what the
    /// peer may still send by the limit that it was told.
    #[must_use]
    pub fn window_promised(&self) -> u64 {
        self.receiver.cost_promised()
    }

    /// The profile that the session speaks, once that is settled.
    #[must_use]
    pub fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// The current link.
    #[must_use]
    pub fn link(&self) -> Option<LinkGeneration> {
        self.attached.as_ref().map(|attached| attached.generation)
    }

    /// The latest link, current or not.
    #[must_use]
    pub fn generation(&self) -> LinkGeneration {
        self.generation
    }

    /// Whether the peer has sent a frame on the current link.
    #[must_use]
    pub fn is_link_proved(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.peer_heard)
    }

    /// The largest item that the peer is known to take, in bytes.
    #[must_use]
    pub fn peer_item_bytes_max(&self) -> Option<usize> {
        self.peer.map(|peer| peer.item_bytes_max as usize)
    }

    /// The latest measurement of the time from a ping to its pong.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    fn detach(&mut self, now: Instant) {
        self.attached = None;
        self.detached_at = Some(now);
    }

    fn acked(&mut self, count: u64) {
        if count > self.log.acked() {
            self.log.acknowledge(count);
            self.cycle_delay = self.config.ack_delay;
            self.finish_if_closed();
        }
    }

    fn expires_at(&self) -> Option<Instant> {
        let unproved = self.role == Role::Acceptor
            && self.profile == Some(Profile::Extended)
            && self.peer.is_none();
        let kept = if unproved { self.config.unproved_max } else { self.config.outage_max };
        self.detached_at.map(|since| since + kept)
    }

    /// When the link to a base-profile peer is to be cycled, because only a new handshake can tell
    /// what the peer has: when the log is full, or somebody waits for an acknowledgement.
    fn cycle_at(&self) -> Option<Instant> {
        let attached = self.attached.as_ref()?;
        let full = self.log.cost() >= self.config.send_log_bytes_max as u64;
        let stuck = self.profile == Some(Profile::Base)
            && !self.log.is_empty()
            && self.log.written() == self.log.appended()
            && (full || self.ack_wanted || self.closing.is_closing());
        stuck.then(|| attached.wrote_at + self.cycle_delay)
    }

    /// Whether nothing is missing to a close in good order but our last word: a close-ack that no
    /// link has taken yet.
    pub fn owes_last_word(&self) -> bool {
        !self.ended
            && self.closing.confirmed_by_peer()
            && self.closing.peer_closed()
            && self.receiver.is_all_acknowledgeable()
    }

    fn finish_if_closed(&mut self) {
        let done = match self.profile {
            // A base peer knows no close; that everything is acknowledged is all there is to know.
            Some(Profile::Base) => self.closing.is_closing() && self.log.is_empty(),
            _ => self.closing.is_complete() && self.log.is_empty(),
        };
        if done {
            self.end(Ending::Closed);
        }
    }

    /// The time for `reason` is up. That is no loss where only the peer's last word is missing:
    /// both sides closed, everything of ours was acknowledged, and the peer's close says that
    /// everything of its was received. Without the peer's close nobody can know the last of it, and
    /// where the application acknowledges, a peer must not take the end for an acknowledgement.
    fn give_up(&mut self, reason: LossReason) {
        let complete = self.log.is_empty()
            && self.closing.both_closed()
            && self.receiver.is_all_acknowledgeable();
        self.end(if complete { Ending::Closed } else { Ending::Lost(reason) });
    }

    #[inline]
    fn ack_policy(&self) -> AckPolicy {
        let log_bytes = self.peer.map_or(u64::MAX, |peer| peer.send_log_bytes);
        AckPolicy {
            frames_max: self.config.ack_frames_max,
            bytes_max: log_bytes / 8,
            delay: self.config.ack_delay,
        }
    }

    fn end(&mut self, ending: Ending) {
        if !self.ended {
            self.ended = true;
            self.closed_in_order = ending == Ending::Closed;
            self.events.push_back(Event::Ended(ending));
        }
    }
}
