//! What a session makes of the frames that arrive.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::protocol::error::{LossReason, ProtocolViolation};
use crate::protocol::frame::{AckState, Control, FrameHead};
use crate::protocol::hello::Profile;
use crate::protocol::receiver::Arrival;
use crate::protocol::seq::{PacketAck, PacketSeq, Position};
use crate::protocol::session::{Ending, Event, LinkGeneration, Session};

impl Session {
    /// Some bytes crossed `link`, in whatever direction, of a payload that has yet to come to its end.
    /// The peer is slow, but there.
    pub fn handle_progress(&mut self, now: Instant, link: LinkGeneration) {
        if let Some(attached) = self.attached.as_mut().filter(|it| it.generation == link)
            && let Some(liveness) = &mut attached.liveness
        {
            liveness.heard(now);
        }
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
        let item = self.handle_payload(now, link, &payload)?;
        Ok(item.map(|start| payload.slice(start..)))
    }

    /// As [`handle_frame`](Self::handle_frame), but gives out where in the payload the item begins that
    /// it ends with.
    ///
    /// # Errors
    ///
    /// As [`handle_frame`](Self::handle_frame).
    #[inline]
    pub fn handle_payload(
        &mut self,
        now: Instant,
        link: LinkGeneration,
        payload: &[u8],
    ) -> Result<Option<usize>, ProtocolViolation> {
        let Some(attached) = self.attached.as_mut().filter(|it| it.generation == link) else {
            self.counters.inputs_stale += 1;
            return Ok(None);
        };
        if self.ended {
            return Ok(None);
        }
        if let Some(liveness) = &mut attached.liveness {
            liveness.heard(now);
        }
        let profile = self.profile.unwrap_or(Profile::Base);
        let frame = FrameHead::decode(profile, payload)?;
        let (FrameHead::Data { seq, .. } | FrameHead::Control { seq, .. }) = frame;
        // Before anything else of the frame counts: where something was lost, nothing that came
        // with it is to be trusted, least of all an acknowledgement, which can end the session.
        let arrival = self.receiver.judge(seq);
        if let Arrival::Gap(actual) = arrival {
            let expected = Position::new(self.receiver.received());
            return Err(ProtocolViolation::Gap { expected, actual });
        }
        if !attached.peer_heard {
            let is_settings =
                matches!(frame, FrameHead::Control { control: Control::Settings(_), .. });
            if profile == Profile::Extended && !is_settings {
                return Err(ProtocolViolation::SettingsMissing);
            }
            attached.peer_heard = true;
            self.events.push_back(Event::KeyProved(link));
        }
        match frame {
            FrameHead::Data { seq, ack, len } => {
                if let Some(ack) = ack {
                    self.handle_ack(ack);
                }
                let is_new = self.handle_item(now, seq, arrival, payload.len() - len)?;
                Ok(is_new.then_some(len))
            }
            FrameHead::Control { control, .. } => {
                self.handle_control(now, control);
                Ok(None)
            }
        }
    }

    fn handle_ack(&mut self, ack: PacketAck) {
        let position = ack.max_delivered.expand(Position::new(self.log.sent()));
        match position.map(|position| position.next().get()) {
            Some(count) if count <= self.log.sent() => {
                // What an earlier link carried may have arrived after the peer composed its hello,
                // as when it dials while that link still works. It need not be written again.
                if count > self.log.written() {
                    self.log.rewind(count);
                }
                self.acked(count);
            }
            other => {
                let reason = LossReason::AckBeyondSent {
                    acked: other
                        .and_then(|count| Position::new(count).previous())
                        .unwrap_or_default(),
                    sent: self.log.sent(),
                };
                self.end(Ending::Lost(reason));
            }
        }
    }

    #[inline]
    fn handle_item(
        &mut self,
        now: Instant,
        seq: PacketSeq,
        arrival: Arrival,
        bytes: usize,
    ) -> Result<bool, ProtocolViolation> {
        // The acknowledgement in the same frame may have ended the session.
        if self.ended {
            return Ok(false);
        }
        if arrival == Arrival::Duplicate {
            self.counters.items_duplicate += 1;
            self.receiver.came(seq);
            self.receiver.want_ack();
            return Ok(false);
        }
        if self.closing.peer_closed() {
            return Err(ProtocolViolation::DataAfterClose);
        }
        if bytes > self.config.item_bytes_max {
            self.end(Ending::Lost(LossReason::ItemTooLarge {
                position: Position::new(self.receiver.received()),
                bytes,
                bytes_max: self.config.item_bytes_max,
            }));
            return Ok(false);
        }
        if self.profile == Some(Profile::Extended) && !self.receiver.has_room() {
            self.end(Ending::Lost(LossReason::WindowExceeded));
            return Ok(false);
        }
        self.counters.bytes_received += bytes as u64;
        let policy = self.ack_policy();
        self.receiver.take(now, bytes, &policy);
        self.receiver.came(seq);
        Ok(true)
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
                    self.events.push_back(Event::CloseConfirmed);
                    self.acked(self.log.appended());
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
}
