//! A session whose peer does anything, in any order, at any time, while the application sends, reads
//! and closes. The input is a list of acts. Correct peers are the simulator's business.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::{
    AckState, Batch, ClientHello, CloseReason, Control, Ending, Event, Frame, Head, LinkGeneration,
    LossReason, PacketAck, Position, Profile, RejectReason, ResumeKey, Role, ServerHello, Session,
    SessionConfig, Settings, Transmits, item_cost,
};

use super::input::Input;
use crate::said::said;

const ITEM_BYTES_MAX: usize = 300;
/// More payloads than all items and controls together that any run has.
const PAYLOADS_MAX: usize = 100_000;

/// A session, and what it must be true to.
struct Stage {
    session: Session,
    role: Role,
    config: SessionConfig,
    now: Instant,
    link: LinkGeneration,
    /// What the session fills for its link, where that takes more than one payload at a time.
    batch: Option<Transmits>,
    first: u64,
    /// Counted from the first of the session, as the session does.
    appended: u64,
    acked: u64,
    received: u64,
    window_max: u64,
    closed: bool,
    ending: Option<Ending>,
    keys: u8,
}

/// Does what the input says, and looks after each act.
pub(super) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut stage = Stage::new(&mut input);
    while !input.is_empty() {
        stage.act(&mut input);
        stage.drain();
        stage.check();
    }
}

impl Stage {
    fn new(input: &mut Input<'_>) -> Self {
        let flags = input.byte();
        let role = if flags & 1 == 0 { Role::Acceptor } else { Role::Initiator };
        let profile = if flags & 2 == 0 { Profile::Extended } else { Profile::Base };
        let first = match flags >> 4 {
            0..12 => 0,
            12 | 13 => (1 << 31) - 2,
            _ => (1 << 32) - 2,
        };
        let config = SessionConfig {
            profile,
            item_bytes_max: ITEM_BYTES_MAX,
            send_log_bytes_max: input.one_of([1, 100, 1_000, 10_000]),
            window_bytes: input.one_of([0, 1, 200, 2_000, 20_000]),
            ack_frames_max: 4,
            ack_delay: Duration::from_millis(50),
            ping_interval: Duration::from_secs(5),
            peer_dead_after: Duration::from_secs(20),
            outage_max: Duration::from_secs(300),
            unproved_max: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            manual_ack: flags & 4 != 0,
        };
        let nonce = ResumeKey::from_bytes([9; 16]);
        Self {
            session: Session::starting_at(role, config.clone(), nonce, Position::new(first)),
            role,
            window_max: config.window_bytes as u64,
            config,
            now: Instant::now(),
            link: LinkGeneration::default(),
            batch: (flags & 8 != 0)
                .then(|| Transmits::at_most([2, 3, 1000][usize::from(flags >> 4) % 3])),
            first,
            appended: first,
            acked: first,
            received: first,
            closed: false,
            ending: None,
            keys: 0,
        }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        match what % 20 {
            0 | 1 => self.greet(input),
            2 => self.greet_with_bytes(input),
            3 => {
                let len = usize::from(input.byte());
                let payload = Bytes::copy_from_slice(input.bytes(len));
                self.frame(what, payload);
            }
            4..7 => {
                let seq = near(self.session.received(), input.byte()).seq();
                let ack = self.ack(input);
                let head = Head::data(seq, ack);
                let item = vec![7; usize::from(input.byte()) * 2];
                self.frame(what, [head.as_bytes(), &item].concat().into());
            }
            7..11 => {
                let seq = near(self.session.received(), input.byte()).seq();
                let control = self.control(input);
                self.frame(what, control.encode(seq));
            }
            11 => self.session.handle_link_down(self.now, self.link_of(what)),
            12 | 13 => {
                const WAITS: [u64; 8] = [0, 1, 50, 1_000, 5_000, 10_000, 30_000, 400_000];
                self.now += Duration::from_millis(input.one_of(WAITS));
            }
            14 | 15 => self.append(input),
            16 => {
                let share = u64::from(input.byte());
                self.session.consume(self.session.inbox_cost() * share / 255);
            }
            17 => {
                let count = self.received.saturating_sub(u64::from(input.byte() % 4));
                if self.config.manual_ack && count >= self.first {
                    self.session.acknowledge(self.now, count);
                }
            }
            18 => self.ask(input),
            _ => self.session.handle_progress(self.now, self.link_of(what)),
        }
    }

    /// What the application asks for now and then.
    fn ask(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => {
                self.closed = true;
                self.session.close(self.now, CloseReason::new(7, "enough"));
            }
            1 => self.session.go_away(Duration::from_millis(input.byte().into())),
            2 | 3 => self.session.set_ack_wanted(input.byte().is_multiple_of(2)),
            4 | 5 => {
                let window = input.one_of([0, 1, 500, 50_000]);
                self.window_max = self.window_max.max(window);
                self.session.set_window(window);
            }
            6 => {
                // Only sometimes, as little happens after it.
                if input.byte() == 77 {
                    self.session.abort(LossReason::Stopped);
                }
            }
            _ => {
                if self.session.is_ended() {
                    let left = self.session.take_unacknowledged();
                    let positions = left.iter().map(|(position, _)| position.get());
                    assert!(positions.eq(self.acked..self.appended), "all of them, in order");
                    self.acked = self.appended;
                }
            }
        }
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let (count, len) = (input.byte() % 4, usize::from(input.byte()));
        let full = self.session.log().cost() >= self.config.send_log_bytes_max as u64;
        if self.closed || self.session.is_ended() || full {
            return;
        }
        let mut batch = Batch::default();
        // Growing, so that one in the middle may be the first that is too large.
        for n in 1..=usize::from(count) {
            batch.buffer().extend_from_slice(&vec![5; len * n / usize::from(count)]);
            batch.commit();
        }
        self.appended += u64::from(count);
        self.session.append(&mut batch);
    }

    /// A hello that a program might send.
    fn greet(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let profile = if kind & 1 == 0 { Profile::Extended } else { Profile::Base };
        let sent = self.session.log().sent();
        let last_received = match kind >> 4 {
            0..6 => None,
            6..10 => Position::new(self.acked).previous().map(Position::seq),
            _ => Some(near(sent, input.byte()).seq()),
        };
        let key = self.next_key();
        match self.role {
            Role::Initiator if kind & 14 == 14 => {
                let reason = RejectReason::from_code(input.byte().into());
                self.server_hello(&ServerHello::Rejected { profile, reason });
            }
            Role::Initiator => {
                self.server_hello(&ServerHello::Accepted { profile, key, last_received });
            }
            Role::Acceptor if kind & 2 == 0 => {
                self.client_hello(&ClientHello::resume(profile, key, last_received));
            }
            Role::Acceptor if profile == Profile::Base => self.client_hello(&ClientHello::fresh()),
            Role::Acceptor => self.client_hello(&ClientHello::fresh_extended(key)),
        }
    }

    fn greet_with_bytes(&mut self, input: &mut Input<'_>) {
        let mut bytes = *b"ROSH.....................";
        if self.role == Role::Acceptor {
            bytes[2] = b'C';
        }
        let given = input.bytes(21);
        bytes[4..4 + given.len()].copy_from_slice(given);
        match self.role {
            Role::Initiator => {
                self.server_hello(&ServerHello::decode(&bytes).expect("the magic is right"));
            }
            Role::Acceptor => {
                self.client_hello(&ClientHello::decode(&bytes).expect("the magic is right"));
            }
        }
    }

    fn server_hello(&mut self, hello: &ServerHello) {
        let attached = self.session.handle_server_hello(self.now, hello, 1 << 20);
        if let Ok(link) = attached {
            assert!(link > self.link);
            self.link = link;
        }
    }

    fn client_hello(&mut self, hello: &ClientHello) {
        let key = self.next_key();
        let attached = self.session.handle_client_hello(self.now, hello, key, 1 << 20);
        if let Ok((link, answer)) = attached {
            assert!(link > self.link);
            assert_eq!(ServerHello::decode(&answer.encode()), Ok(answer));
            self.link = link;
        }
    }

    fn next_key(&mut self) -> ResumeKey {
        self.keys = self.keys.wrapping_add(1);
        ResumeKey::from_bytes([self.keys; 16])
    }

    /// The link that an act is about: mostly the latest one, sometimes one that was never there.
    fn link_of(&self, what: u8) -> LinkGeneration {
        if what < 220 { self.link } else { LinkGeneration::default() }
    }

    fn frame(&mut self, what: u8, payload: Bytes) {
        let link = self.link_of(what);
        let stale = self.session.link() != Some(link);
        let before = self.session.counters();
        match self.session.handle_frame(self.now, link, payload) {
            Ok(Some(item)) => {
                assert!(!stale && item.len() <= ITEM_BYTES_MAX);
                self.received += 1;
            }
            Ok(None) => {}
            Err(_) => {
                assert!(!stale, "only a link that is there can be of no use");
                self.session.handle_link_down(self.now, link);
            }
        }
        if stale {
            let mut expected = before;
            expected.inputs_stale += 1;
            assert_eq!(self.session.counters(), expected);
        }
    }

    fn ack(&self, input: &mut Input<'_>) -> Option<PacketAck> {
        let by = input.byte();
        let max_delivered = near(self.session.log().sent(), by).seq();
        (by < 200).then_some(PacketAck { max_delivered })
    }

    fn control(&self, input: &mut Input<'_>) -> Control {
        match input.byte() % 12 {
            0..4 => Control::Settings(Settings {
                state: self.ack_state(input),
                item_bytes_max: input.one_of([u32::MAX, 300, 100, 0]),
                send_log_bytes: input.one_of([u64::MAX, 1_000, 3, 0]),
            }),
            4..6 => Control::Ack(self.ack_state(input)),
            6 => Control::Ping(input.byte().into()),
            7 => Control::Pong(input.byte().into()),
            8 | 9 => Control::Close(CloseReason::new(1, "the peer's")),
            10 => Control::CloseAck,
            _ => Control::GoingAway { retry_after_ms: input.one_of([0, 1, u64::MAX]) },
        }
    }

    fn ack_state(&self, input: &mut Input<'_>) -> AckState {
        let limit = input.one_of([u64::MAX, 0, 1_000, 5_000, 20_000, 1 << 62]);
        AckState { ack: self.ack(input), limit }
    }

    /// What the driver does after everything.
    fn drain(&mut self) {
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
            self.transmit();
            let again = self.session.poll_timeout();
            assert!(again.is_none_or(|at| at > self.now), "a timer is due again at once");
        }
        self.transmit();
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.ending, None, "nothing comes after the end, but: {event:?}");
            match event {
                Event::DropLink { link, .. } if link == self.link => {
                    self.session.handle_link_down(self.now, link);
                }
                Event::Ended(ending) => self.ending = Some(ending),
                _ => {}
            }
        }
    }

    fn transmit(&mut self) {
        for _ in 0..PAYLOADS_MAX {
            let mut next = self.session.log().written();
            let payloads = said(&mut self.session, self.now, self.batch.as_mut());
            if payloads.is_empty() {
                return;
            }
            assert!(self.session.link().is_some() || self.session.is_ended());
            let profile = self.session.profile().expect("known, or nothing could be sent");
            for payload in payloads {
                let whole = payload.len();
                let frame = Frame::decode(profile, payload).expect("what is sent is a frame");
                if let Frame::Data { seq, ack, item } = frame {
                    let head = Head::data(seq, ack).as_bytes().len();
                    assert_eq!((seq, head + item.len()), (Position::new(next).seq(), whole));
                    assert!(ack.is_none() || self.received > self.first);
                    let item_max = self.session.peer_item_bytes_max();
                    assert!(item_max.is_none_or(|max| item.len() <= max), "the peer takes less");
                    next += 1;
                }
            }
            assert_eq!(next, self.session.log().written(), "each item has its own number");
        }
        panic!("always has something more to say");
    }

    fn check(&mut self) {
        let log = self.session.log();
        assert!(self.acked <= log.acked(), "what is acknowledged stays so");
        self.acked = log.acked();
        assert!(log.acked() <= log.written() && log.written() <= log.sent());
        assert!(log.sent() <= log.appended());
        assert_eq!(log.appended(), self.appended);
        assert_eq!(self.session.received(), self.received);
        if self.session.profile() == Some(Profile::Extended) {
            let bound = self.window_max + item_cost(ITEM_BYTES_MAX);
            assert!(self.session.inbox_cost() <= bound, "more than the window");
        }
        assert_eq!(self.session.is_ended(), self.ending.is_some());
        match &self.ending {
            None => {}
            Some(Ending::Closed) => {
                assert!(self.closed && log.is_empty(), "a close in order loses nothing");
            }
            Some(Ending::Lost(_)) => {}
        }
        if self.session.is_ended() {
            assert_eq!(self.session.poll_timeout(), None);
        }
    }
}

/// A place near the one before which `count` items come; 128 is that one.
fn near(count: u64, by: u8) -> Position {
    Position::new(count.wrapping_add_signed(i64::from(by) - 128))
}
