//! Tells the `metrics` facade what sessions do; without the feature, does nothing at all.
//!
//! The names are listed in [`observability`](crate::observability). A driver's turn is told as the
//! difference to the last one, so that the cost does not grow with the traffic. What is here knows
//! nothing of recorders or exporters, and no label tells one session from another.

#[cfg(feature = "metrics")]
pub(crate) use on::{SessionMeter, handshake_failed};

#[cfg(not(feature = "metrics"))]
pub(crate) use off::{SessionMeter, handshake_failed};

/// Why an acceptor got no hello from a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HandshakeFailure {
    Upgrade,
    BadHello,
    ClosedEarly,
    TimedOut,
    Evicted,
    Rejected,
}

#[cfg(feature = "metrics")]
mod on {
    use metrics::{Counter, Gauge, counter, gauge};

    use super::HandshakeFailure;
    use crate::protocol::Role;
    use crate::stable::Stats;

    const ROLE: &str = "role";

    /// A peer's handshake gave no session a link.
    pub(crate) fn handshake_failed(failure: HandshakeFailure) {
        let name = match failure {
            HandshakeFailure::Upgrade => "rejoin_handshakes_upgrade_failed_total",
            HandshakeFailure::BadHello => "rejoin_handshakes_bad_hello_total",
            HandshakeFailure::ClosedEarly => "rejoin_handshakes_closed_early_total",
            HandshakeFailure::TimedOut => "rejoin_handshakes_timed_out_total",
            HandshakeFailure::Evicted => "rejoin_handshakes_evicted_total",
            HandshakeFailure::Rejected => "rejoin_handshakes_rejected_total",
        };
        counter!(name, ROLE => "acceptor").increment(1);
    }

    /// What one session adds to the figures of all.
    pub(crate) struct SessionMeter {
        opened: Counter,
        closed: Counter,
        lost: Counter,
        attempts_failed: Counter,
        violations: Counter,
        resumes: Counter,
        messages_sent: Counter,
        messages_acknowledged: Counter,
        messages_received: Counter,
        messages_replayed: Counter,
        messages_duplicate: Counter,
        bytes_sent: Counter,
        bytes_received: Counter,
        active: Gauge,
        send_log_bytes: Gauge,
        inbox_bytes: Gauge,
        is_open: bool,
        last: Stats,
    }

    impl SessionMeter {
        pub(crate) fn new(role: Role) -> Self {
            let role = match role {
                Role::Initiator => "initiator",
                Role::Acceptor => "acceptor",
            };
            Self {
                opened: counter!("rejoin_sessions_opened_total", ROLE => role),
                closed: counter!("rejoin_sessions_closed_total", ROLE => role),
                lost: counter!("rejoin_sessions_lost_total", ROLE => role),
                attempts_failed: counter!("rejoin_attempts_failed_total", ROLE => role),
                violations: counter!("rejoin_violations_total", ROLE => role),
                resumes: counter!("rejoin_resumes_total", ROLE => role),
                messages_sent: counter!("rejoin_messages_sent_total", ROLE => role),
                messages_acknowledged: counter!("rejoin_messages_acknowledged_total", ROLE => role),
                messages_received: counter!("rejoin_messages_received_total", ROLE => role),
                messages_replayed: counter!("rejoin_messages_replayed_total", ROLE => role),
                messages_duplicate: counter!("rejoin_messages_duplicate_total", ROLE => role),
                bytes_sent: counter!("rejoin_bytes_sent_total", ROLE => role),
                bytes_received: counter!("rejoin_bytes_received_total", ROLE => role),
                active: gauge!("rejoin_sessions_active", ROLE => role),
                send_log_bytes: gauge!("rejoin_send_log_bytes", ROLE => role),
                inbox_bytes: gauge!("rejoin_inbox_bytes", ROLE => role),
                is_open: false,
                last: Stats::default(),
            }
        }

        pub(crate) fn opened(&mut self) {
            if !std::mem::replace(&mut self.is_open, true) {
                self.opened.increment(1);
                self.active.increment(1.0);
            }
        }

        pub(crate) fn attempt_failed(&self) {
            self.attempts_failed.increment(1);
        }

        pub(crate) fn violation(&self) {
            self.violations.increment(1);
        }

        /// What the figures have become.
        pub(crate) fn turn(&mut self, stats: impl FnOnce() -> Stats) {
            let (now, last) = (stats(), self.last);
            for (counter, now, last) in [
                (&self.resumes, now.resumes, last.resumes),
                (&self.messages_sent, now.messages_accepted, last.messages_accepted),
                (
                    &self.messages_acknowledged,
                    now.messages_acknowledged,
                    last.messages_acknowledged,
                ),
                (&self.messages_received, now.messages_received, last.messages_received),
                (&self.messages_replayed, now.messages_replayed, last.messages_replayed),
                (&self.messages_duplicate, now.messages_duplicate, last.messages_duplicate),
                (&self.bytes_sent, now.bytes_written, last.bytes_written),
                (&self.bytes_received, now.bytes_received, last.bytes_received),
            ] {
                if now > last {
                    counter.increment(now - last);
                }
            }
            change(&self.send_log_bytes, last.send_log_bytes, now.send_log_bytes);
            change(&self.inbox_bytes, last.inbox_bytes, now.inbox_bytes);
            self.last = now;
        }

        /// The session is over. Later calls have no effect.
        pub(crate) fn ended(&mut self, lost: bool) {
            if std::mem::replace(&mut self.is_open, false) {
                if lost { &self.lost } else { &self.closed }.increment(1);
                self.active.decrement(1.0);
            }
            let last = self.last;
            self.turn(|| Stats { send_log_bytes: 0, inbox_bytes: 0, ..last });
        }
    }

    /// The gauge is the sum over all sessions, so each tells how its share has changed.
    #[expect(clippy::cast_precision_loss, reason = "a gauge of bytes is not exact beyond 2^53")]
    fn change(gauge: &Gauge, last: u64, now: u64) {
        if now > last {
            gauge.increment((now - last) as f64);
        } else if now < last {
            gauge.decrement((last - now) as f64);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use super::HandshakeFailure;
    use crate::protocol::Role;
    use crate::stable::Stats;

    pub(crate) fn handshake_failed(_: HandshakeFailure) {}

    pub(crate) struct SessionMeter;

    impl SessionMeter {
        pub(crate) fn new(_: Role) -> Self {
            Self
        }

        pub(crate) fn opened(&mut self) {}

        pub(crate) fn attempt_failed(&self) {}

        pub(crate) fn violation(&self) {}

        pub(crate) fn turn(&mut self, _: impl FnOnce() -> Stats) {}

        pub(crate) fn ended(&mut self, _: bool) {}
    }
}
