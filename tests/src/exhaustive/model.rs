//! The world of the exhaustive search: two sessions, a table and wires, and what can happen to them.
//! What follows from a step is done at once; everything else is a choice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::{
    Admission, Batch, ClientHello, CloseReason, Ending, Event, HandshakeError, LinkGeneration,
    Position, Profile, RejectReason, ResumeKey, Role, ServerHello, Session, SessionConfig,
    SessionId, Sessions, Transmits, item_cost,
};

use super::Limits;
use crate::said::said;

/// One thing that can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// What is next on a wire arrives at this end.
    Arrive {
        wire: usize,
        end: usize,
    },
    /// The side at this end writes one payload, or as many as are taken at a time.
    Write {
        end: usize,
    },
    /// The initiator says hello on a new wire.
    Dial,
    Send {
        end: usize,
    },
    Close {
        end: usize,
    },
    Cut {
        wire: usize,
    },
    /// As `Arrive` of a hello, and the answer is lost.
    LoseReply {
        wire: usize,
    },
    Abandon,
    Migrate,
}

impl Step {
    /// Whether the world may as well go on without it.
    pub(super) fn is_optional(&self) -> bool {
        !matches!(self, Self::Arrive { .. } | Self::Write { .. } | Self::Dial)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum End {
    Greeting,
    Up(LinkGeneration),
    Down,
}

#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) ends: [End; 2],
    /// By the end that writes; `None` is the end of the link.
    pub(super) lanes: [VecDeque<Option<Bytes>>; 2],
}

#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) session: Session,
    pub(super) wire: Option<usize>,
    pub(super) sent: u8,
    pub(super) received: u8,
    pub(super) closed: bool,
    pub(super) ending: Option<Ending>,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) now: Instant,
    pub(super) left: Limits,
    pub(super) sides: [Side; 2],
    pub(super) wires: Vec<Wire>,
    pub(super) attempt: Option<usize>,
    pub(super) table: Sessions,
    pub(super) id: Option<SessionId>,
    pub(super) keys_given: u8,
    /// The key of the latest answer, on which link, and the latest that was proved: what the table
    /// knows.
    pub(super) given: Option<(LinkGeneration, ResumeKey)>,
    pub(super) proved: Option<ResumeKey>,
}

type Checked = Result<(), String>;

impl Model {
    pub(super) fn new(left: Limits, now: Instant) -> Self {
        let side = |role, nonce| Side {
            session: Session::starting_at(role, config(), key(nonce), Position::new(left.first)),
            wire: None,
            sent: 0,
            received: 0,
            closed: false,
            ending: None,
        };
        Self {
            now,
            left,
            sides: [side(Role::Initiator, 200), side(Role::Acceptor, 201)],
            wires: Vec::new(),
            attempt: None,
            table: Sessions::new(1),
            id: None,
            keys_given: 0,
            given: None,
            proved: None,
        }
    }

    /// Everything that can happen now.
    pub(super) fn steps(&self) -> Vec<Step> {
        let ends = (0..2).filter(|&end| self.left.slow_links && self.current(end).is_some());
        let mut steps: Vec<_> = ends.map(|end| Step::Write { end }).collect();
        for (wire, state) in self.wires.iter().enumerate() {
            for end in 0..2 {
                let waiting = &state.lanes[1 - end];
                if state.ends[end] == End::Down || waiting.is_empty() {
                    continue;
                }
                steps.push(Step::Arrive { wire, end });
                let greets = end == 1 && state.ends[1] == End::Greeting && waiting[0].is_some();
                if greets && self.left.replies > 0 {
                    steps.push(Step::LoseReply { wire });
                }
            }
            let alive = state.ends.iter().any(|end| *end != End::Down);
            let cut_already = state.lanes.iter().any(|lane| lane.contains(&None));
            if alive && !cut_already && self.left.cuts > 0 {
                steps.push(Step::Cut { wire });
            }
        }
        for end in 0..2 {
            let side = &self.sides[end];
            if self.left.items[end] > 0 && !side.closed && side.ending.is_none() {
                steps.push(Step::Send { end });
            }
            if self.left.closes && !side.closed && side.ending.is_none() {
                steps.push(Step::Close { end });
            }
        }
        let initiator = &self.sides[0].session;
        let (idle, live) = (self.attempt.is_none(), !initiator.is_ended());
        if idle && live && initiator.link().is_none() {
            steps.push(Step::Dial);
        }
        if idle && live && initiator.link().is_some() && self.left.migrations > 0 {
            steps.push(Step::Migrate);
        }
        if !idle && self.left.abandons > 0 {
            steps.push(Step::Abandon);
        }
        steps
    }

    pub(super) fn take(&mut self, step: Step) -> Checked {
        match step {
            Step::Arrive { wire, end } => self.arrive(wire, end, false)?,
            Step::LoseReply { wire } => {
                self.left.replies -= 1;
                self.arrive(wire, 1, true)?;
            }
            Step::Write { end } => drop(self.write(end)),
            Step::Dial => self.dial(),
            Step::Migrate => {
                self.left.migrations -= 1;
                self.dial();
            }
            Step::Send { end } => {
                let side = &mut self.sides[end];
                let mut batch = Batch::default();
                for _ in 0..self.left.at_once.min(self.left.items[end]) {
                    self.left.items[end] -= 1;
                    batch.buffer().extend_from_slice(&item(end, side.sent));
                    batch.commit();
                    side.sent += 1;
                }
                side.session.append(&mut batch);
            }
            Step::Close { end } => {
                self.sides[end].closed = true;
                self.sides[end].session.close(self.now, CloseReason::default());
            }
            Step::Cut { wire } => {
                self.left.cuts -= 1;
                self.wires[wire].lanes = [VecDeque::from([None]), VecDeque::from([None])];
            }
            Step::Abandon => {
                self.left.abandons -= 1;
                let wire = self.attempt.take().ok_or("nothing to abandon")?;
                self.let_go(wire, 0);
            }
        }
        self.settle()
    }

    /// What follows from a step at once.
    fn settle(&mut self) -> Checked {
        for end in 0..2 {
            self.handle_events(end)?;
            while !self.left.slow_links && self.write(end) {}
            self.handle_events(end)?;
            self.check(end)?;
        }
        Ok(())
    }

    fn dial(&mut self) {
        let hello = Bytes::copy_from_slice(&self.sides[0].session.client_hello().encode());
        let lanes = [VecDeque::from([Some(hello)]), VecDeque::new()];
        self.wires.push(Wire { ends: [End::Greeting; 2], lanes });
        self.attempt = Some(self.wires.len() - 1);
    }

    /// One end has no use for the wire any more: what it has written arrives.
    fn let_go(&mut self, wire: usize, end: usize) {
        let wire = &mut self.wires[wire];
        if wire.ends[end] != End::Down {
            wire.ends[end] = End::Down;
            wire.lanes[1 - end].clear();
            if wire.ends[1 - end] == End::Down {
                wire.lanes[end].clear();
            } else if !wire.lanes[end].contains(&None) {
                wire.lanes[end].push_back(None);
            }
        }
    }

    fn current(&self, end: usize) -> Option<usize> {
        let side = &self.sides[end];
        let link = side.session.link()?;
        side.wire.filter(|&wire| self.wires[wire].ends[end] == End::Up(link))
    }

    /// Gives whether there was something to write.
    pub(super) fn write(&mut self, end: usize) -> bool {
        let Some(wire) = self.current(end) else { return false };
        let mut batch = Transmits::at_most(self.left.at_once.into());
        let payloads = said(&mut self.sides[end].session, self.now, Some(&mut batch));
        let any = !payloads.is_empty();
        let wire = &mut self.wires[wire];
        if wire.ends[1 - end] != End::Down && !wire.lanes[end].contains(&None) {
            wire.lanes[end].extend(payloads.into_iter().map(Some));
        }
        any
    }

    fn arrive(&mut self, wire: usize, end: usize, lose_reply: bool) -> Checked {
        let arrival = self.wires[wire].lanes[1 - end].pop_front().ok_or("nothing arrives")?;
        let Some(payload) = arrival else {
            if let End::Up(link) = self.wires[wire].ends[end] {
                self.sides[end].session.handle_link_down(self.now, link);
            }
            if end == 0 && self.attempt == Some(wire) {
                self.attempt = None;
            }
            self.let_go(wire, end);
            return Ok(());
        };
        match (self.wires[wire].ends[end], end) {
            (End::Greeting, 0) => self.server_hello(wire, &payload),
            (End::Greeting, _) => self.client_hello(wire, &payload, lose_reply),
            (End::Up(link), _) => self.frame(end, link, payload),
            (End::Down, _) => Ok(()),
        }
    }

    fn client_hello(&mut self, wire: usize, payload: &[u8], lose_reply: bool) -> Checked {
        let hello = ClientHello::decode(payload).map_err(|error| error.to_string())?;
        self.keys_given += 1;
        let admission = self.table.admit(&hello, key(self.keys_given));
        let admitted = match admission {
            Admission::New(id, key) if self.id.is_none() => {
                self.id = Some(id);
                Ok(key)
            }
            Admission::New(..) => return Err("a second session for one initiator".to_owned()),
            Admission::Resume(_, key) => Ok(key),
            Admission::Reject(reason) => Err(reason),
        };
        if admitted.is_ok() && hello.resume_key().is_some() {
            self.proved = hello.resume_key();
        }
        let answer = admitted.and_then(|key| {
            let session = &mut self.sides[1].session;
            let outcome = session.handle_client_hello(self.now, &hello, key, usize::MAX);
            let (link, answer) = outcome.map_err(|error| match error {
                HandshakeError::Refused(reason) => reason,
                _ => RejectReason::UnknownKey,
            })?;
            self.given = Some((link, key));
            self.sides[1].wire = Some(wire);
            self.wires[wire].ends[1] = End::Up(link);
            Ok(answer)
        });
        let refused = answer.is_err();
        let profile = hello.profile();
        let answer = answer.unwrap_or_else(|reason| ServerHello::Rejected { profile, reason });
        let Wire { ends, lanes } = &mut self.wires[wire];
        if lose_reply {
            *lanes = [VecDeque::from([None]), VecDeque::from([None])];
        } else if ends[0] != End::Down {
            lanes[1].push_back(Some(Bytes::copy_from_slice(&answer.encode())));
        }
        if refused {
            self.let_go(wire, 1);
        }
        Ok(())
    }

    fn server_hello(&mut self, wire: usize, payload: &[u8]) -> Checked {
        let hello = ServerHello::decode(payload).map_err(|error| error.to_string())?;
        self.attempt = None;
        match self.sides[0].session.handle_server_hello(self.now, &hello, usize::MAX) {
            Ok(link) => {
                self.sides[0].wire = Some(wire);
                self.wires[wire].ends[0] = End::Up(link);
            }
            Err(_) => self.let_go(wire, 0),
        }
        Ok(())
    }

    fn frame(&mut self, end: usize, link: LinkGeneration, payload: Bytes) -> Checked {
        let sent = self.sides[1 - end].sent;
        let side = &mut self.sides[end];
        let current = side.session.link() == Some(link);
        let outcome = side.session.handle_frame(self.now, link, payload);
        let Some(got) = outcome.map_err(|violation| violation.to_string())? else { return Ok(()) };
        ensure(current, "an item was taken from an old link")?;
        ensure(side.received < sent, "more items came than were sent")?;
        ensure(*got == item(1 - end, side.received), "an item came twice or out of order")?;
        side.received += 1;
        side.session.consume(item_cost(got.len()));
        Ok(())
    }

    fn handle_events(&mut self, end: usize) -> Checked {
        while let Some(event) = self.sides[end].session.poll_event() {
            ensure(self.sides[end].ending.is_none(), "something came after the end")?;
            match event {
                Event::KeyProved(link) => {
                    if let (1, Some((on, key))) = (end, self.given)
                        && on == link
                    {
                        self.proved = Some(key);
                        self.id.into_iter().for_each(|id| self.table.prove(id, key));
                    }
                }
                Event::DropLink { link, .. } => self.let_go_all(end, Some(link)),
                Event::PeerClosed(_) => {
                    self.sides[end].closed = true;
                    self.sides[end].session.close(self.now, CloseReason::default());
                }
                Event::Ended(ending) => {
                    let closed = ending == Ending::Closed;
                    self.sides[end].ending = Some(ending);
                    if let (1, Some(id)) = (end, self.id) {
                        self.table.remove(id, closed);
                    }
                    self.attempt = self.attempt.filter(|_| end == 1);
                    self.let_go_all(end, None);
                }
                Event::CloseConfirmed | Event::GoingAway { .. } => {}
            }
        }
        Ok(())
    }

    /// Lets go of one link, or of all.
    fn let_go_all(&mut self, end: usize, link: Option<LinkGeneration>) {
        for wire in 0..self.wires.len() {
            match self.wires[wire].ends[end] {
                End::Up(up) if link.is_none_or(|link| link == up) => self.let_go(wire, end),
                End::Greeting if link.is_none() && end == 0 => self.let_go(wire, end),
                _ => {}
            }
        }
    }

    /// What must hold in every state.
    fn check(&self, end: usize) -> Checked {
        let (mine, theirs) = (&self.sides[end], &self.sides[1 - end]);
        let acked = mine.session.log().acked() - self.left.first;
        ensure(acked <= u64::from(theirs.received), "more is acknowledged than was received")?;
        match &mine.ending {
            None => Ok(()),
            Some(Ending::Closed) => {
                ensure(
                    theirs.received == mine.sent,
                    "a session was closed and has lost something",
                )?;
                ensure(mine.received == theirs.sent, "a session was closed and lacks something")
            }
            Some(Ending::Lost(reason)) => Err(format!("lost: {reason}")),
        }
    }

    /// What must hold when all that has to happen has happened.
    pub(super) fn check_rest(&self, for_good: bool) -> Checked {
        let over = self.sides.iter().any(|side| side.ending.is_some());
        if over {
            // Whose last word was lost waits for a limit, and there is no time here.
            return Ok(());
        }
        if self.left.closes && for_good {
            return Err("the close does not complete".to_owned());
        }
        for end in 0..2 {
            let (mine, theirs) = (&self.sides[end], &self.sides[1 - end]);
            ensure(theirs.received == mine.sent, "something was sent and does not arrive")?;
            ensure(mine.session.log().is_empty(), "something arrived and is not acknowledged")?;
        }
        Ok(())
    }
}

fn ensure(condition: bool, message: &str) -> Checked {
    if condition { Ok(()) } else { Err(message.to_owned()) }
}

fn item(end: usize, n: u8) -> [u8; 2] {
    [b"ia"[end], b'0' + n]
}

fn key(n: u8) -> ResumeKey {
    ResumeKey::from_bytes([n; 16])
}

fn config() -> SessionConfig {
    let never = Duration::from_secs(1_000_000);
    SessionConfig {
        profile: Profile::Extended,
        item_bytes_max: 100,
        send_log_bytes_max: 4000,
        window_bytes: 4000,
        ack_frames_max: 1,
        ack_delay: Duration::ZERO,
        ping_interval: never,
        peer_dead_after: never,
        outage_max: never,
        unproved_max: never,
        linger: never,
        manual_ack: false,
    }
}
