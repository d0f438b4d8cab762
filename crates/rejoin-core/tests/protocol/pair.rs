//! An initiator, an acceptor's table with its sessions, and links between them, under virtual time:
//! what the async driver does around the protocol, without anything asynchronous.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::{
    Admission, Batch, ClientHello, CloseReason, DropCause, Ending, Event, HandshakeError,
    LinkGeneration, Position, Profile, ProtocolViolation, ResumeKey, Role, ServerHello, Session,
    SessionConfig, SessionId, Sessions, item_cost,
};

use crate::wire::{End, Wire};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

pub(crate) fn config() -> SessionConfig {
    SessionConfig {
        profile: Profile::Extended,
        item_bytes_max: 1000,
        send_log_bytes_max: 4000,
        window_bytes: 4000,
        ack_frames_max: 64,
        ack_delay: Duration::from_millis(50),
        ping_interval: 5 * SECOND,
        peer_dead_after: 20 * SECOND,
        outage_max: 300 * SECOND,
        unproved_max: 60 * SECOND,
        linger: 30 * SECOND,
        manual_ack: false,
    }
}

pub(crate) fn key(n: u64) -> ResumeKey {
    let mut bytes = [0xee; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    ResumeKey::from_bytes(bytes)
}

pub(crate) fn batch<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Batch {
    let mut batch = Batch::default();
    for item in items {
        batch.buffer().extend_from_slice(item);
        batch.commit();
    }
    batch
}

/// One session and the application on top of it.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) session: Session,
    pub(crate) id: Option<SessionId>,
    /// Every item that the session gave out.
    pub(crate) received: Vec<Bytes>,
    /// The costs of those that the application has not read.
    pub(crate) unread: VecDeque<u64>,
    /// Whether the application reads what comes at once.
    pub(crate) reads: bool,
    /// Whether the link takes what the session has to say.
    pub(crate) writes: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) violations: Vec<ProtocolViolation>,
    pub(crate) refusals: Vec<HandshakeError>,
    given: Option<(LinkGeneration, ResumeKey)>,
    ending_seen: bool,
}

impl Side {
    fn new(session: Session, id: Option<SessionId>) -> Self {
        Self {
            session,
            id,
            received: Vec::new(),
            unread: VecDeque::new(),
            reads: true,
            writes: true,
            events: Vec::new(),
            violations: Vec::new(),
            refusals: Vec::new(),
            given: None,
            ending_seen: false,
        }
    }

    pub(crate) fn send(&mut self, item: &[u8]) {
        self.session.append(&mut batch([item]));
    }

    /// The application reads one item.
    pub(crate) fn read_one(&mut self) -> bool {
        let cost = self.unread.pop_front();
        cost.inspect(|&cost| self.session.consume(cost)).is_some()
    }

    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.events.iter().find_map(|event| match event {
            Event::Ended(ending) => Some(ending),
            _ => None,
        })
    }

    pub(crate) fn drops(&self) -> Vec<DropCause> {
        let drops = self.events.iter().filter_map(|event| match event {
            Event::DropLink { cause, .. } => Some(*cause),
            _ => None,
        });
        drops.collect()
    }
}

/// The two ends and everything between them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) table: Sessions,
    /// The initiator's, then those that the acceptor has made, in order.
    pub(crate) sides: Vec<Side>,
    /// The acceptor's side that the initiator is in session with.
    pub(crate) partner: usize,
    pub(crate) wires: Vec<Wire>,
    acceptor_config: SessionConfig,
    first: Position,
    /// The wire on which the initiator waits for an answer.
    dialing: Option<usize>,
    pub(crate) redials: bool,
    /// No dial attempt gets through.
    pub(crate) offline: bool,
    pub(crate) redial_delay: Duration,
    redial_at: Instant,
    /// How many of the next answers are lost together with their links.
    pub(crate) lose_server_hellos: u32,
    /// For the links made from now on.
    pub(crate) delay: Duration,
    pub(crate) capacity: usize,
    keys_given: u64,
    /// The first payload of the latest link.
    pub(crate) latest_hello: Option<Bytes>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(config(), config())
    }

    pub(crate) fn with(initiator: SessionConfig, acceptor: SessionConfig) -> Self {
        Self::starting_at(0, initiator, acceptor)
    }

    pub(crate) fn starting_at(
        first: u64,
        initiator: SessionConfig,
        acceptor: SessionConfig,
    ) -> Self {
        let now = Instant::now();
        let first = Position::new(first);
        let session = Session::starting_at(Role::Initiator, initiator, key(u64::MAX), first);
        Self {
            now,
            // Lost answers of the base profile leave sessions behind.
            table: Sessions::new(64),
            sides: vec![Side::new(session, None)],
            partner: 1,
            wires: Vec::new(),
            acceptor_config: acceptor,
            first,
            dialing: None,
            redials: true,
            offline: false,
            redial_delay: Duration::ZERO,
            redial_at: now,
            lose_server_hellos: 0,
            delay: Duration::ZERO,
            capacity: usize::MAX,
            keys_given: 0,
            latest_hello: None,
        }
    }

    /// As [`new`](Self::new), with the first link up.
    pub(crate) fn connected() -> Self {
        Self::connected_with(config(), config())
    }

    pub(crate) fn connected_with(initiator: SessionConfig, acceptor: SessionConfig) -> Self {
        let mut pair = Self::with(initiator, acceptor);
        pair.drive();
        pair
    }

    pub(crate) fn initiator(&mut self) -> &mut Side {
        &mut self.sides[0]
    }

    pub(crate) fn acceptor(&mut self) -> &mut Side {
        let partner = self.partner;
        &mut self.sides[partner]
    }

    /// The two sides that are in session with each other, by number of their end.
    pub(crate) fn side(&mut self, end: usize) -> &mut Side {
        if end == 0 { self.initiator() } else { self.acceptor() }
    }

    /// The wire of the initiator's current link, or of its latest attempt.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.wires.last_mut().expect("a link was dialled")
    }

    pub(crate) fn close(&mut self, end: usize, text: &str) {
        let now = self.now;
        self.side(end).session.close(now, CloseReason::new(0, text));
    }

    /// The current link dies; both ends learn of it.
    pub(crate) fn cut(&mut self) {
        let now = self.now;
        self.wire().cut(now);
        self.drive();
    }

    /// A new link on behalf of the initiator, which gives up waiting for another.
    pub(crate) fn dial(&mut self) {
        if let Some(abandoned) = self.dialing.take() {
            self.wires[abandoned].close(0, self.now);
        }
        let mut wire = Wire::new(self.now, self.delay, self.capacity);
        let hello = Bytes::copy_from_slice(&self.sides[0].session.client_hello().encode());
        self.latest_hello = Some(hello.clone());
        wire.write(0, self.now, hello);
        self.wires.push(wire);
        self.dialing = Some(self.wires.len() - 1);
    }

    /// A hello arrives at the acceptor on a link that the initiator has long forgotten.
    pub(crate) fn arrive(&mut self, hello: Bytes) {
        let mut wire = Wire::new(self.now, self.delay, self.capacity);
        wire.write(0, self.now, hello);
        wire.close(0, self.now);
        let latest = self.wires.len().saturating_sub(1);
        self.wires.insert(latest, wire);
        self.dialing = self.dialing.map(|index| if index >= latest { index + 1 } else { index });
    }

    /// Lets everything happen that happens at this time.
    pub(crate) fn drive(&mut self) {
        for _ in 0..100_000 {
            let mut busy = self.redial();
            for index in 0..self.sides.len() {
                busy |= self.transmit(index);
                busy |= self.handle_events(index);
                if self.sides[index].reads {
                    while self.sides[index].read_one() {
                        busy = true;
                    }
                }
            }
            for index in 0..self.wires.len() {
                busy |= self.deliver(index, 0);
                busy |= self.deliver(index, 1);
            }
            if !busy {
                return self.forget_dead_wires();
            }
        }
        panic!("the pair does not come to rest");
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        self.drive();
        let mut overdue = 0;
        while let Some(at) = self.next_at().filter(|at| *at <= until) {
            overdue = if at <= self.now { overdue + 1 } else { 0 };
            assert!(overdue < 10, "a timer fires again and again without effect");
            self.now = self.now.max(at);
            self.handle_timeouts();
            self.drive();
        }
        self.now = until;
        self.drive();
    }

    /// Time passes during which no side does anything, as when a machine sleeps.
    pub(crate) fn sleep_for(&mut self, time: Duration) {
        self.now += time;
        self.handle_timeouts();
        self.drive();
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let sessions = self.sides.iter().filter_map(|side| side.session.poll_timeout());
        let wires = self.wires.iter().filter_map(|wire| wire.next_at().filter(|at| *at > self.now));
        let attempt = self.dialing.map(|index| self.wires[index].dialed_at + SECOND);
        let redial = (self.wants_dial() && self.redial_at > self.now).then_some(self.redial_at);
        sessions.chain(wires).chain(attempt).chain(redial).min()
    }

    fn handle_timeouts(&mut self) {
        for side in &mut self.sides {
            if side.session.poll_timeout().is_some_and(|at| at <= self.now) {
                side.session.handle_timeout(self.now);
            }
        }
        // An answer that has not come for so long will not come.
        if self.dialing.is_some_and(|index| self.wires[index].dialed_at + SECOND <= self.now) {
            self.attempt_failed();
        }
    }

    fn wants_dial(&self) -> bool {
        let session = &self.sides[0].session;
        self.redials
            && !self.offline
            && session.link().is_none()
            && !session.is_ended()
            && self.dialing.is_none()
    }

    fn redial(&mut self) -> bool {
        let due = self.wants_dial() && self.redial_at <= self.now;
        if due {
            self.dial();
        }
        due
    }

    fn attempt_failed(&mut self) {
        if let Some(index) = self.dialing.take() {
            self.wires[index].close(0, self.now);
            self.redial_at = self.now + self.redial_delay;
        }
    }

    /// Which wire is the current link of a side.
    fn current(&self, index: usize) -> Option<usize> {
        let link = End::Up(self.sides[index].session.link()?);
        self.wires.iter().position(|wire| match index {
            0 => wire.ends[0] == link,
            _ => wire.acceptor == Some(index) && wire.ends[1] == link,
        })
    }

    fn transmit(&mut self, index: usize) -> bool {
        let Some(wire) = self.current(index) else { return false };
        let (wire, end) = (&mut self.wires[wire], usize::from(index > 0));
        let side = &mut self.sides[index];
        let mut busy = false;
        while side.writes && wire.has_room(end) {
            let Some(payload) = side.session.poll_transmit(self.now) else { break };
            wire.write(end, self.now, [payload.head.as_bytes(), &payload.body].concat().into());
            busy = true;
        }
        busy
    }

    fn deliver(&mut self, index: usize, end: usize) -> bool {
        let mut busy = false;
        while let Some(payload) = self.wires[index].read(end, self.now) {
            busy = true;
            let Some(payload) = payload else {
                self.end_of_link(index, end);
                continue;
            };
            match (self.wires[index].ends[end], end) {
                (End::Greeting, 0) => self.handle_server_hello(index, &payload),
                (End::Greeting, _) => self.handle_client_hello(index, &payload),
                (End::Up(link), _) => self.handle_frame(index, end, link, payload),
                (End::Down, _) => unreachable!("nobody reads there"),
            }
        }
        busy
    }

    fn side_at(&self, wire: usize, end: usize) -> Option<usize> {
        if end == 0 { Some(0) } else { self.wires[wire].acceptor }
    }

    fn end_of_link(&mut self, index: usize, end: usize) {
        let state = self.wires[index].ends[end];
        if let (End::Up(link), Some(side)) = (state, self.side_at(index, end)) {
            self.sides[side].session.handle_link_down(self.now, link);
        }
        self.wires[index].close(end, self.now);
        if end == 0 && self.dialing == Some(index) {
            self.attempt_failed();
        } else if end == 0 {
            self.redial_at = self.now + self.redial_delay;
        }
    }

    fn handle_server_hello(&mut self, index: usize, payload: &[u8]) {
        let hello = ServerHello::decode(payload).expect("sessions send well-formed hellos");
        let side = &mut self.sides[0];
        let attached = side.session.handle_server_hello(self.now, &hello, usize::MAX);
        match attached {
            Ok(link) => {
                self.wires[index].ends[0] = End::Up(link);
                self.dialing = None;
                self.partner = self.wires[index].acceptor.expect("somebody has answered");
            }
            Err(error) => {
                side.refusals.push(error);
                self.attempt_failed();
            }
        }
    }

    fn handle_client_hello(&mut self, index: usize, payload: &[u8]) {
        let hello = ClientHello::decode(payload).expect("sessions send well-formed hellos");
        self.keys_given += 1;
        let side = match self.table.admit(&hello, key(self.keys_given)) {
            Admission::New(id, key) => {
                let config = self.acceptor_config.clone();
                let nonce = ResumeKey::from_bytes([0; 16]);
                let session = Session::starting_at(Role::Acceptor, config, nonce, self.first);
                self.sides.push(Side::new(session, Some(id)));
                Ok((self.sides.len() - 1, key))
            }
            Admission::Resume(id, key) => {
                let side = self.sides.iter().position(|it| it.id == Some(id));
                Ok((side.expect("it was made"), key))
            }
            Admission::Reject(reason) => Err(reason),
        };
        let admitted = side.and_then(|(side, key)| {
            let session = &mut self.sides[side].session;
            match session.handle_client_hello(self.now, &hello, key, usize::MAX) {
                Ok((link, answer)) => {
                    self.sides[side].given = Some((link, key));
                    self.wires[index].acceptor = Some(side);
                    self.wires[index].ends[1] = End::Up(link);
                    Ok(answer)
                }
                Err(error) => {
                    self.sides[side].refusals.push(error.clone());
                    Err(match error {
                        HandshakeError::Refused(reason) => reason,
                        _ => rejoin_core::protocol::RejectReason::UnknownKey,
                    })
                }
            }
        });
        let lost = self.lose_server_hellos > 0;
        let wire = &mut self.wires[index];
        if lost {
            self.lose_server_hellos -= 1;
            wire.deaf[1] = true;
        }
        match admitted {
            Ok(answer) => wire.write(1, self.now, Bytes::copy_from_slice(&answer.encode())),
            Err(reason) => {
                let answer = ServerHello::Rejected { profile: hello.profile(), reason };
                wire.write(1, self.now, Bytes::copy_from_slice(&answer.encode()));
                wire.close(1, self.now);
            }
        }
        if lost {
            wire.close(0, self.now);
            if self.dialing == Some(index) {
                self.dialing = None;
                self.redial_at = self.now + self.redial_delay;
            }
        }
    }

    fn handle_frame(&mut self, index: usize, end: usize, link: LinkGeneration, payload: Bytes) {
        let side = self.side_at(index, end).expect("a link that is up has a session");
        let side = &mut self.sides[side];
        match side.session.handle_frame(self.now, link, payload) {
            Ok(Some(item)) => {
                side.unread.push_back(item_cost(item.len()));
                side.received.push(item);
            }
            Ok(None) => {}
            Err(violation) => {
                side.violations.push(violation);
                self.end_of_link(index, end);
            }
        }
    }

    fn handle_events(&mut self, index: usize) -> bool {
        let mut busy = false;
        while let Some(event) = self.sides[index].session.poll_event() {
            busy = true;
            let side = &mut self.sides[index];
            assert!(!side.ending_seen, "{event:?} came after the end");
            side.events.push(event.clone());
            match event {
                Event::KeyProved(link) => {
                    if let (Some(id), Some((given_on, key))) = (side.id, side.given)
                        && given_on == link
                    {
                        self.table.prove(id, key);
                    }
                }
                Event::DropLink { link, .. } => self.drop_link(index, link),
                Event::PeerClosed(_) => side.session.close(self.now, CloseReason::default()),
                Event::Ended(ending) => {
                    side.ending_seen = true;
                    if let Some(id) = side.id {
                        self.table.remove(id, ending == Ending::Closed);
                    }
                    self.drop_all_links(index);
                }
                Event::GoingAway { .. } | Event::CloseConfirmed => {}
            }
        }
        busy
    }

    fn drop_link(&mut self, index: usize, link: LinkGeneration) {
        let end = usize::from(index > 0);
        for wire in &mut self.wires {
            if wire.ends[end] == End::Up(link) && (end == 0 || wire.acceptor == Some(index)) {
                wire.close(end, self.now);
            }
        }
        if index == 0 {
            self.redial_at = self.now + self.redial_delay;
        }
    }

    fn drop_all_links(&mut self, index: usize) {
        let end = usize::from(index > 0);
        for wire in &mut self.wires {
            if matches!(wire.ends[end], End::Up(_)) && (end == 0 || wire.acceptor == Some(index)) {
                wire.close(end, self.now);
            }
        }
    }

    /// The latest stays, so that tests can look at it.
    fn forget_dead_wires(&mut self) {
        let mut index = 0;
        while index + 1 < self.wires.len() {
            if self.wires[index].is_dead() && self.dialing != Some(index) {
                self.wires.remove(index);
                self.dialing = self.dialing.map(|it| if it > index { it - 1 } else { it });
            } else {
                index += 1;
            }
        }
    }
}
