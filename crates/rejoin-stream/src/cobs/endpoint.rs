//! One end of a line: which link is open, and what to say about it. Facts go in through `handle_*`
//! and the calls of the application, what to write comes out of [`poll_control`]; time is an
//! argument. Knows no I/O, and no payloads but the one at hand.
//!
//! A line delivers in order what it delivers at all, so everything behind an *open* is of that
//! link or of a later one, and so is everything behind an *opened*. All that came before belongs to
//! links that are over.
//!
//! [`poll_control`]: Endpoint::poll_control

use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::Role;

use super::control::{ANY_LINK, Control, LinkId, ResetCause, payload_check};
use super::error::LinkEnd;
use super::framing::{Check, Chunk, Frame};

/// How often a reset is said at most without being asked for again.
const RESETS_MAX: u32 = 4;
/// To how many times the first one the delay before a repetition grows.
const REPEAT_GROWTH_MAX: u32 = 20;

/// What came of a chunk.
#[derive(Debug)]
pub(super) enum Happening {
    /// A payload of the open link.
    Payload(Bytes),
    /// The call was answered: the link is open.
    Opened(LinkId),
    /// The peer calls; see [`Endpoint::take_call`].
    Called,
    /// The peer has closed its direction of the open link, and everything before that has come.
    PeerClosed,
    /// The open link is over.
    Ended(LinkEnd),
    /// Something came while there was no link, and was no frame that says anything.
    Skipped,
}

#[derive(Debug)]
enum Phase {
    Idle,
    /// The initiator has asked for a link.
    Calling(LinkId, Repeat),
    Open(OpenLink),
}

#[derive(Debug)]
struct OpenLink {
    id: LinkId,
    check: Check,
    /// How many payloads have come.
    received: u32,
    peer_closed: bool,
}

/// When something is said again.
#[derive(Debug)]
struct Repeat {
    at: Instant,
    delay: Duration,
    said: u32,
}

impl Repeat {
    fn new(now: Instant, first: Duration) -> Self {
        Self { at: now, delay: first, said: 0 }
    }

    /// Whether it is to be said now.
    fn is_due(&mut self, now: Instant, first: Duration) -> bool {
        if now < self.at {
            return false;
        }
        self.at = now + self.delay;
        self.delay = (self.delay * 2).min(first * REPEAT_GROWTH_MAX);
        self.said += 1;
        true
    }
}

/// One end of a line.
#[derive(Debug)]
pub(super) struct Endpoint {
    role: Role,
    repeat_after: Duration,
    phase: Phase,
    /// The answer to a call.
    answer: Option<Control>,
    /// A link that is over, and that the peer may not know to be.
    reset: Option<(LinkId, ResetCause, Repeat)>,
    /// The latest call of the peer that nobody has taken yet.
    call: Option<LinkId>,
    hears_own_role: bool,
    /// The next link that this end calls for.
    next_id: LinkId,
}

impl Endpoint {
    /// An end without a link. An initiator's first one will be `first_id`.
    pub(super) fn new(role: Role, repeat_after: Duration, first_id: LinkId) -> Self {
        Self {
            role,
            repeat_after,
            phase: Phase::Idle,
            answer: None,
            reset: None,
            call: None,
            hears_own_role: false,
            next_id: first_id,
        }
    }

    /// Calls the acceptor for a link. There must be none open.
    pub(super) fn call(&mut self, now: Instant) {
        debug_assert!(!self.is_open(), "the open link is to be let go of first");
        let id = self.next_id.max(ANY_LINK + 1);
        self.next_id = id.wrapping_add(1);
        self.reset = None;
        self.hears_own_role = false;
        self.phase = Phase::Calling(id, Repeat::new(now, self.repeat_after));
    }

    /// Opens the link that the peer has called for, if it has.
    pub(super) fn take_call(&mut self) -> Option<LinkId> {
        debug_assert!(!self.is_open(), "a call has ended the open link");
        let id = self.call.take()?;
        self.open(id);
        self.answer = Some(Control::Opened(id));
        Some(id)
    }

    /// Lets go of the open link, or of the call. Where something is left to say to the peer about
    /// it, it is told.
    pub(super) fn hang_up(&mut self, now: Instant, tell: bool) {
        let id = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => return,
            Phase::Calling(id, _) => id,
            Phase::Open(link) => link.id,
        };
        if tell {
            self.schedule_reset(now, id, ResetCause::HungUp);
        }
    }

    /// Takes what was found between two delimiters.
    pub(super) fn handle_chunk(&mut self, now: Instant, chunk: Chunk) -> Option<Happening> {
        let frame = match chunk {
            Chunk::Bytes(bytes) => Frame::decode(bytes),
            Chunk::Overlong => None,
        };
        let Some(frame) = frame else { return self.damaged(now) };
        if let Phase::Open(link) = &mut self.phase
            && !link.peer_closed
            && frame.fits(link.check.and(&link.received.to_le_bytes()))
        {
            link.received = link.received.wrapping_add(1);
            return Some(Happening::Payload(frame.into_bytes()));
        }
        match Control::decode(&frame) {
            Some((control, from)) if from != self.role => self.handle_control(now, control),
            Some(_) => {
                self.hears_own_role = true;
                self.damaged(now)
            }
            None => {
                self.answer_stranger(now);
                self.damaged(now)
            }
        }
    }

    /// What to write now. May change after any other call, and when
    /// [`next_timeout`](Self::next_timeout) has come.
    pub(super) fn poll_control(&mut self, now: Instant) -> Option<Control> {
        if let Some(answer) = self.answer.take() {
            return Some(answer);
        }
        if let Phase::Calling(id, repeat) = &mut self.phase {
            return repeat.is_due(now, self.repeat_after).then_some(Control::Open(*id));
        }
        let (id, cause, repeat) = self.reset.as_mut()?;
        let reset = Control::Reset(*id, *cause);
        let due = repeat.said < RESETS_MAX && repeat.is_due(now, self.repeat_after);
        due.then_some(reset)
    }

    /// When [`poll_control`](Self::poll_control) has something to say that it has not now.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match (&self.phase, &self.reset) {
            (Phase::Calling(_, repeat), _) => Some(repeat.at),
            (_, Some((_, _, repeat))) if repeat.said < RESETS_MAX => Some(repeat.at),
            _ => None,
        }
    }

    /// Whether everything that the peer is to know was said, were it once.
    pub(super) fn has_said_all(&self) -> bool {
        let told = self
            .reset
            .as_ref()
            .is_none_or(|(_, cause, repeat)| repeat.said > 0 || *cause == ResetCause::Unknown);
        self.answer.is_none() && told
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    pub(super) fn is_calling(&self) -> bool {
        matches!(self.phase, Phase::Calling(..))
    }

    /// Whether the other end has the role of this one, as far as was heard since the last call.
    pub(super) fn hears_own_role(&self) -> bool {
        self.hears_own_role
    }

    fn handle_control(&mut self, now: Instant, control: Control) -> Option<Happening> {
        match (control, &mut self.phase) {
            (Control::Open(id), Phase::Open(link)) if link.id == id => {
                // The answer was lost; nothing can have come on the link before.
                self.answer = Some(Control::Opened(id));
                None
            }
            (Control::Open(id), phase) if self.role == Role::Acceptor => {
                let was_open = matches!(phase, Phase::Open(_));
                self.phase = Phase::Idle;
                self.reset = None;
                self.call = Some(id);
                // Who hears of the end asks for the call.
                Some(if was_open { Happening::Ended(LinkEnd::Replaced) } else { Happening::Called })
            }
            (Control::Opened(id), Phase::Calling(called, _)) if *called == id => {
                self.open(id);
                Some(Happening::Opened(id))
            }
            (Control::Reset(id, cause), phase) => {
                if let Phase::Open(link) = phase
                    && (id == link.id || id == ANY_LINK)
                {
                    self.phase = Phase::Idle;
                    return Some(Happening::Ended(match cause {
                        ResetCause::Damage => LinkEnd::DamagedThere,
                        ResetCause::HungUp => LinkEnd::PeerHungUp,
                        ResetCause::Unknown => LinkEnd::PeerRestarted,
                    }));
                }
                if self.call == Some(id) {
                    self.call = None;
                }
                None
            }
            (Control::Close(id, count), Phase::Open(link)) if link.id == id => {
                if count != link.received || link.peer_closed {
                    return self.damaged(now);
                }
                link.peer_closed = true;
                Some(Happening::PeerClosed)
            }
            // Of a link that is over.
            _ => None,
        }
    }

    /// Something came that looks like a frame, and there is no link: likely the peer has one that
    /// this end does not know of, and is to hear so. Once, and less and less often: it may also be
    /// a boot loader that should not be spoken to.
    fn answer_stranger(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Idle) || self.call.is_some() {
            return;
        }
        match &mut self.reset {
            Some((_, _, repeat)) if repeat.said < RESETS_MAX || now < repeat.at => {}
            Some((_, _, repeat)) => repeat.said = RESETS_MAX - 1,
            None => {
                let repeat = Repeat { said: RESETS_MAX - 1, ..Repeat::new(now, self.repeat_after) };
                self.reset = Some((ANY_LINK, ResetCause::Unknown, repeat));
            }
        }
    }

    /// Something came that is not what the peer has sent on the open link.
    fn damaged(&mut self, now: Instant) -> Option<Happening> {
        let Phase::Open(link) = &self.phase else { return Some(Happening::Skipped) };
        let id = link.id;
        self.phase = Phase::Idle;
        self.schedule_reset(now, id, ResetCause::Damage);
        Some(Happening::Ended(LinkEnd::Damaged))
    }

    fn open(&mut self, id: LinkId) {
        let other = match self.role {
            Role::Initiator => Role::Acceptor,
            Role::Acceptor => Role::Initiator,
        };
        let check = payload_check(id, other);
        self.reset = None;
        self.phase = Phase::Open(OpenLink { id, check, received: 0, peer_closed: false });
    }

    fn schedule_reset(&mut self, now: Instant, id: LinkId, cause: ResetCause) {
        self.answer = None;
        self.reset = Some((id, cause, Repeat::new(now, self.repeat_after)));
    }
}
