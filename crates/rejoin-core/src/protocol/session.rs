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
use crate::protocol::error::{HandshakeError, LossReason, ProtocolViolation, RejectReason};
use crate::protocol::frame::{
    AckState, CloseReason, Control, FRAME_HEAD_MAX, Frame, Head, Settings,
};
use crate::protocol::hello::{ClientHello, Opening, Profile, ResumeKey, ServerHello};
use crate::protocol::liveness::{Liveness, Verdict};
use crate::protocol::receiver::{AckPolicy, Arrival, Receiver};
use crate::protocol::send_log::{Batch, SendLog};
use crate::protocol::seq::{PacketAck, PacketSeq, Position};

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

/// One payload for the link: the concatenation of head and body.
#[derive(Debug)]
pub struct Transmit {
    /// The head of a data frame; empty for a control frame.
    pub head: Head,
    /// The item, or the whole control frame.
    pub body: Bytes,
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
#[derive(Debug)]
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
    /// When the last item was written: how long a base peer has been silent about it.
    wrote_at: Instant,
}

/// One end of one session.
///
/// Invariants: those of [`SendLog`]; the items given out by [`handle_frame`](Self::handle_frame)
/// are a gapless, duplicate-free, in-order prefix of what the peer sent; input that names a link
/// other than the current one changes nothing but a counter; nothing happens after the end.
#[derive(Debug)]
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
    ack_wanted: bool,
    /// Delay before a link to a base peer is cycled; doubled while that brings nothing.
    cycle_delay: Duration,
    round_trip: Option<Duration>,
    ended: bool,
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
            ack_wanted: false,
            cycle_delay: config.ack_delay,
            round_trip: None,
            ended: false,
            events: VecDeque::new(),
            counters: SessionCounters::default(),
            config,
        }
    }

    /// Accepts the items of `batch` for sending, in order.
    pub fn append(&mut self, batch: Batch) {
        debug_assert!(!self.closing.is_closing(), "an item after the close");
        self.log.append(batch);
    }

    /// The application has taken received items of this [cost](super::item_cost).
    pub fn consume(&mut self, cost: u64) {
        self.receiver.consume(cost);
    }

    /// In manual mode: the application acknowledges every item before `count`.
    pub fn acknowledge(&mut self, now: Instant, count: u64) {
        self.receiver.acknowledge(now, count, &self.ack_policy());
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

    /// The hello with which an initiator opens its next link.
    #[must_use]
    pub fn client_hello(&self) -> ClientHello {
        match self.key {
            Some(key) => ClientHello::resume(
                self.profile.unwrap_or(self.config.profile),
                key,
                self.receiver.last_received(),
            ),
            None if self.config.profile == Profile::Extended => {
                ClientHello::fresh_extended(self.nonce)
            }
            None => ClientHello::fresh(),
        }
    }

    /// As initiator: the answer to our hello arrived on a new link, which becomes the current one.
    ///
    /// # Errors
    ///
    /// When the new link is of no use. The session has ended, too, unless the error is transient.
    pub fn handle_server_hello(
        &mut self,
        now: Instant,
        hello: &ServerHello,
        payload_bytes_max: usize,
    ) -> Result<LinkGeneration, HandshakeError> {
        match *hello {
            ServerHello::Rejected { reason, .. } => Err(self.rejected(reason)),
            ServerHello::Accepted { profile, key, last_received } => {
                let offered =
                    if profile == Profile::Extended { self.config.profile } else { profile };
                let link = self.attach(now, offered, last_received, payload_bytes_max)?;
                self.key = Some(key);
                Ok(link)
            }
        }
    }

    /// As acceptor: a hello for this session arrived on a new link, which becomes the current one.
    /// The answer, with `key` in it, is to be the first payload sent on that link.
    ///
    /// # Errors
    ///
    /// When the new link is to be refused. The session has ended if its positions do not fit.
    pub fn handle_client_hello(
        &mut self,
        now: Instant,
        hello: &ClientHello,
        key: ResumeKey,
        payload_bytes_max: usize,
    ) -> Result<(LinkGeneration, ServerHello), HandshakeError> {
        let profile = match self.config.profile {
            Profile::Base => Profile::Base,
            Profile::Extended => hello.profile(),
        };
        if self.profile.is_some_and(|settled| settled != profile) {
            return Err(HandshakeError::Refused(RejectReason::ProfileMismatch));
        }
        let last_received = match hello.opening() {
            Opening::Fresh { .. } => None,
            Opening::Resume(_) => hello.last_received(),
        };
        let link = self.attach(now, profile, last_received, payload_bytes_max)?;
        let answer =
            ServerHello::Accepted { profile, key, last_received: self.receiver.last_received() };
        Ok((link, answer))
    }

    /// A payload arrived on `link`. Gives out the item that it brought, if it brought the next one.
    ///
    /// # Errors
    ///
    /// When no correct peer sends such a payload. The link is of no use then: drop it, and tell
    /// with [`handle_link_down`](Self::handle_link_down).
    pub fn handle_frame(
        &mut self,
        now: Instant,
        link: LinkGeneration,
        payload: Bytes,
    ) -> Result<Option<Bytes>, ProtocolViolation> {
        let Some(attached) = self.attached.as_mut().filter(|it| it.generation == link) else {
            self.counters.inputs_stale += 1;
            return Ok(None);
        };
        if let Some(liveness) = &mut attached.liveness {
            liveness.heard(now);
        }
        let profile = self.profile.unwrap_or(Profile::Base);
        let frame = Frame::decode(profile, payload)?;
        if !attached.peer_heard {
            let is_settings = matches!(frame, Frame::Control { control: Control::Settings(_), .. });
            if profile == Profile::Extended && !is_settings {
                return Err(ProtocolViolation::SettingsMissing);
            }
            attached.peer_heard = true;
            self.events.push_back(Event::KeyProved(link));
        }
        match frame {
            Frame::Data { seq, ack, item } => {
                if let Some(ack) = ack {
                    self.handle_ack(ack);
                }
                self.handle_item(now, seq, item)
            }
            Frame::Control { seq, control } => {
                if let Arrival::Gap(actual) = self.receiver.judge(seq) {
                    return Err(self.gap(actual));
                }
                self.handle_control(now, control);
                Ok(None)
            }
        }
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
            self.end(if self.log.is_empty() {
                Ending::Closed
            } else {
                Ending::Lost(LossReason::LingerExpired)
            });
            return;
        }
        if self.expires_at().is_some_and(|at| at <= now) {
            self.end(Ending::Lost(match self.role {
                Role::Initiator => LossReason::OutageLimit,
                Role::Acceptor => LossReason::Expired,
            }));
            return;
        }
        let cycle = self.cycle_at().is_some_and(|at| at <= now);
        let Some(attached) = &mut self.attached else { return };
        let link = attached.generation;
        let verdict = attached.liveness.as_mut().map(|liveness| liveness.handle_timeout(now));
        if verdict == Some(Verdict::Dead) {
            self.events.push_back(Event::DropLink { link, cause: DropCause::PeerDead });
            self.detach(now);
        } else if cycle {
            self.cycle_delay *= 2;
            self.events.push_back(Event::DropLink { link, cause: DropCause::AckWanted });
            self.detach(now);
        }
    }

    /// The next payload for the current link; `None` when there is nothing to send now. May change
    /// after every other call.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.ended || self.attached.is_none() {
            return None;
        }
        if self.profile == Some(Profile::Extended)
            && let Some(control) = self.next_control(now)
        {
            let transmit = self.control(&control);
            self.finish_if_closed();
            return Some(transmit);
        }
        self.next_item(now).or_else(|| self.next_close())
    }

    /// What the owner should know or do next; `None` when there is nothing. May change after every
    /// other call.
    #[must_use]
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
        [self.closing.linger_until(), self.expires_at(), self.cycle_at(), liveness, ack]
            .into_iter()
            .flatten()
            .min()
    }

    /// Empties the log and gives out what the peer has not acknowledged, oldest first.
    #[must_use]
    pub fn take_unacknowledged(&mut self) -> Vec<(Position, Bytes)> {
        self.log.take_unacknowledged()
    }

    /// A buffer for the next batch, if one is at hand.
    pub fn take_spare(&mut self) -> Option<Batch> {
        self.log.take_spare()
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

    fn attach(
        &mut self,
        now: Instant,
        profile: Profile,
        last_received: Option<PacketSeq>,
        payload_bytes_max: usize,
    ) -> Result<LinkGeneration, HandshakeError> {
        if self.ended {
            return Err(HandshakeError::Refused(RejectReason::Closed));
        }
        if self.profile.is_some_and(|settled| settled != profile) {
            return Err(self.lost(LossReason::ProfileChanged));
        }
        let received = self.peer_position(last_received)?;
        self.profile = Some(profile);
        self.log.rewind(received);
        if profile == Profile::Base {
            self.send_limit = u64::MAX;
            self.acked(received);
        }
        self.receiver.reset_link();
        if let Some(replaced) = self.link() {
            self.events.push_back(Event::DropLink { link: replaced, cause: DropCause::Replaced });
        }
        if self.generation.0 > 0 {
            self.counters.resumes += 1;
        }
        self.generation.0 += 1;
        self.detached_at = None;
        self.attached = Some(Attached {
            generation: self.generation,
            payload_bytes_max,
            liveness: (profile == Profile::Extended).then(|| {
                Liveness::new(now, self.config.ping_interval, self.config.peer_dead_after)
            }),
            peer_heard: false,
            settings_sent: false,
            pong: None,
            close_sent: false,
            wrote_at: now,
        });
        self.closing.reset_link();
        Ok(self.generation)
    }

    fn detach(&mut self, now: Instant) {
        self.attached = None;
        self.detached_at = Some(now);
    }

    /// How many items the peer has, from the number in its hello.
    fn peer_position(&mut self, last: Option<PacketSeq>) -> Result<u64, HandshakeError> {
        let log = &self.log;
        let near = Position::new(log.sent());
        let received = match last {
            Some(seq) => seq.expand(near).map(|position| position.next().get()),
            None => Some(self.log.first()),
        };
        match received {
            Some(count) if (log.acked()..=log.sent()).contains(&count) => Ok(count),
            other => {
                let reason = LossReason::PositionOutOfRange {
                    received: other.unwrap_or(0),
                    retained_from: log.acked(),
                    appended: log.appended(),
                };
                Err(self.lost(reason))
            }
        }
    }

    fn rejected(&mut self, reason: RejectReason) -> HandshakeError {
        if reason == RejectReason::Closed && self.closing.both_closed() {
            // The peer ended in good order, so it has everything; only its last word was lost.
            drop(self.log.take_unacknowledged());
            self.end(Ending::Closed);
        } else if !reason.is_transient() {
            self.end(Ending::Lost(LossReason::Rejected(reason)));
        }
        HandshakeError::Refused(reason)
    }

    fn handle_ack(&mut self, ack: PacketAck) {
        let position = ack.max_delivered.expand(Position::new(self.log.written()));
        match position.map(|position| position.next().get()) {
            Some(count) if count <= self.log.written() => self.acked(count),
            other => {
                let reason = LossReason::AckBeyondSent {
                    acked: other
                        .and_then(|count| Position::new(count).previous())
                        .unwrap_or_default(),
                    sent: self.log.written(),
                };
                self.end(Ending::Lost(reason));
            }
        }
    }

    fn acked(&mut self, count: u64) {
        if count > self.log.acked() {
            self.log.acknowledge(count);
            self.cycle_delay = self.config.ack_delay;
            self.finish_if_closed();
        }
    }

    fn handle_item(
        &mut self,
        now: Instant,
        seq: PacketSeq,
        item: Bytes,
    ) -> Result<Option<Bytes>, ProtocolViolation> {
        if self.ended {
            return Ok(None);
        }
        match self.receiver.judge(seq) {
            Arrival::Gap(actual) => return Err(self.gap(actual)),
            Arrival::Duplicate => {
                self.counters.items_duplicate += 1;
                self.receiver.want_ack();
                return Ok(None);
            }
            Arrival::Next => {}
        }
        if self.closing.peer_closed() {
            return Err(ProtocolViolation::DataAfterClose);
        }
        if item.len() > self.config.item_bytes_max {
            self.end(Ending::Lost(LossReason::ItemTooLarge {
                position: Position::new(self.receiver.received()),
                bytes: item.len(),
                bytes_max: self.config.item_bytes_max,
            }));
            return Ok(None);
        }
        if self.profile == Some(Profile::Extended) && !self.receiver.has_room() {
            self.end(Ending::Lost(LossReason::WindowExceeded));
            return Ok(None);
        }
        self.counters.bytes_received += item.len() as u64;
        let policy = self.ack_policy();
        self.receiver.take(now, item.len(), &policy);
        Ok(Some(item))
    }

    fn handle_control(&mut self, now: Instant, control: Control) {
        match control {
            Control::Settings(settings) => {
                self.peer = Some(settings);
                self.handle_ack_state(settings.state);
            }
            Control::Ack(state) => self.handle_ack_state(state),
            Control::Ping(token) => {
                self.receiver.want_ack();
                if let Some(attached) = &mut self.attached {
                    // A later ping takes the place of one that is not answered yet, so that a
                    // flood of them costs nothing.
                    attached.pong = Some(token);
                }
            }
            Control::Pong(token) => {
                let liveness = self.attached.as_mut().and_then(|it| it.liveness.as_mut());
                if let Some(sample) = liveness.and_then(|it| it.pong(now, token)) {
                    self.round_trip = Some(sample);
                }
            }
            Control::Close(reason) => {
                if self.closing.handle_close(now, self.config.linger) {
                    self.events.push_back(Event::PeerClosed(reason));
                }
                self.finish_if_closed();
            }
            Control::CloseAck => {
                let attached = self.attached.as_ref();
                if attached.is_some_and(|attached| attached.close_sent)
                    && self.closing.handle_close_ack()
                {
                    self.acked(self.log.appended());
                    self.events.push_back(Event::CloseConfirmed);
                }
                self.finish_if_closed();
            }
            Control::GoingAway { retry_after_ms } => {
                let retry_after = Duration::from_millis(retry_after_ms);
                self.events.push_back(Event::GoingAway { retry_after });
            }
        }
    }

    fn handle_ack_state(&mut self, state: AckState) {
        if let Some(ack) = state.ack {
            self.handle_ack(ack);
        }
        self.send_limit = self.send_limit.max(state.limit);
    }

    fn next_control(&mut self, now: Instant) -> Option<Control> {
        let attached = self.attached.as_mut()?;
        if !attached.settings_sent {
            attached.settings_sent = true;
            return Some(Control::Settings(Settings {
                state: self.receiver.report(),
                item_bytes_max: u32::try_from(self.config.item_bytes_max).unwrap_or(u32::MAX),
                send_log_bytes: self.config.send_log_bytes_max as u64,
            }));
        }
        if self.receiver.ack_due(now) {
            return Some(Control::Ack(self.receiver.report()));
        }
        if let Some(token) = attached.pong.take() {
            return Some(Control::Pong(token));
        }
        if let Some(token) = attached.liveness.as_mut().and_then(|it| it.next_ping(now)) {
            return Some(Control::Ping(token));
        }
        let confirm = self.closing.next_close_ack();
        confirm.then_some(Control::CloseAck)
    }

    fn next_item(&mut self, now: Instant) -> Option<Transmit> {
        let attached = self.attached.as_mut()?;
        if self.log.cost_written() >= self.send_limit {
            return None;
        }
        let sent = self.log.sent();
        let (position, item) = self.log.write_next()?;
        let peer_max = self.peer.map_or(usize::MAX, |peer| peer.item_bytes_max as usize);
        let bytes_max = peer_max.min(attached.payload_bytes_max.saturating_sub(FRAME_HEAD_MAX));
        if item.len() > bytes_max {
            let reason = LossReason::ItemTooLarge { position, bytes: item.len(), bytes_max };
            self.end(Ending::Lost(reason));
            return None;
        }
        attached.wrote_at = now;
        self.counters.bytes_written += item.len() as u64;
        if position.get() < sent {
            self.counters.items_replayed += 1;
        }
        Some(Transmit { head: Head::data(position.seq(), self.receiver.piggyback()), body: item })
    }

    fn next_close(&mut self) -> Option<Transmit> {
        let attached = self.attached.as_mut()?;
        let all_written = self.log.written() == self.log.appended();
        if self.profile != Some(Profile::Extended) || attached.close_sent || !all_written {
            return None;
        }
        let reason = self.closing.to_send()?.clone();
        attached.close_sent = true;
        Some(self.control(&Control::Close(reason)))
    }

    fn control(&self, control: &Control) -> Transmit {
        let seq = Position::new(self.log.written()).seq();
        Transmit { head: Head::default(), body: control.encode(seq) }
    }

    fn expires_at(&self) -> Option<Instant> {
        self.detached_at.map(|since| since + self.config.outage_max)
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

    fn ack_policy(&self) -> AckPolicy {
        let log_bytes = self.peer.map_or(u64::MAX, |peer| peer.send_log_bytes);
        AckPolicy {
            frames_max: self.config.ack_frames_max,
            bytes_max: log_bytes / 4,
            delay: self.config.ack_delay,
        }
    }

    fn gap(&self, actual: Position) -> ProtocolViolation {
        ProtocolViolation::Gap { expected: Position::new(self.receiver.received()), actual }
    }

    fn lost(&mut self, reason: LossReason) -> HandshakeError {
        self.end(Ending::Lost(reason.clone()));
        HandshakeError::Lost(reason)
    }

    fn end(&mut self, ending: Ending) {
        if !self.ended {
            self.ended = true;
            self.events.push_back(Event::Ended(ending));
        }
    }
}
