//! What happens to the simulated world, one [`Op`] at a time, and the end of all faults.

use rejoin_core::protocol::{CloseReason, LossReason};

use super::plan::{Kind, MILLISECOND, Op, SECOND};
use super::wire::End;
use super::world::{Checked, World};

impl World {
    /// Does one thing, and lets happen what follows from it at once.
    pub(super) fn act(&mut self, op: Op) -> Checked {
        if op.client >= self.dialers.len() {
            return Ok(());
        }
        self.note(|_| format!("* {op}"));
        let n = u32::try_from(op.n).unwrap_or(u32::MAX);
        match op.kind {
            Kind::Wait => self.run_for(MILLISECOND * n)?,
            Kind::WaitLong => self.run_for(SECOND * n)?,
            Kind::Sleep => self.sleep_for(SECOND * n)?,
            Kind::Delay => self.delay = MILLISECOND * n,
            Kind::Capacity => self.capacity = usize::try_from(op.n.max(1)).unwrap_or(usize::MAX),
            _ if self.act_on_side(op)? => {}
            _ => self.act_on_wires(op)?,
        }
        self.drive()?;
        self.check()
    }

    /// Which session an op is about: that of the acceptor may not exist yet.
    fn target(&self, op: Op) -> Option<usize> {
        if op.end == 0 {
            return Some(op.client);
        }
        let first = self.dialers.len();
        let latest = (first..self.sides.len()).rev().find(|&at| self.sides[at].client == op.client);
        // A base session that nobody came back to is nobody's.
        self.sides[op.client].peer.or(latest.filter(|&at| !self.sides[at].base))
    }

    /// Gives whether this kind is about a session.
    fn act_on_side(&mut self, op: Op) -> Checked<bool> {
        let now = self.now;
        let odd = op.n % 2 == 1;
        let Some(number) = self.target(op) else { return Ok(false) };
        let side = &mut self.sides[number];
        let link = side.latest.map(|(link, _)| link);
        match op.kind {
            Kind::Send if side.is_open() => {
                let mut batch = side.next_batch(number, op.n);
                side.session.append(&mut batch);
            }
            Kind::Read => {
                self.read(number, op.n)?;
            }
            Kind::ReadAlways => side.reads_always = odd,
            Kind::Skip => side.skips = op.n,
            Kind::Progress => {
                link.into_iter().for_each(|link| side.session.handle_progress(now, link));
            }
            Kind::Close => self.close(number)?,
            Kind::Abort if side.ended_at.is_none() => {
                side.aborted = true;
                side.session.abort(LossReason::Stopped);
            }
            Kind::GoAway => side.session.go_away(MILLISECOND),
            Kind::AckWanted => side.session.set_ack_wanted(odd),
            Kind::Window => {
                side.window_max = side.window_max.max(op.n);
                side.session.set_window(op.n);
            }
            Kind::Send | Kind::Abort => {}
            _ => return Ok(false),
        }
        self.touch(number)?;
        Ok(true)
    }

    fn close(&mut self, number: usize) -> Checked {
        let side = &mut self.sides[number];
        if side.is_open() {
            side.closed = true;
            side.closing_since.get_or_insert(self.now);
            let reason = CloseReason::new([7, 8][side.end], "simulated");
            side.session.close(self.now, reason.clone());
            side.reason = Some(reason);
        }
        self.touch(number)
    }

    /// Every application that has not closed yet does.
    pub(super) fn close_all(&mut self) -> Checked {
        for client in 0..self.dialers.len() {
            self.close(client)?;
            if let Some(peer) = self.sides[client].peer {
                self.close(peer)?;
            }
        }
        self.drive()
    }

    fn act_on_wires(&mut self, op: Op) -> Checked {
        let now = self.now;
        let odd = op.n % 2 == 1;
        match op.kind {
            Kind::LoseReplies => self.dialers[op.client].lose_replies = op.n,
            Kind::Offline => self.dialers[op.client].offline = odd,
            Kind::Abandon => self.abandon(op.client),
            Kind::Migrate => self.dial(op.client),
            Kind::CallBack => {
                // Both sides are at it: the hello of the initiator's own attempt is on its way.
                if self.dialers[op.client].attempt.is_none() {
                    self.dial(op.client);
                }
                self.dial(op.client);
            }
            Kind::Echo => self.echo(op),
            _ => {}
        }
        let Some(number) = self.latest_wire(op.client) else { return Ok(()) };
        let wire = &mut self.wires[number];
        let is_base = self.sides[op.client].base;
        let mut fails = true;
        match op.kind {
            Kind::Cut => wire.cut(now, [true; 2]),
            Kind::HalfOpen => wire.cut(now, [op.end == 0, op.end == 1]),
            Kind::Freeze => wire.cut(now, [false; 2]),
            Kind::CloseLink => self.end_of_link(number, op.end)?,
            kind => {
                fails = false;
                match kind {
                    Kind::CutAfter => wire.cut_after(op.end, op.n),
                    Kind::Stall => wire.stall(op.end, odd),
                    // Without numbers on control frames nobody could ever tell.
                    Kind::LoseItem if !is_base => wire.lose_item(op.end),
                    _ => {}
                }
            }
        }
        self.stats.link_failures += u64::from(fails);
        Ok(())
    }

    /// The initiator's attempt, or its current link, or any link of it that is left.
    fn latest_wire(&self, client: usize) -> Option<usize> {
        let is_mine = |wire: &&usize| {
            let wire = &self.wires[**wire];
            wire.client == client && wire.ends != [End::Down; 2]
        };
        self.live.iter().rev().find(is_mine).copied()
    }

    /// A hello arrives once more, on a link that nobody holds.
    fn echo(&mut self, op: Op) {
        let hellos = &self.dialers[op.client].hellos;
        let back = usize::try_from(op.n).unwrap_or(0) + 1;
        let Some(hello) = hellos.len().checked_sub(back).and_then(|at| hellos.get(at)) else {
            return;
        };
        let wire = self.new_wire(op.client, hello.clone());
        self.wires[wire].close(0, self.now);
        self.stats.echoes += 1;
    }

    /// The faults stop, and the applications read whatever comes. What was broken stays broken.
    pub(super) fn heal(&mut self) -> Checked {
        self.note(|_| "* the faults stop");
        self.delay = MILLISECOND;
        self.capacity = 100;
        for dialer in &mut self.dialers {
            dialer.offline = false;
            dialer.lose_replies = 0;
        }
        for index in 0..self.live.len() {
            let number = self.live[index];
            let wire = &mut self.wires[number];
            wire.heal();
            if self.sides[wire.client].base {
                // A base peer cannot be asked whether it is there; the transport's own means of
                // telling a dead link take the place of pings.
                wire.cut(self.now, [true; 2]);
            }
        }
        for side in &mut self.sides {
            side.calm_down();
        }
        self.healed_at = Some(self.now);
        self.drive()?;
        self.check()
    }
}
