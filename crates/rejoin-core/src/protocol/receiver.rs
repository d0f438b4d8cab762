//! The receive side of a session: which item comes next, what is acknowledged when, and how much
//! more the peer may send.

use std::time::{Duration, Instant};

use crate::protocol::frame::AckState;
use crate::protocol::send_log::item_cost;
use crate::protocol::seq::{PacketAck, PacketSeq, Position};

/// When an acknowledgement goes out alone, unless data has carried it before.
#[derive(Debug, Clone, Copy)]
pub(super) struct AckPolicy {
    pub(super) frames_max: u32,
    pub(super) bytes_max: u64,
    pub(super) delay: Duration,
}

/// What an arriving number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the expected one.
    Next,
    /// It came before.
    Duplicate,
    /// Something before it is missing.
    Gap(Position),
}

/// Receive position, acknowledgement schedule and window.
///
/// Invariants: `consumed <= received` in cost, and a peer that keeps to `limit()` never has more
/// than the window and one item outstanding.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// How many items came, counted from the first of the session.
    received: u64,
    /// How many of them may be acknowledged.
    acknowledgeable: u64,
    /// Whether the application acknowledges, instead of the session on arrival.
    manual: bool,
    /// The number of the session's first item.
    first: u64,
    cost_received: u64,
    /// The cost of the items that the application has taken.
    cost_consumed: u64,
    window: u64,
    /// The highest limit that the peer was told.
    limit_told: u64,
    /// Only items before this may be acknowledged on the current link, see
    /// [`reset_link`](Self::reset_link).
    repeated: u64,
    /// What the peer was told on the current link.
    acked_told: Option<u64>,
    frames_unacked: u32,
    bytes_unacked: u64,
    ack_at: Option<Instant>,
    /// An acknowledgement is wanted whatever the schedule says.
    ack_now: bool,
}

impl Receiver {
    pub(super) fn new(first: Position, window: u64, manual: bool) -> Self {
        Self {
            received: first.get(),
            acknowledgeable: first.get(),
            manual,
            first: first.get(),
            cost_received: 0,
            cost_consumed: 0,
            window,
            limit_told: 0,
            repeated: u64::MAX,
            acked_told: None,
            frames_unacked: 0,
            bytes_unacked: 0,
            ack_at: None,
            ack_now: false,
        }
    }

    /// Judges the number of a data frame.
    #[inline]
    pub(super) fn judge(&self, seq: PacketSeq) -> Arrival {
        if seq == Position::new(self.received).seq() {
            return Arrival::Next;
        }
        match seq.expand(Position::new(self.received)) {
            Some(position) if position.get() > self.received => Arrival::Gap(position),
            _ => Arrival::Duplicate,
        }
    }

    /// An item with this number, expected or not, came on the current link.
    #[inline]
    pub(super) fn came(&mut self, seq: PacketSeq) {
        if self.repeated < u64::MAX
            && let Some(position) = seq.expand(Position::new(self.received))
        {
            self.repeated = self.repeated.max(position.next().get());
        }
    }

    /// Whether the peer may send anything more. One item may overshoot the limit, so that an item
    /// larger than the window can pass at all.
    pub(super) fn has_room(&self) -> bool {
        self.cost_received < self.limit_told
    }

    /// Takes the expected item, of `bytes` bytes.
    #[inline]
    pub(super) fn take(&mut self, now: Instant, bytes: usize, policy: &AckPolicy) {
        self.received += 1;
        self.cost_received += item_cost(bytes);
        if !self.manual {
            self.acknowledgeable = self.received;
        }
        self.frames_unacked += 1;
        self.bytes_unacked += item_cost(bytes);
        if self.frames_unacked >= policy.frames_max || self.bytes_unacked >= policy.bytes_max {
            self.ack_now = true;
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now + policy.delay);
        }
    }

    /// The application took items of this cost: the window moves on.
    pub(super) fn consume(&mut self, cost: u64) {
        self.cost_consumed += cost;
        debug_assert!(self.cost_consumed <= self.cost_received, "consumed more than received");
    }

    /// From now on the peer is given this window. What it was promised before stays promised.
    pub(super) fn set_window(&mut self, window: u64) {
        self.window = window;
    }

    /// The application acknowledges all items before `count`; later calls never take it back.
    pub(super) fn acknowledge(&mut self, now: Instant, count: u64, policy: &AckPolicy) {
        let count = count.min(self.received);
        if self.manual && count > self.acknowledgeable {
            self.acknowledgeable = count;
            self.ack_at.get_or_insert(now + policy.delay);
        }
    }

    /// Asks for an acknowledgement at the next opportunity, if there is anything to tell.
    pub(super) fn want_ack(&mut self) {
        self.ack_now |= self.has_news();
    }

    /// A new link: nothing was told on it yet. With `repeats`, the hello has told what the application
    /// had acknowledged, so that the peer sends everything after that again; until it has, an
    /// acknowledgement of it would be one of what this link has not carried.
    pub(super) fn reset_link(&mut self, repeats: bool) {
        self.repeated = if repeats { self.first } else { u64::MAX };
        self.acked_told = None;
        self.ack_now = true;
    }

    /// The delay of an acknowledgement is over: from now on it waits for the link only, and for no
    /// timer, which would fire again and again while the link takes nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.has_news() && self.ack_at.is_some_and(|at| at <= now) {
            self.ack_at = None;
            self.ack_now = true;
        }
    }

    /// Whether an acknowledgement should go out alone by now.
    #[inline]
    pub(super) fn ack_due(&self, now: Instant) -> bool {
        let due = self.ack_now || self.ack_at.is_some_and(|at| at <= now);
        (self.has_news() && due) || self.window_due()
    }

    /// When an acknowledgement is due that is not due yet.
    pub(super) fn next_ack_at(&self) -> Option<Instant> {
        self.ack_at.filter(|_| self.has_news() && !self.ack_now)
    }

    /// The acknowledgement for a data frame, which is thereby told.
    pub(super) fn piggyback(&mut self) -> Option<PacketAck> {
        self.told();
        self.ack()
    }

    /// The acknowledgement and limit for a control frame, which are thereby told.
    pub(super) fn report(&mut self) -> AckState {
        self.told();
        self.limit_told = self.limit();
        AckState { ack: self.ack(), limit: self.limit_told }
    }

    /// How many items came, counted from the first of the session.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The last item that came, for a hello.
    pub(super) fn last_received(&self) -> Option<PacketSeq> {
        self.last_before(self.received)
    }

    /// The last item that may be acknowledged, for a hello that does acknowledge.
    pub(super) fn last_acknowledgeable(&self) -> Option<PacketSeq> {
        self.last_before(self.acknowledgeable)
    }

    /// Whether the application, where it is its part, has acknowledged everything.
    pub(super) fn is_all_acknowledgeable(&self) -> bool {
        self.acknowledgeable == self.received
    }

    /// The cost of what the application has yet to take.
    pub(super) fn cost_held(&self) -> u64 {
        self.cost_received - self.cost_consumed
    }

    /// The cost of what the application has yet to take and of what the peer may still send.
    pub(super) fn cost_promised(&self) -> u64 {
        self.cost_received.max(self.limit_told) - self.cost_consumed
    }

    fn has_news(&self) -> bool {
        self.acked_told != Some(self.acknowledgeable)
    }

    fn limit(&self) -> u64 {
        self.limit_told.max(self.cost_consumed + self.window)
    }

    /// The peer hears of a larger limit when it has grown by a quarter of the window: an idle
    /// application thus never leaves its peer with less than three quarters.
    fn window_due(&self) -> bool {
        self.limit() - self.limit_told >= (self.window / 4).max(1)
    }

    fn told(&mut self) {
        self.acked_told = Some(self.acknowledgeable);
        self.frames_unacked = 0;
        self.bytes_unacked = 0;
        self.ack_at = None;
        self.ack_now = false;
    }

    fn ack(&self) -> Option<PacketAck> {
        let count = self.acknowledgeable.min(self.repeated);
        self.last_before(count).map(|max_delivered| PacketAck { max_delivered })
    }

    fn last_before(&self, count: u64) -> Option<PacketSeq> {
        (count > self.first).then(|| Position::new(count - 1).seq())
    }
}
