//! The simulated world: sessions, the acceptor's table, wires, and virtual time. It does what the
//! async driver does around the protocol, and looks at every step whether the protocol keeps its
//! word (`check.rs`). What happens to it is `act.rs`.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::{Frame, Profile, Sessions, Transmits, item_cost};

use super::greet::key;
use super::plan::{MILLISECOND, Plan, Setup};
use super::side::{Side, is_item};
use super::wire::{Arrival, End, Wire};
use super::{Stats, ensure};
use crate::said::said;

/// What a checker found, in words.
pub(super) type Checked<T = ()> = Result<T, String>;

/// What belongs to an initiator and not to its session.
#[derive(Debug)]
pub(super) struct Dialer {
    /// The wire on which it waits for an answer.
    pub(super) attempt: Option<usize>,
    pub(super) redial_at: Instant,
    pub(super) redial_delay: Duration,
    pub(super) offline: bool,
    pub(super) lose_replies: u64,
    /// The latest hellos, newest last.
    pub(super) hellos: VecDeque<Bytes>,
}

/// Everything there is in a run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) setups: Vec<Setup>,
    /// The initiators, then the sessions that acceptors have made, in order.
    pub(super) sides: Vec<Side>,
    pub(super) dialers: Vec<Dialer>,
    pub(super) wires: Vec<Wire>,
    /// Those of the wires of which something may come.
    pub(super) live: Vec<usize>,
    pub(super) table: Sessions,
    pub(super) keys_given: u64,
    pub(super) delay: Duration,
    pub(super) capacity: usize,
    /// What a session fills for its link, where links take more than one payload at a time.
    batch: Option<Transmits>,
    /// The faults are over: nothing excuses a loss from now on.
    pub(super) healed_at: Option<Instant>,
    pub(super) stats: Stats,
    trace: Option<Vec<String>>,
}

/// The initiator gives up an attempt that has got no answer for so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Hellos that the network may repeat.
const HELLOS_KEPT: usize = 6;
const TABLE_MAX: usize = 512;
/// Moments at which something may happen, besides one in each millisecond.
const TURNS_MAX: u128 = 10_000;
/// More than any log of a run holds.
const PAYLOADS_MAX: usize = 10_000;

impl World {
    pub(super) fn new(plan: &Plan, start: Instant, traced: bool) -> Self {
        let sides = plan.setups.iter().enumerate().map(|(client, setup)| {
            // What only an initiator has: nobody else's nonce, by construction.
            let nonce = key(u64::MAX - client as u64);
            Side::new(0, client, setup, nonce)
        });
        let dialers = plan.setups.iter().map(|setup| Dialer {
            attempt: None,
            redial_at: start,
            redial_delay: Duration::from_millis(setup.redial_ms),
            offline: false,
            lose_replies: 0,
            hellos: VecDeque::new(),
        });
        Self {
            start,
            now: start,
            sides: sides.collect(),
            dialers: dialers.collect(),
            setups: plan.setups.clone(),
            wires: Vec::new(),
            live: Vec::new(),
            table: Sessions::new(TABLE_MAX),
            keys_given: 0,
            delay: MILLISECOND * u32::try_from(plan.delay_ms).unwrap_or(u32::MAX),
            capacity: usize::try_from(plan.capacity).unwrap_or(usize::MAX),
            batch: (plan.batch > 1).then(|| Transmits::at_most(plan.batch)),
            healed_at: None,
            stats: Stats::default(),
            trace: traced.then(Vec::new),
        }
    }

    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Adds a line to the trace, if somebody will read it.
    pub(super) fn note<D: Display>(&mut self, line: impl FnOnce(&Self) -> D) {
        if self.trace.is_some() {
            let line = format!("{:>9.3} s  {}", (self.now - self.start).as_secs_f64(), line(self));
            self.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
    }

    /// A new link on behalf of the initiator, which gives up waiting for another.
    pub(super) fn dial(&mut self, client: usize) {
        if self.sides[client].session.is_ended() {
            return;
        }
        self.abandon(client);
        let hello = Bytes::copy_from_slice(&self.sides[client].session.client_hello().encode());
        let hellos = &mut self.dialers[client].hellos;
        if hellos.len() == HELLOS_KEPT {
            hellos.pop_front();
        }
        hellos.push_back(hello.clone());
        let wire = self.new_wire(client, hello);
        self.dialers[client].attempt = Some(wire);
    }

    /// A link that begins with `hello`.
    pub(super) fn new_wire(&mut self, client: usize, hello: Bytes) -> usize {
        let mut wire = Wire::new(client, self.now, self.delay, self.capacity);
        wire.write(0, self.now, hello, false);
        self.wires.push(wire);
        let number = self.wires.len() - 1;
        self.live.push(number);
        self.note(|world| {
            let received = world.sides[client].received;
            format!("initiator {client} says hello on wire {number}: it has {received} items")
        });
        number
    }

    /// The initiator stops waiting for an answer.
    pub(super) fn abandon(&mut self, client: usize) {
        if let Some(wire) = self.dialers[client].attempt.take() {
            self.wires[wire].close(0, self.now);
            self.dialers[client].redial_at = self.now + self.dialers[client].redial_delay;
        }
    }

    /// The wire of a side's current link.
    pub(super) fn current(&self, number: usize) -> Option<usize> {
        let side = &self.sides[number];
        let (link, wire) = side.latest?;
        let up =
            side.session.link() == Some(link) && self.wires[wire].ends[side.end] == End::Up(link);
        up.then_some(wire)
    }

    /// Lets everything happen that happens at this time.
    pub(super) fn drive(&mut self) -> Checked {
        for _ in 0..20_000 {
            let mut busy = false;
            for client in 0..self.dialers.len() {
                if self.wants_dial(client) && self.dialers[client].redial_at <= self.now {
                    self.dial(client);
                    busy = true;
                }
            }
            for number in 0..self.sides.len() {
                busy |= self.transmit(number)?;
                busy |= self.handle_events(number)?;
                busy |= self.sides[number].reads_always && self.read(number, u64::MAX)?;
            }
            for index in 0..self.live.len() {
                let wire = self.live[index];
                busy |= self.deliver(wire, 0)?;
                busy |= self.deliver(wire, 1)?;
            }
            if !busy {
                let wires = &self.wires;
                self.live.retain(|&wire| !wires[wire].is_dead());
                return Ok(());
            }
        }
        Err("the world does not come to rest".to_owned())
    }

    /// Lets time pass; everything happens when it is due.
    pub(super) fn run_for(&mut self, time: Duration) -> Checked {
        let until = self.now + time;
        let mut turns = TURNS_MAX + time.as_millis();
        self.drive()?;
        while let Some(at) = self.next_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle_timeouts()?;
            self.drive()?;
            turns = turns.checked_sub(1).ok_or("timers are due again and again")?;
        }
        self.now = until;
        self.drive()?;
        self.check_patience()
    }

    /// Lets time pass during which nobody does anything.
    pub(super) fn sleep_for(&mut self, time: Duration) -> Checked {
        self.now += time;
        self.handle_timeouts()?;
        self.drive()
    }

    fn next_at(&self) -> Option<Instant> {
        let timers = self.sides.iter().filter(|side| side.skips & 4 == 0);
        let timers = timers.filter_map(|side| side.session.poll_timeout());
        let now = self.now;
        let wires = self.live.iter().filter_map(|&wire| self.wires[wire].next_at());
        let dialers = self.dialers.iter().enumerate().filter_map(|(client, dialer)| {
            let answer = dialer.attempt.map(|wire| self.wires[wire].dialed_at + ANSWER_WITHIN);
            answer.or(self.wants_dial(client).then_some(dialer.redial_at))
        });
        // What is due already and was not done waits for something else than time.
        timers.chain(wires.chain(dialers).filter(|at| *at > now)).min()
    }

    fn handle_timeouts(&mut self) -> Checked {
        for number in 0..self.sides.len() {
            let side = &mut self.sides[number];
            let due = side.session.poll_timeout().is_some_and(|at| at <= self.now);
            if due && side.skips & 4 == 0 {
                side.session.handle_timeout(self.now);
                // Whoever calls back at once for ever burns a processor.
                let again = side.session.poll_timeout().is_some_and(|at| at <= self.now);
                self.note(|_| format!("side {number}: timer"));
                ensure!(!again, "side {number}: a timer is due again at once");
                self.touch(number)?;
            }
        }
        for client in 0..self.dialers.len() {
            let waits_since = self.dialers[client].attempt.map(|wire| self.wires[wire].dialed_at);
            if waits_since.is_some_and(|since| since + ANSWER_WITHIN <= self.now) {
                self.abandon(client);
            }
        }
        Ok(())
    }

    fn wants_dial(&self, client: usize) -> bool {
        let (session, dialer) = (&self.sides[client].session, &self.dialers[client]);
        // The driver comes to it once it has dealt with what the session wants it to know.
        let attentive = self.sides[client].skips & 2 == 0;
        let idle = dialer.attempt.is_none() && !dialer.offline && attentive;
        idle && session.link().is_none() && !session.is_ended()
    }

    fn transmit(&mut self, number: usize) -> Checked<bool> {
        let Some(wire) = self.current(number).filter(|_| self.sides[number].skips & 1 == 0) else {
            return Ok(false);
        };
        let end = self.sides[number].end;
        let mut payloads = 0;
        // The link has to be looked at again: an item too large ends the session.
        while self.current(number) == Some(wire) && self.wires[wire].has_room(end) {
            ensure!(payloads < PAYLOADS_MAX, "side {number} has always something more to say");
            let taken = self.take_payloads(number)?;
            if taken.is_empty() {
                break;
            }
            payloads += taken.len();
            for (bytes, item) in taken {
                self.note(|world| format!("side {number} writes {}", world.shown(number, &bytes)));
                let broke = self.wires[wire].write(end, self.now, bytes, item);
                self.stats.link_failures += u64::from(broke);
            }
        }
        self.touch(number)?;
        Ok(payloads > 0)
    }

    /// What the session says next, one payload or a batch, and which of it are items.
    fn take_payloads(&mut self, number: usize) -> Checked<Vec<(Bytes, bool)>> {
        let side = &mut self.sides[number];
        let written = side.session.log().written();
        let payloads = said(&mut side.session, self.now, self.batch.as_mut());
        let profile = if side.base { Profile::Base } else { Profile::Extended };
        let payloads: Vec<_> = payloads
            .into_iter()
            .map(|bytes| match Frame::decode(profile, bytes.clone()) {
                Ok(frame) => (bytes, matches!(frame, Frame::Data { .. })),
                Err(_) => (bytes, false),
            })
            .collect();
        let items = payloads.iter().filter(|(_, item)| *item).count() as u64;
        let counted = side.session.log().written() - written;
        ensure!(items == counted, "side {number} gives {items} items and counts {counted}");
        self.stats.runs += u64::from(items > 1);
        Ok(payloads)
    }

    /// The application reads up to `count` items.
    pub(super) fn read(&mut self, number: usize, count: u64) -> Checked<bool> {
        let (now, side) = (self.now, &mut self.sides[number]);
        let mut busy = false;
        for _ in 0..count {
            if !side.read_one() {
                break;
            }
            busy = true;
        }
        if busy {
            side.session.acknowledge(now, side.first + side.read);
            self.touch(number)?;
        }
        Ok(busy)
    }

    fn deliver(&mut self, wire: usize, end: usize) -> Checked<bool> {
        let mut busy = false;
        loop {
            let number = self.side_at(wire, end);
            if number.is_some_and(|number| !self.sides[number].has_room()) {
                return Ok(busy);
            }
            let Some(arrival) = self.wires[wire].read(end, self.now) else { return Ok(busy) };
            busy = true;
            match (arrival, self.wires[wire].ends[end]) {
                (Arrival::Closed, _) => self.end_of_link(wire, end)?,
                (Arrival::Payload(payload), End::Greeting) if end == 0 => {
                    self.handle_server_hello(wire, &payload)?;
                }
                (Arrival::Payload(payload), End::Greeting) => {
                    self.handle_client_hello(wire, &payload)?;
                }
                (Arrival::Payload(payload), _) => self.handle_frame(wire, end, payload)?,
            }
        }
    }

    pub(super) fn side_at(&self, wire: usize, end: usize) -> Option<usize> {
        if end == 0 { Some(self.wires[wire].client) } else { self.wires[wire].acceptor }
    }

    pub(super) fn end_of_link(&mut self, wire: usize, end: usize) -> Checked {
        let state = self.wires[wire].ends[end];
        self.wires[wire].close(end, self.now);
        if let (End::Up(link), Some(number)) = (state, self.side_at(wire, end)) {
            self.note(|_| format!("side {number}: wire {wire} is down"));
            self.sides[number].session.handle_link_down(self.now, link);
            if end == 0 {
                self.postpone_redial(number);
            }
            self.touch(number)?;
        }
        let client = self.wires[wire].client;
        if end == 0 && self.dialers[client].attempt == Some(wire) {
            self.abandon(client);
        }
        Ok(())
    }

    pub(super) fn postpone_redial(&mut self, client: usize) {
        self.dialers[client].redial_at = self.now + self.dialers[client].redial_delay;
    }

    fn handle_frame(&mut self, wire: usize, end: usize, payload: Bytes) -> Checked {
        let End::Up(link) = self.wires[wire].ends[end] else { return Ok(()) };
        let number = self.side_at(wire, end).ok_or("a link that is up has a session")?;
        let side = &mut self.sides[number];
        let is_latest = side.latest == Some((link, wire)) && side.session.link() == Some(link);
        let before = (side.session.received(), side.session.log().acked());
        let outcome = side.session.handle_frame(self.now, link, payload);
        let after = (side.session.received(), side.session.log().acked());
        if !is_latest || side.ended_at.is_some() {
            self.stats.stale += 1;
            let ignored = before == after && matches!(outcome, Ok(None));
            ensure!(ignored, "side {number}: input of an old link was not ignored");
        }
        match outcome {
            Ok(Some(item)) => self.take_item(number, &item)?,
            Ok(None) => {}
            Err(violation) => {
                self.note(|_| format!("side {number} finds on wire {wire}: {violation}"));
                ensure!(self.wires[wire].lossy, "side {number}: {violation} on a sound link");
                self.stats.gaps += 1;
                self.end_of_link(wire, end)?;
            }
        }
        self.touch(number)
    }

    fn take_item(&mut self, number: usize, item: &Bytes) -> Checked {
        let side = &self.sides[number];
        let peer = side.peer.ok_or("an item came from nobody")?;
        let n = side.received;
        let from = &self.sides[peer];
        ensure!(n < from.sent, "side {number} got item {n}, but {} were sent", from.sent);
        let right = is_item(item, from.content_id(peer), n, side.item_bytes_max);
        ensure!(right, "side {number} got something else for item {n}");
        let side = &mut self.sides[number];
        side.received += 1;
        side.unread.push_back(item_cost(item.len()));
        self.stats.messages += 1;
        self.note(|_| format!("side {number} gets item {n}"));
        Ok(())
    }
}
