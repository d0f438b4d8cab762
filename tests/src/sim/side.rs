//! One session of a run, the application on it, and what the checkers know of both. The checkers'
//! notes are taken from what went in and came out, not from what the session says of itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rejoin_core::protocol::{
    Batch, CloseReason, Ending, LinkGeneration, Position, ResumeKey, Role, Session, SessionConfig,
    SessionId, item_cost,
};

use super::plan::Setup;
use super::rng::Rng;

/// A session and its application.
#[derive(Debug)]
pub(super) struct Side {
    /// 0 for an initiator, 1 for an acceptor.
    pub(super) end: usize,
    pub(super) client: usize,
    /// The other side's number, once that is settled.
    pub(super) peer: Option<usize>,
    pub(super) session: Session,
    pub(super) config: SessionConfig,
    pub(super) first: u64,
    /// What both sides take.
    pub(super) item_bytes_max: usize,
    /// Whether the session speaks the base profile.
    pub(super) base: bool,
    pub(super) id: Option<SessionId>,

    /// The latest link by our own count, and the wire that it is.
    pub(super) latest: Option<(LinkGeneration, usize)>,
    /// The keys that were given out, and on which links.
    pub(super) given: Vec<(LinkGeneration, ResumeKey)>,
    /// 1: transmissions, 2: events, 4: timers are left undone.
    pub(super) skips: u64,

    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) read: u64,
    pub(super) unread: VecDeque<u64>,
    pub(super) reads_always: bool,
    pub(super) window_max: u64,
    /// The application has closed, or was told that the peer has.
    pub(super) closed: bool,
    pub(super) close_confirmed: bool,
    /// Why it has closed.
    pub(super) reason: Option<CloseReason>,

    /// The highest position known to be acknowledged.
    pub(super) acked: u64,
    pub(super) proved: bool,
    pub(super) detached_at: Option<Instant>,
    pub(super) closing_since: Option<Instant>,
    pub(super) ended_at: Option<Instant>,
    pub(super) ending: Option<Ending>,
    pub(super) aborted: bool,
}

impl Side {
    pub(super) fn new(end: usize, client: usize, setup: &Setup, nonce: ResumeKey) -> Self {
        let role = if end == 0 { Role::Initiator } else { Role::Acceptor };
        let config = setup.configs[end].config();
        let first = Position::new(setup.first);
        Self {
            end,
            client,
            peer: None,
            session: Session::starting_at(role, config.clone(), nonce, first),
            first: setup.first,
            item_bytes_max: setup.configs[0].item_bytes_max.min(setup.configs[1].item_bytes_max),
            base: setup.configs.iter().any(|config| config.base),
            id: None,
            latest: None,
            given: Vec::new(),
            skips: 0,
            sent: 0,
            received: 0,
            read: 0,
            unread: VecDeque::new(),
            reads_always: false,
            window_max: config.window_bytes as u64,
            closed: false,
            close_confirmed: false,
            reason: None,
            acked: setup.first,
            proved: false,
            detached_at: None,
            closing_since: None,
            ended_at: None,
            ending: None,
            aborted: false,
            config,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn has_closed(&self) -> bool {
        self.ending == Some(Ending::Closed)
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.ending, Some(Ending::Lost(_)))
    }

    /// How long it may be without a link. A base peer proves nothing by saying nothing.
    pub(super) fn kept(&self) -> Duration {
        let is_doubtful = self.end == 1 && !self.proved && !self.base;
        if is_doubtful { self.config.unproved_max } else { self.config.outage_max }
    }

    /// Whether the application may send and close.
    pub(super) fn is_open(&self) -> bool {
        !self.closed && self.ended_at.is_none()
    }

    /// The application reads whatever comes, and everybody does his part.
    pub(super) fn calm_down(&mut self) {
        self.skips = 0;
        self.reads_always = true;
        self.session.set_ack_wanted(true);
    }

    /// Up to `count` items, as many as the log has room for.
    pub(super) fn next_batch(&mut self, number: usize, count: u64) -> Batch {
        let log_max = self.config.send_log_bytes_max as u64;
        let mut cost = self.session.log().cost();
        let mut batch = Batch::default();
        for _ in 0..count {
            let n = self.sent;
            let bytes = item_len(self.content_id(number), n, self.item_bytes_max);
            if cost > 0 && cost + item_cost(bytes) > log_max {
                break;
            }
            cost += item_cost(bytes);
            write_item(batch.buffer(), self.content_id(number), n, bytes);
            batch.commit();
            self.sent += 1;
        }
        batch
    }

    /// What tells this side's items from all others. An initiator's are the same for every acceptor
    /// session that its hellos may have opened.
    pub(super) fn content_id(&self, number: usize) -> u64 {
        ((number as u64) << 8) ^ self.first
    }

    /// The application reads one item.
    pub(super) fn read_one(&mut self) -> bool {
        let Some(cost) = self.unread.pop_front() else { return false };
        self.session.consume(cost);
        self.read += 1;
        true
    }

    /// The base profile has no windows: who has no room stops reading the link.
    pub(super) fn has_room(&self) -> bool {
        !self.base || self.unread.iter().sum::<u64>() < self.config.window_bytes as u64
    }

    /// How many of the peer's items this side answers for.
    pub(super) fn answerable(&self) -> u64 {
        self.first + if self.config.manual_ack { self.read } else { self.received }
    }
}

fn item_len(id: u64, n: u64, bytes_max: usize) -> usize {
    Rng::new(id ^ (n << 20)).index(bytes_max + 1)
}

fn write_item(out: &mut impl Extend<u8>, id: u64, n: u64, bytes: usize) {
    let mut rng = Rng::new(id ^ (n << 20) ^ 1 << 63);
    let mut left = bytes;
    while left > 0 {
        let block = rng.next().to_le_bytes();
        let part = left.min(block.len());
        out.extend(block[..part].iter().copied());
        left -= part;
    }
}

/// Whether `item` is the `n`th item of the side with this content.
pub(super) fn is_item(item: &[u8], id: u64, n: u64, bytes_max: usize) -> bool {
    let bytes = item_len(id, n, bytes_max);
    let mut expected = Vec::with_capacity(bytes);
    write_item(&mut expected, id, n, bytes);
    item == expected
}
