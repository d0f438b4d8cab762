//! What must hold, at all times and in the end. The judge is what was put in and came out on the
//! other side, and its own clock.

use std::time::{Duration, Instant};

use rejoin_core::protocol::{
    Ending, Frame, LossReason, Position, Profile, RejectReason, item_cost,
};

use super::ensure;
use super::plan::SECOND;
use super::side::{Side, is_item};
use super::wire::End;
use super::world::{Checked, World};

impl World {
    /// To be called after whatever may have changed a session.
    pub(super) fn touch(&mut self, number: usize) -> Checked {
        let held = self.partner(number).map(|peer| self.sides[peer].answerable());
        let side = &mut self.sides[number];
        if side.session.link().is_none() && side.latest.is_some() {
            side.detached_at.get_or_insert(self.now);
        }
        if side.session.is_ended() {
            side.ended_at.get_or_insert(self.now);
            ensure!(
                side.session.poll_timeout().is_none(),
                "side {number} has a timer after its end"
            );
        }
        if side.ending.is_some() {
            return Ok(());
        }
        // A receipt is a promise: it is never taken back, and the peer has what it is for.
        let acked = side.session.log().acked();
        ensure!(acked >= side.acked, "side {number} takes an acknowledgement back");
        side.acked = acked;
        let held = held.unwrap_or(side.first);
        ensure!(acked <= held, "side {number}: {acked} acknowledged, the peer has {held}");
        let received = side.session.received();
        ensure!(
            received == side.first + side.received,
            "side {number} counts {received} items, {} were given out",
            side.received
        );
        Ok(())
    }

    /// The session that this one is in session with, if both know.
    pub(super) fn partner(&self, number: usize) -> Option<usize> {
        let peer = self.sides[number].peer?;
        (self.sides[peer].peer == Some(number)).then_some(peer)
    }

    /// What must hold whenever everything is at rest.
    pub(super) fn check(&mut self) -> Checked {
        let mut sessions = 0;
        for number in 0..self.sides.len() {
            let side = &self.sides[number];
            sessions += usize::from(side.id.is_some() && !side.is_over());
            let largest = item_cost(side.item_bytes_max);
            let log_max = side.config.send_log_bytes_max as u64 + largest;
            let cost = side.session.log().cost();
            ensure!(cost <= log_max, "side {number}: the log is too large");
            let empty = side.session.log().is_empty();
            ensure!(empty == (cost == 0), "side {number}: the log costs {cost}, empty: {empty}");
            let unread: u64 = side.unread.iter().sum();
            let inbox_max = side.window_max + largest;
            ensure!(unread == side.session.inbox_cost(), "side {number} miscounts its inbox");
            ensure!(unread < inbox_max, "side {number}: {unread} in the inbox");
            let promised = side.session.window_promised();
            ensure!(side.base || promised <= inbox_max, "side {number}: {promised} promised");
            let log = side.session.log();
            let blocked = log.written() < log.appended() && self.current(number).is_some();
            self.stats.blocked += u64::from(blocked);
        }
        ensure!(self.table.len() == sessions, "{} in the table, not {sessions}", self.table.len());
        self.check_links()
    }

    /// A session that has a new link, or none, has said so of the old one: nobody else closes it.
    fn check_links(&self) -> Checked {
        for &wire in &self.live {
            for end in 0..2 {
                let (End::Up(link), Some(number)) =
                    (self.wires[wire].ends[end], self.side_at(wire, end))
                else {
                    continue;
                };
                let side = &self.sides[number];
                let heeds_events = side.skips & 2 == 0;
                let is_current = side.session.link() == Some(link);
                ensure!(
                    is_current || !heeds_events,
                    "side {number} keeps a link it has no use for"
                );
            }
        }
        Ok(())
    }

    /// Nobody waits for longer than he was told to. To be called when every timer that is due was
    /// heeded.
    pub(super) fn check_patience(&self) -> Checked {
        for (number, side) in self.sides.iter().enumerate() {
            if side.ended_at.is_some() || side.skips != 0 {
                continue;
            }
            let over =
                |since: Option<Instant>, limit| since.is_some_and(|at| self.now > at + limit);
            ensure!(!over(side.detached_at, side.kept()), "side {number} does not expire");
            let lingers = over(side.closing_since, side.config.linger);
            ensure!(!lingers, "side {number} lingers for too long");
        }
        Ok(())
    }

    /// Nothing disturbs anybody: what is sent now arrives and is acknowledged at once, and not when
    /// the next ping happens to take the news along. A base peer cannot say that it has something.
    pub(super) fn check_promptness(&mut self) -> Checked {
        for number in 0..self.sides.len() {
            let has_partner = self.partner(number).is_some();
            let side = &mut self.sides[number];
            if side.is_open() && !side.base && has_partner {
                let mut batch = side.next_batch(number, 1);
                side.session.append(&mut batch);
            }
        }
        self.run_for(2 * SECOND)?;
        self.check()?;
        self.unsettled()
            .map_or(Ok(()), |late| Err(format!("two seconds without faults, and only {late}")))
    }

    /// A session says how it ended: it must be true, and everything must be accounted for.
    pub(super) fn check_ending(&mut self, number: usize, ending: &Ending) -> Checked {
        self.touch(number)?;
        let (acked, sent) = (self.sides[number].acked, self.sides[number].sent);
        let handed_back = self.sides[number].session.take_unacknowledged();
        let side = &self.sides[number];
        let due = if *ending == Ending::Closed {
            side.first + sent..side.first + sent
        } else {
            acked..side.first + sent
        };
        ensure!(
            handed_back.iter().map(|(position, _)| position.get()).eq(due.clone()),
            "side {number} hands back {} items, not {due:?}",
            handed_back.len()
        );
        for (position, item) in &handed_back {
            let n = position.get() - side.first;
            let right = is_item(item, side.content_id(number), n, side.item_bytes_max);
            ensure!(right, "side {number} hands back something else for item {n}");
        }
        match ending {
            Ending::Closed => self.check_closed(number),
            Ending::Lost(reason) => {
                self.stats.lost += 1;
                ensure!(self.is_excused(number, reason), "side {number}: {reason}");
                Ok(())
            }
        }
    }

    /// A session that is closed in good order has lost nothing, in either direction.
    fn check_closed(&mut self, number: usize) -> Checked {
        self.stats.closed_under_faults += u64::from(self.healed_at.is_none());
        let side = &self.sides[number];
        ensure!(side.closed, "side {number} is closed, but nobody closed it");
        let Some(peer) = self.partner(number) else {
            ensure!(side.sent == 0, "side {number} was closed and had sent to nobody");
            return Ok(());
        };
        let peer = &self.sides[peer];
        let has = peer.answerable() - peer.first;
        ensure!(has == side.sent, "side {number} was closed: {has} of {} arrived", side.sent);
        // A base peer knows no close: it may go on sending to nobody, and is told so.
        ensure!(side.base || peer.closed, "side {number} was closed, its peer not");
        let all = side.base || side.received == peer.sent;
        ensure!(all, "side {number} was closed with {} of {}", side.received, peer.sent);
        Ok(())
    }

    /// Whether the session may be lost for this reason.
    fn is_excused(&self, number: usize, reason: &LossReason) -> bool {
        let side = &self.sides[number];
        let ended_at = side.ended_at.unwrap_or(self.now);
        let lasted = |since: Option<Instant>, limit: Duration| {
            since.is_some_and(|since| ended_at.duration_since(since) >= limit)
        };
        let Side { config, .. } = side;
        match reason {
            LossReason::Stopped => side.aborted,
            LossReason::OutageLimit => side.end == 0 && lasted(side.detached_at, config.outage_max),
            LossReason::Expired => side.end == 1 && lasted(side.detached_at, side.kept()),
            LossReason::LingerExpired => {
                let peers = side.peer.and_then(|peer| self.sides[peer].closing_since);
                lasted(side.closing_since, config.linger) || lasted(peers, config.linger)
            }
            LossReason::Rejected(reason) => self.sides.iter().any(|peer| {
                let is_peer = match side.peer {
                    Some(_) => peer.end == 1 && peer.peer == Some(number),
                    None => peer.end == 1 && peer.client == number,
                };
                is_peer
                    && peer.ended_at.is_some()
                    && match reason {
                        RejectReason::UnknownKey => !peer.has_closed(),
                        RejectReason::Closed => !peer.is_lost(),
                        RejectReason::Unspecified => side.base,
                        _ => false,
                    }
            }),
            _ => false,
        }
    }

    /// What was said of a session that had ended was true, which may come out only later.
    pub(super) fn check_rejection(&self, number: usize) -> Checked {
        let Some(peer) = self.partner(number).map(|peer| &self.sides[peer]) else { return Ok(()) };
        let Some(Ending::Lost(LossReason::Rejected(reason))) = &self.sides[number].ending else {
            return Ok(());
        };
        let right = match reason {
            RejectReason::Closed => peer.has_closed(),
            RejectReason::UnknownKey => peer.is_lost(),
            _ => peer.is_over(),
        };
        ensure!(right, "side {number} is told `{reason}`, but its peer is {:?}", peer.ending);
        Ok(())
    }

    /// Lets time pass until nothing is left to do.
    pub(super) fn settle(&mut self) -> Checked {
        for _ in 0..400 {
            if self.unsettled().is_none() {
                return Ok(());
            }
            self.run_for(SECOND)?;
            self.check()?;
        }
        self.unsettled().map_or(Ok(()), Err)
    }

    /// What is yet to arrive, to be acknowledged or to be closed between sessions that live.
    fn unsettled(&self) -> Option<String> {
        (0..self.dialers.len()).find_map(|client| {
            let initiator = &self.sides[client];
            if initiator.is_over() {
                return None;
            }
            let Some(peer) = initiator.peer else {
                return Some(format!("initiator {client} finds no acceptor"));
            };
            let acceptor = &self.sides[peer];
            if acceptor.is_over() {
                return None;
            }
            if initiator.closed || acceptor.closed {
                return Some(format!("the close of session {client} does not complete"));
            }
            for (number, from, to) in [(client, initiator, acceptor), (peer, acceptor, initiator)] {
                if to.received < from.sent {
                    return Some(format!(
                        "{} of {} items of side {number} arrived",
                        to.received, from.sent
                    ));
                }
                let log = from.session.log();
                if !log.is_empty() {
                    return Some(format!(
                        "{} of {} items of side {number} are acknowledged",
                        log.acked() - from.first,
                        from.sent
                    ));
                }
            }
            None
        })
    }

    /// Lets time pass until every session is over: some wait for peers that have ended.
    pub(super) fn run_out(&mut self) -> Checked {
        for _ in 0..250 {
            if self.sides.iter().all(Side::is_over) {
                return Ok(());
            }
            self.run_for(100 * SECOND)?;
        }
        let late = self.sides.iter().position(|side| !side.is_over());
        late.map_or(Ok(()), |number| Err(format!("side {number} never ends")))
    }

    /// A frame as the trace shows it.
    pub(super) fn shown(&self, number: usize, payload: &[u8]) -> String {
        let profile = if self.sides[number].base { Profile::Base } else { Profile::Extended };
        match Frame::decode(profile, payload.to_vec().into()) {
            Ok(Frame::Data { seq, ack, item }) => {
                let ack = ack.map(|ack| ack.max_delivered.0);
                format!("item {} ({} bytes), ack {ack:?}", seq.0, item.len())
            }
            Ok(Frame::Control { seq, control }) => format!("{control:?}, next item {}", seq.0),
            Err(error) => error.to_string(),
        }
    }

    /// Whether the numbers of a session went past 2³² on the wire.
    pub(super) fn has_wrapped(&self, number: usize) -> bool {
        let side = &self.sides[number];
        let first = Position::new(side.first).seq().0;
        u32::try_from(side.sent).is_ok_and(|sent| first.checked_add(sent).is_none())
    }
}
