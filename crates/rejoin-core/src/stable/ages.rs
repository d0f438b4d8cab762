//! How long messages wait for their acknowledgement, measured without reading the clock for each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When the messages in a send log were accepted, to within a turn of the driver.
///
/// Invariant: the marks cover, in order, exactly the messages that are not acknowledged, except that
/// the first may begin earlier.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// Messages before this number, and not before the mark before it, were accepted then.
    marks: VecDeque<(u64, Instant)>,
    acked: u64,
    lag: Option<Lag>,
}

/// From when to when a message waited for its acknowledgement. What has to be subtracted is, when
/// somebody asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lag {
    accepted_at: Instant,
    acked_at: Instant,
}

impl Lag {
    pub(super) fn duration(self) -> Duration {
        self.acked_at.saturating_duration_since(self.accepted_at)
    }
}

impl Ages {
    /// Takes note of how many messages were accepted and acknowledged by the end of a turn.
    #[inline]
    pub(super) fn note(&mut self, now: Instant, accepted: u64, acked: u64) {
        let marked = self.marks.back().map_or(self.acked, |&(end, _)| end);
        if accepted > marked {
            self.marks.push_back((accepted, now));
        }
        if acked == self.acked {
            return;
        }
        self.acked = acked;
        // Up to the mark that covers the last message acknowledged.
        while let Some(&(end, accepted_at)) = self.marks.front() {
            self.lag = Some(Lag { accepted_at, acked_at: now });
            if end <= self.acked {
                self.marks.pop_front();
            }
            if end >= self.acked {
                break;
            }
        }
    }

    /// Gives memory back while every message is acknowledged.
    pub(super) fn trim(&mut self) {
        if self.marks.is_empty() {
            self.marks = VecDeque::new();
        }
    }

    /// When the oldest message that is not acknowledged was accepted.
    pub(super) fn oldest_at(&self) -> Option<Instant> {
        self.marks.front().map(|&(_, accepted_at)| accepted_at)
    }

    /// How long the message that was acknowledged last had waited for that.
    pub(super) fn ack_lag(&self) -> Option<Lag> {
        self.lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_and_the_latest_acknowledged() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut accepted, mut ages) = (0, Ages::default());
        let mut check = |seconds, more, acked, oldest: Option<u64>, lag: Option<u64>| {
            accepted += more;
            ages.note(at(seconds), accepted, acked);
            assert_eq!(ages.oldest_at(), oldest.map(at), "after {seconds} s");
            assert_eq!(
                ages.ack_lag().map(Lag::duration),
                lag.map(Duration::from_secs),
                "after {seconds} s"
            );
        };
        check(0, 0, 0, None, None);
        check(1, 10, 0, Some(1), None);
        check(2, 0, 0, Some(1), None);
        check(3, 10, 0, Some(1), None);
        // A part of the first ten, the rest of them, some of the next, some of the last, all.
        check(5, 0, 4, Some(1), Some(4));
        check(6, 0, 10, Some(3), Some(5));
        check(7, 10, 15, Some(3), Some(4));
        check(9, 0, 29, Some(7), Some(2));
        check(10, 0, 30, None, Some(3));
        // Accepted and acknowledged within one turn.
        check(11, 3, 33, None, Some(0));
    }
}
