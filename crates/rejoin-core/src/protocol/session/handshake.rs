//! How a session gets its links: the hellos, and what becomes of the positions in them.

use std::time::Instant;

use crate::protocol::error::{HandshakeError, LossReason, RejectReason};
use crate::protocol::hello::{ClientHello, Opening, Profile, ResumeKey, ServerHello};
use crate::protocol::liveness::Liveness;
use crate::protocol::seq::{PacketSeq, Position};
use crate::protocol::session::{Attached, DropCause, Ending, Event, LinkGeneration, Role, Session};

impl Session {
    /// The hello with which an initiator opens its next link.
    #[must_use]
    pub fn client_hello(&self) -> ClientHello {
        match self.key {
            Some(key) => ClientHello::resume(
                self.profile.unwrap_or(self.config.profile),
                key,
                self.position_to_tell(),
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
                let asked = self.profile.unwrap_or(self.config.profile);
                let offered = if profile == Profile::Extended { asked } else { profile };
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
            // The acceptor's table may not know yet that the answer to this hello was used.
            Opening::Fresh { .. } if self.peer.is_some() => {
                return Err(HandshakeError::Refused(RejectReason::Stale));
            }
            Opening::Fresh { .. } => None,
            Opening::Resume(_) => hello.last_received(),
        };
        let link = self.attach(now, profile, last_received, payload_bytes_max)?;
        let answer = ServerHello::Accepted { profile, key, last_received: self.position_to_tell() };
        Ok((link, answer))
    }

    fn attach(
        &mut self,
        now: Instant,
        profile: Profile,
        last_received: Option<PacketSeq>,
        payload_bytes_max: usize,
    ) -> Result<LinkGeneration, HandshakeError> {
        if self.ended {
            // Its table may not know yet. A peer that has closed, too, takes `Closed` for a receipt.
            let reason =
                if self.closed_in_order { RejectReason::Closed } else { RejectReason::UnknownKey };
            return Err(HandshakeError::Refused(reason));
        }
        if self.profile.is_some_and(|settled| settled != profile) {
            return Err(self.lost(LossReason::ProfileChanged));
        }
        let received = self.peer_position(last_received)?;
        self.profile = Some(profile);
        self.log.rewind(received);
        self.receiver.reset_link(profile == Profile::Base && self.config.manual_ack);
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
            going_away_sent: false,
            wrote_at: now,
        });
        self.closing.reset_link();
        if profile == Profile::Base {
            self.send_limit = u64::MAX;
            self.acked(received);
            // A close that was asked for before anybody knew the profile may have nothing to wait for.
            self.finish_if_closed();
        }
        Ok(self.generation)
    }

    /// The position for a hello of ours. In the base profile it acknowledges, so that in manual mode
    /// the peer is asked for what the application has not acknowledged, and what comes is ignored.
    fn position_to_tell(&self) -> Option<PacketSeq> {
        match self.profile {
            Some(Profile::Base) => self.receiver.last_acknowledgeable(),
            _ => self.receiver.last_received(),
        }
    }

    /// How many items the peer has, from the number in its hello.
    ///
    /// An initiator's hello may be old by the time it arrives: it was sent while another link still
    /// worked, or on a link that was abandoned. What it has acknowledged since, it has.
    fn peer_position(&mut self, last: Option<PacketSeq>) -> Result<u64, HandshakeError> {
        let log = &self.log;
        let near = Position::new(log.sent());
        let received = match last {
            Some(seq) => seq.expand(near).map(|position| position.next().get()),
            None => Some(self.log.first()),
        };
        let received = match self.role {
            Role::Initiator => received,
            Role::Acceptor => received.map(|count| count.max(log.acked())),
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
        if self.ended {
            // What was not acknowledged is the application's to take, whatever the peer says now.
        } else if reason == RejectReason::Closed && self.closing.both_closed() {
            // The peer ended in good order, so it has everything; only its last word was lost.
            drop(self.log.take_unacknowledged());
            self.end(Ending::Closed);
        } else if !reason.is_transient() {
            self.end(Ending::Lost(LossReason::Rejected(reason)));
        }
        HandshakeError::Refused(reason)
    }

    fn lost(&mut self, reason: LossReason) -> HandshakeError {
        self.end(Ending::Lost(reason.clone()));
        HandshakeError::Lost(reason)
    }
}
