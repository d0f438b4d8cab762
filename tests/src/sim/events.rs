//! What the owner of a session does with its events.

use rejoin_core::protocol::{CloseReason, DropCause, Ending, Event, LinkGeneration};

use super::ensure;
use super::wire::End;
use super::world::{Checked, World};

impl World {
    pub(super) fn handle_events(&mut self, number: usize) -> Checked<bool> {
        let mut busy = false;
        if self.sides[number].skips & 2 != 0 {
            return Ok(false);
        }
        while let Some(event) = self.sides[number].session.poll_event() {
            busy = true;
            self.note(|_| format!("side {number}: {event:?}"));
            let side = &mut self.sides[number];
            ensure!(side.ending.is_none(), "side {number}: {event:?} came after the end");
            match event {
                Event::KeyProved(link) => {
                    side.proved = true;
                    let given = side.given.iter().find(|(on, _)| *on == link);
                    if let (Some(id), Some(&(_, key))) = (side.id, given) {
                        self.table.prove(id, key);
                    }
                }
                Event::DropLink { link, cause } => {
                    self.stats.dead_peers += u64::from(cause == DropCause::PeerDead);
                    self.drop_link(number, link);
                }
                Event::PeerClosed(reason) => {
                    side.closed = true;
                    side.session.close(self.now, CloseReason::default());
                    side.reason.get_or_insert_default();
                    side.closing_since.get_or_insert(self.now);
                    let peer = side.peer.map(|peer| &self.sides[peer]);
                    let given = peer.and_then(|peer| peer.reason.as_ref());
                    ensure!(
                        given == Some(&reason),
                        "side {number} is told `{reason:?}`, not {given:?}"
                    );
                    self.touch(number)?;
                }
                Event::CloseConfirmed => side.close_confirmed = true,
                Event::GoingAway { .. } => {}
                Event::Ended(ending) => self.ended(number, ending)?,
            }
        }
        Ok(busy)
    }

    fn ended(&mut self, number: usize, ending: Ending) -> Checked {
        self.check_ending(number, &ending)?;
        let side = &mut self.sides[number];
        side.ending = Some(ending.clone());
        if let Some(id) = side.id {
            self.table.remove(id, ending == Ending::Closed);
        }
        let end = side.end;
        for index in 0..self.live.len() {
            let wire = self.live[index];
            let is_mine = self.side_at(wire, end) == Some(number);
            if is_mine && matches!(self.wires[wire].ends[end], End::Up(_)) {
                self.wires[wire].close(end, self.now);
            }
        }
        if end == 0 {
            self.abandon(number);
        }
        Ok(())
    }

    fn drop_link(&mut self, number: usize, link: LinkGeneration) {
        let end = self.sides[number].end;
        for index in 0..self.live.len() {
            let wire = self.live[index];
            let is_mine = self.side_at(wire, end) == Some(number);
            if is_mine && self.wires[wire].ends[end] == End::Up(link) {
                self.wires[wire].close(end, self.now);
            }
        }
        if end == 0 {
            self.postpone_redial(number);
        }
    }
}
