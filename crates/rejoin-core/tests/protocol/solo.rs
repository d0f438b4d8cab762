//! One session, and a peer played by hand.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::{
    AckState, ClientHello, Control, Event, Frame, HandshakeError, Head, LinkGeneration, PacketAck,
    PacketSeq, Profile, ProtocolViolation, Role, ServerHello, Session, SessionConfig, Settings,
};

use crate::pair::{batch, key};

#[derive(Clone, Debug)]
pub(crate) struct Solo {
    pub(crate) now: Instant,
    pub(crate) session: Session,
    pub(crate) link: LinkGeneration,
    /// Which profile the peer speaks.
    profile: Profile,
    keys: u64,
}

impl Solo {
    /// An acceptor's session on its first link, with a peer that has sent its hello only.
    pub(crate) fn acceptor(config: SessionConfig, profile: Profile) -> Self {
        let now = Instant::now();
        let mut solo = Self {
            now,
            session: Session::new(Role::Acceptor, config, key(0)),
            link: LinkGeneration::default(),
            profile,
            keys: 0,
        };
        let hello = match profile {
            Profile::Base => ClientHello::fresh(),
            Profile::Extended => ClientHello::fresh_extended(key(77)),
        };
        solo.hello(&hello).expect("a fresh hello is welcome");
        solo
    }

    /// An initiator's session on its first link, with a peer that has sent its hello only.
    pub(crate) fn initiator(config: SessionConfig, profile: Profile) -> Self {
        let now = Instant::now();
        let mut solo = Self {
            now,
            session: Session::new(Role::Initiator, config, key(0)),
            link: LinkGeneration::default(),
            profile,
            keys: 0,
        };
        solo.answer(None).expect("the first answer is welcome");
        solo
    }

    /// As [`acceptor`](Self::acceptor), and the peer's settings have arrived and ours are gone.
    pub(crate) fn ready(config: SessionConfig) -> Self {
        let mut solo = Self::acceptor(config, Profile::Extended);
        solo.feed(0, settings(None, 10_000)).expect("settings are welcome");
        solo.sent();
        solo
    }

    /// The peer dials anew.
    pub(crate) fn hello(&mut self, hello: &ClientHello) -> Result<ServerHello, HandshakeError> {
        self.keys += 1;
        let key = key(self.keys);
        let (link, answer) = self.session.handle_client_hello(self.now, hello, key, usize::MAX)?;
        self.link = link;
        Ok(answer)
    }

    /// The peer resumes, and says what it has.
    pub(crate) fn resume(
        &mut self,
        last_received: Option<u32>,
    ) -> Result<ServerHello, HandshakeError> {
        let last = last_received.map(PacketSeq);
        self.hello(&ClientHello::resume(self.profile, key(self.keys), last))
    }

    /// The peer answers our hello, and says what it has.
    pub(crate) fn answer(&mut self, last_received: Option<u32>) -> Result<(), HandshakeError> {
        self.keys += 1;
        let answer = ServerHello::Accepted {
            profile: self.profile,
            key: key(self.keys),
            last_received: last_received.map(PacketSeq),
        };
        self.link = self.session.handle_server_hello(self.now, &answer, usize::MAX)?;
        Ok(())
    }

    /// A control frame arrives.
    pub(crate) fn feed(&mut self, seq: u32, control: Control) -> Result<(), ProtocolViolation> {
        let payload = control.encode(PacketSeq(seq));
        self.session.handle_frame(self.now, self.link, payload).map(|item| assert_eq!(item, None))
    }

    /// An item arrives.
    pub(crate) fn item(
        &mut self,
        seq: u32,
        ack: Option<u32>,
        item: &[u8],
    ) -> Result<Option<Bytes>, ProtocolViolation> {
        let head = Head::data(PacketSeq(seq), ack.map(packet_ack));
        let payload = [head.as_bytes(), item].concat().into();
        self.session.handle_frame(self.now, self.link, payload)
    }

    pub(crate) fn append(&mut self, item: &[u8]) {
        self.session.append(&mut batch([item]));
    }

    /// Everything that the session sends now.
    pub(crate) fn sent(&mut self) -> Vec<Frame> {
        let profile = self.session.profile().expect("a handshake took place");
        std::iter::from_fn(|| self.session.poll_transmit(self.now))
            .map(|it| Frame::decode(profile, [it.head.as_bytes(), &it.body].concat().into()))
            .collect::<Result<_, _>>()
            .expect("sessions send well-formed frames")
    }

    /// The control frames among [`sent`](Self::sent).
    pub(crate) fn controls(&mut self) -> Vec<Control> {
        let frames = self.sent().into_iter();
        frames
            .filter_map(|frame| match frame {
                Frame::Control { control, .. } => Some(control),
                Frame::Data { .. } => None,
            })
            .collect()
    }

    /// The numbers of the data frames among [`sent`](Self::sent).
    pub(crate) fn numbers(&mut self) -> Vec<u32> {
        let frames = self.sent().into_iter();
        frames
            .filter_map(|frame| match frame {
                Frame::Data { seq, .. } => Some(seq.0),
                Frame::Control { .. } => None,
            })
            .collect()
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
        }
    }
}

pub(crate) fn packet_ack(seq: u32) -> PacketAck {
    PacketAck { max_delivered: PacketSeq(seq) }
}

pub(crate) fn ack(seq: u32, limit: u64) -> Control {
    Control::Ack(AckState { ack: Some(packet_ack(seq)), limit })
}

pub(crate) fn settings(ack: Option<u32>, limit: u64) -> Control {
    Control::Settings(Settings {
        state: AckState { ack: ack.map(packet_ack), limit },
        item_bytes_max: 1000,
        send_log_bytes: 4000,
    })
}
