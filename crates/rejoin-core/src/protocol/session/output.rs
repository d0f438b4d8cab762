//! What a session sends, and in which order: settings, acknowledgements, liveness, items, close.

use std::time::Instant;

use crate::protocol::error::LossReason;
use crate::protocol::frame::{Control, FRAME_HEAD_MAX, Settings};
use crate::protocol::hello::Profile;
use crate::protocol::liveness::Liveness;
use crate::protocol::send_log::item_cost;
use crate::protocol::seq::Position;
use crate::protocol::session::{Ending, Session};
use crate::protocol::transmits::{Payload, Transmit, Transmits};

impl Session {
    /// The next payload for the current link; `None` when there is nothing to send now. May change
    /// after every other call.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let mut one = Transmits::at_most(1);
        self.fill(now, &mut one);
        let mut payloads = one.payloads();
        let Payload { head, bytes, part } = payloads.next()?;
        Some(Transmit { head: *head, body: bytes.slice(part) })
    }

    /// Whether [`fill`](Self::fill) may find anything to send now. May change after every other call.
    #[must_use]
    #[inline]
    pub(crate) fn may_transmit(&self, now: Instant) -> bool {
        !self.log.is_written() || self.closing.is_closing() || self.may_control(now)
    }

    /// Adds what there is to send on the current link now, up to as much as `batch` takes; gives
    /// whether there may be more.
    pub fn fill(&mut self, now: Instant, batch: &mut Transmits) -> bool {
        if self.attached.is_none() {
            return false;
        }
        // An item makes none of these due.
        let extended = self.profile == Some(Profile::Extended);
        while extended && self.may_control(now) && !self.ended && !batch.is_full() {
            let Some(control) = self.next_control(now) else { break };
            batch.push(self.control(&control));
            self.finish_if_closed();
        }
        while !self.log.is_written() && !self.ended && !batch.is_full() && self.next_run(now, batch)
        {
        }
        if self.closing.is_closing()
            && !self.ended
            && !batch.is_full()
            && let Some(close) = self.next_close()
        {
            batch.push(close);
        }
        batch.is_full()
    }

    /// Whether [`next_control`](Self::next_control) may have one.
    #[inline]
    fn may_control(&self, now: Instant) -> bool {
        let Some(attached) = &self.attached else { return false };
        !attached.settings_sent
            || self.receiver.ack_due(now)
            || attached.pong.is_some()
            || attached.liveness.as_ref().is_some_and(Liveness::is_ping_due)
            || (self.going_away.is_some() && !attached.going_away_sent)
            || self.closing.is_confirmation_due()
    }

    fn next_control(&mut self, now: Instant) -> Option<Control> {
        let attached = self.attached.as_mut()?;
        if !attached.settings_sent {
            attached.settings_sent = true;
            return Some(Control::Settings(Settings {
                state: self.receiver.report(),
                item_bytes_max: u32::try_from(self.config.item_bytes_max).unwrap_or(u32::MAX),
                send_log_bytes: self.config.send_log_bytes_max as u64,
            }));
        }
        if self.receiver.ack_due(now) {
            return Some(Control::Ack(self.receiver.report()));
        }
        if let Some(token) = attached.pong.take() {
            return Some(Control::Pong(token));
        }
        if let Some(token) = attached.liveness.as_mut().and_then(|it| it.next_ping(now)) {
            return Some(Control::Ping(token));
        }
        if let Some(retry_after) = self.going_away.filter(|_| !attached.going_away_sent) {
            attached.going_away_sent = true;
            let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            return Some(Control::GoingAway { retry_after_ms });
        }
        let confirm = self.receiver.is_all_acknowledgeable() && self.closing.next_close_ack();
        confirm.then_some(Control::CloseAck)
    }

    /// Adds items that lie side by side; gives whether there were any.
    fn next_run(&mut self, now: Instant, batch: &mut Transmits) -> bool {
        let Some(attached) = &mut self.attached else { return false };
        let peer_max = self.peer.map_or(usize::MAX, |peer| peer.item_bytes_max as usize);
        let bytes_max = peer_max.min(attached.payload_bytes_max.saturating_sub(FRAME_HEAD_MAX));
        let (mut cost, cost_max) = (self.log.cost_written(), self.send_limit);
        let (sent, mut too_large) = (self.log.sent(), None);
        let run = self.log.write_run(|end, bytes| {
            if cost >= cost_max || batch.is_full() {
                return false;
            }
            if bytes > bytes_max {
                too_large = Some(bytes);
                return false;
            }
            cost += item_cost(bytes);
            batch.push_end(end, bytes);
            true
        });
        let Some(run) = run else {
            if let Some(bytes) = too_large {
                let position = Position::new(self.log.written());
                let reason = LossReason::ItemTooLarge { position, bytes, bytes_max };
                self.end(Ending::Lost(reason));
            }
            return false;
        };
        attached.wrote_at = now;
        self.counters.bytes_written += run.part.len() as u64;
        self.counters.items_replayed +=
            sent.min(self.log.written()).saturating_sub(run.first.get());
        batch.push_run(run, self.receiver.piggyback());
        true
    }

    fn next_close(&mut self) -> Option<Transmit> {
        let attached = self.attached.as_mut()?;
        let all_written = self.log.written() == self.log.appended();
        if self.profile != Some(Profile::Extended) || attached.close_sent || !all_written {
            return None;
        }
        let reason = self.closing.to_send()?.clone();
        attached.close_sent = true;
        Some(self.control(&Control::Close(reason)))
    }

    fn control(&self, control: &Control) -> Transmit {
        let seq = Position::new(self.log.written()).seq();
        let (head, body) = control.encode_parts(seq);
        Transmit { head, body }
    }
}
