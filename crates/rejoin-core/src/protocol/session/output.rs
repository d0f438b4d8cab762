//! What a session sends, and in which order: settings, acknowledgements, liveness, items, close.

use std::time::Instant;

use crate::protocol::error::LossReason;
use crate::protocol::frame::{Control, FRAME_HEAD_MAX, Head, Settings};
use crate::protocol::hello::Profile;
use crate::protocol::seq::Position;
use crate::protocol::session::{Ending, Session, Transmit};

impl Session {
    /// The next payload for the current link; `None` when there is nothing to send now. May change
    /// after every other call.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.transmits(now).next()
    }

    /// The payloads for the current link, in order, until there is nothing more to send now.
    pub fn transmits(&mut self, now: Instant) -> impl Iterator<Item = Transmit> {
        // An item makes no control frame due, and nobody else can while this borrows the session.
        let mut may_control = self.profile == Some(Profile::Extended);
        std::iter::from_fn(move || {
            if self.ended || self.attached.is_none() {
                return None;
            }
            if may_control {
                if let Some(control) = self.next_control(now) {
                    let transmit = self.control(&control);
                    self.finish_if_closed();
                    return Some(transmit);
                }
                may_control = false;
            }
            self.next_item(now).or_else(|| self.next_close())
        })
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

    #[inline]
    fn next_item(&mut self, now: Instant) -> Option<Transmit> {
        let attached = self.attached.as_mut()?;
        if self.log.cost_written() >= self.send_limit {
            return None;
        }
        let sent = self.log.sent();
        let (position, item) = self.log.write_next()?;
        let peer_max = self.peer.map_or(usize::MAX, |peer| peer.item_bytes_max as usize);
        let bytes_max = peer_max.min(attached.payload_bytes_max.saturating_sub(FRAME_HEAD_MAX));
        if item.len() > bytes_max {
            let reason = LossReason::ItemTooLarge { position, bytes: item.len(), bytes_max };
            self.end(Ending::Lost(reason));
            return None;
        }
        attached.wrote_at = now;
        self.counters.bytes_written += item.len() as u64;
        if position.get() < sent {
            self.counters.items_replayed += 1;
        }
        Some(Transmit { head: Head::data(position.seq(), self.receiver.piggyback()), body: item })
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
