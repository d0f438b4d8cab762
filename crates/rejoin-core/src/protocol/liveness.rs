//! Whether the peer on the current link is still there.
//!
//! Silence alone proves nothing: this process may have been stopped itself, and its timers with
//! it. A timer that fires late is therefore never held against the peer.

use std::time::{Duration, Instant};

/// A timer that is later than this means that this process was stopped or starved.
///
/// In proportion to the time-out: were it not, a process that was stopped for a part of a short
/// time-out would hold all of it against the peer. So the peer of which nothing was heard had at
/// least three quarters of the time-out. Yet no less than timers are late on a machine that is
/// merely busy, or else a peer that is dead would be excused for ever.
pub(crate) fn timer_slack(dead_after: Duration) -> Duration {
    const SLACK_MIN: Duration = Duration::from_millis(10);
    const SLACK_MAX: Duration = Duration::from_secs(1);
    (dead_after / 4).clamp(SLACK_MIN, SLACK_MAX)
}

/// The earlier of two times, of which either may be never.
#[inline]
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

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
    /// Whether this process was stopped since something was heard.
    excused: bool,
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
            excused: false,
            tokens: 0,
            in_flight: None,
        }
    }

    /// Something was read.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.excused = false;
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
        let late = now.duration_since(due_at);
        if late > timer_slack(self.dead_after) {
            // From the second time on, only what was slept through is forgiven: a machine on which
            // every timer is late must get to its verdict, too.
            let before = std::mem::replace(&mut self.excused, true);
            self.heard_at = if before { self.heard_at + late } else { now };
        }
        if now >= self.dead_at() {
            return Verdict::Dead;
        }
        self.ping_due = true;
        Verdict::Alive
    }

    /// Whether there is a ping to send now.
    pub(super) fn is_ping_due(&self) -> bool {
        self.ping_due
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

    /// With a short time-out, what was slept through counts as little as with a long one.
    #[test]
    fn what_is_late_is_in_proportion_to_the_time_out() {
        let millis = Duration::from_millis;
        let check = |dead_after: Duration, late: Duration, verdict: Verdict| {
            let start = Instant::now();
            let mut liveness = Liveness::new(start, dead_after / 2, dead_after);
            assert_eq!(liveness.handle_timeout(start + dead_after / 2), Verdict::Alive);
            assert_eq!(liveness.next_at(), start + dead_after, "nothing could be written");
            let woken = start + dead_after + late;
            assert_eq!(liveness.handle_timeout(woken), verdict, "{dead_after:?}, {late:?}");
        };
        check(DEAD, millis(1000), Verdict::Dead);
        check(DEAD, millis(1001), Verdict::Alive);
        check(millis(400), millis(100), Verdict::Dead);
        check(millis(400), millis(101), Verdict::Alive);
        check(millis(400), millis(900), Verdict::Alive);
        // Timers have a grain of a millisecond, and busy machines a coarser one.
        check(millis(2), millis(10), Verdict::Dead);
        check(millis(2), millis(11), Verdict::Alive);
    }

    /// On a machine that is always late a dead peer is found out, if later.
    #[test]
    fn a_process_that_is_always_late_gets_to_its_verdict() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, PING, DEAD);
        let mut now = start;
        while liveness.handle_timeout(now) == Verdict::Alive {
            let _ = liveness.next_ping(now);
            now = liveness.next_at() + Duration::from_secs(3);
            assert!(now < start + 10 * DEAD, "never");
        }
        assert!(now >= start + 2 * DEAD, "not before it was awake for so long");
        // What is heard begins it all anew.
        liveness.heard(now);
        let woken = now + Duration::from_secs(3600);
        assert_eq!(liveness.handle_timeout(woken), Verdict::Alive);
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
