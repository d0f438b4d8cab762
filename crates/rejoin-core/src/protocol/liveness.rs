//! Whether the peer on the current link is still there.
//!
//! Silence alone proves nothing: this process may have been stopped itself, and its timers with
//! it. A timer that fires late is therefore never held against the peer.

use std::time::{Duration, Instant};

/// A timer that is later than this means that this process was stopped or starved.
pub(crate) const TIMER_SLACK: Duration = Duration::from_secs(1);

/// What the silence of a peer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Dead,
}

/// Pings when the link is silent, and gives it up when it stays silent.
#[derive(Clone, Debug)]
pub(super) struct Liveness {
    ping_interval: Duration,
    dead_after: Duration,
    heard_at: Instant,
    pinged_at: Instant,
    ping_due: bool,
    tokens: u64,
    /// The latest ping, until its pong comes.
    in_flight: Option<(u64, Instant)>,
}

impl Liveness {
    pub(super) fn new(now: Instant, ping_interval: Duration, dead_after: Duration) -> Self {
        Self {
            ping_interval,
            dead_after,
            heard_at: now,
            pinged_at: now,
            ping_due: false,
            tokens: 0,
            in_flight: None,
        }
    }

    /// Something was read.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The answer to a ping was read; gives the round trip, where the ping was the latest.
    pub(super) fn pong(&mut self, now: Instant, token: u64) -> Option<Duration> {
        let (_, sent_at) = self.in_flight.take_if(|(sent, _)| *sent == token)?;
        Some(now.saturating_duration_since(sent_at))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Verdict {
        let due_at = self.next_at();
        if now < due_at {
            return Verdict::Alive;
        }
        let overslept = now.duration_since(due_at) > TIMER_SLACK;
        if overslept {
            self.heard_at = now;
        } else if now >= self.dead_at() {
            return Verdict::Dead;
        }
        self.ping_due = true;
        Verdict::Alive
    }

    /// The token of a ping to send now.
    pub(super) fn next_ping(&mut self, now: Instant) -> Option<u64> {
        if !std::mem::take(&mut self.ping_due) {
            return None;
        }
        self.tokens += 1;
        self.pinged_at = now;
        self.in_flight = Some((self.tokens, now));
        Some(self.tokens)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn next_at(&self) -> Instant {
        if self.ping_due {
            return self.dead_at();
        }
        (self.heard_at.max(self.pinged_at) + self.ping_interval).min(self.dead_at())
    }

    fn dead_at(&self) -> Instant {
        self.heard_at + self.dead_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: Duration = Duration::from_secs(5);
    const DEAD: Duration = Duration::from_secs(20);

    #[test]
    fn pings_while_silent_then_gives_up() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, PING, DEAD);
        let mut pings = 0;
        loop {
            let now = liveness.next_at();
            if liveness.handle_timeout(now) == Verdict::Dead {
                assert_eq!(now - start, DEAD);
                break;
            }
            pings += u32::from(liveness.next_ping(now).is_some());
        }
        assert_eq!(pings, 3);
    }

    #[test]
    fn a_process_that_was_stopped_gives_the_peer_another_chance() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, PING, DEAD);
        let woken = start + Duration::from_secs(3600);
        assert_eq!(liveness.handle_timeout(woken), Verdict::Alive);
        assert!(liveness.next_ping(woken).is_some(), "asks at once");
        assert_eq!(liveness.handle_timeout(woken + PING), Verdict::Alive);
        assert_eq!(liveness.handle_timeout(woken + DEAD), Verdict::Dead);
    }

    #[test]
    fn a_ping_that_cannot_be_written_does_not_spin_the_timer() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, PING, DEAD);
        assert_eq!(liveness.handle_timeout(start + PING), Verdict::Alive);
        assert_eq!(liveness.next_at(), start + DEAD);
    }

    #[test]
    fn only_the_latest_ping_measures_the_round_trip() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, PING, DEAD);
        assert_eq!(liveness.handle_timeout(start + PING), Verdict::Alive);
        let token = liveness.next_ping(start + PING).expect("a ping is due");
        let later = start + PING + Duration::from_millis(30);
        assert_eq!(liveness.pong(later, token + 1), None);
        assert_eq!(liveness.pong(later, token), Some(Duration::from_millis(30)));
        assert_eq!(liveness.pong(later, token), None);
    }
}
