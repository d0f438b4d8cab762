//! Delays between attempts: exponential, with full jitter.

use std::time::Duration;

use crate::stable::config::RedialPolicy;

/// The delays of one outage.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// How many attempts were made.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts one more attempt.
    pub(super) fn attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The delay before the next attempt; `random` is a uniformly random number.
    pub(super) fn delay(&self, policy: &RedialPolicy, random: u32) -> Duration {
        let Some(retries) = self.attempts.checked_sub(1) else { return Duration::ZERO };
        let limit = policy
            .backoff_min
            .saturating_mul(1u32.checked_shl(retries).unwrap_or(u32::MAX))
            .min(policy.backoff_max);
        limit.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_made_at_once_and_the_limit_doubles_up_to_the_maximum() {
        let policy = RedialPolicy::default();
        let mut backoff = Backoff::default();
        let mut limits = Vec::new();
        for _ in 0..40 {
            assert_eq!(backoff.delay(&policy, 0), Duration::ZERO);
            limits.push(backoff.delay(&policy, u32::MAX).as_millis());
            backoff.attempt();
        }
        assert_eq!(limits[..9], [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert!(limits[9..].iter().all(|&limit| limit == 10_000));
    }

    #[test]
    fn delays_spread_over_the_whole_range() {
        let policy = RedialPolicy::default();
        let backoff = Backoff { attempts: 1 };
        assert!((24..=25).contains(&backoff.delay(&policy, u32::MAX / 4).as_millis()));
    }
}
