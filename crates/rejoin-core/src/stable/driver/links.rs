//! How the driver's links come and go: attempts, handshakes, migrations, outages.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tracing::{debug, info};

use crate::link::LinkTx;
use crate::protocol::{
    DropCause, HandshakeError, LossReason, Profile, RejectReason, Role, ServerHello, Session,
};
use crate::random;
use crate::source::LinkSource;
use crate::stable::ages::Ages;
use crate::stable::dial::{AttemptError, NewLink, PeerHello, Want};
use crate::stable::driver::Driver;
use crate::stable::error::{ConnectError, chain};
use crate::stable::live_link::LiveLink;
use crate::stable::refuse::reject;
use crate::stable::registrar::{Registrar, Ruling};
use crate::stable::status::{Status, SuspendCause};

impl<S: LinkSource> Driver<S> {
    /// Makes a link where one is missing, and lets an acceptor's peer come back at any time.
    pub(super) fn poll_dialer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.session.is_ended() {
            return false;
        }
        let want = if self.role == Role::Acceptor || self.link.is_none() {
            Want::Link
        } else if self.is_migrating() {
            Want::Replacement
        } else if self.dialer.is_trying() {
            Want::Nothing
        } else {
            return false;
        };
        let session = &self.session;
        let polled = self.dialer.poll(cx, want, || session.client_hello(), random::number);
        match polled {
            Poll::Ready(Ok(new)) => self.admit(now, new),
            Poll::Ready(Err(error)) => self.attempt_failed(now, error),
            Poll::Pending => {
                self.publish_retry();
                return false;
            }
        }
        true
    }

    /// Tells in the status when the next attempt is made.
    fn publish_retry(&mut self) {
        let next = self.dialer.retry_at();
        if std::mem::replace(&mut self.retry_at, next) != next {
            self.shared.status.send_if_modified(|status| match status {
                Status::Suspended { retry_at, .. } => {
                    *retry_at = next;
                    true
                }
                _ => false,
            });
        }
    }

    /// Forgets a caller that has vanished before the application heard of it.
    fn start_over(&mut self) {
        self.session = Session::new(self.role, self.config.session(), random::key());
        self.ages = Ages::default();
        self.room.apply(&mut self.session, &self.shared);
        self.registrar = Registrar::alone();
        if let Some(link) = self.link.take() {
            link.close_in_background();
        }
    }

    fn unreachable(&mut self, source: io::Error) {
        self.session.abort(LossReason::OutageLimit);
        let attempts = self.dialer.attempts();
        self.report_opened(Err(ConnectError::Unreachable { attempts, source }));
    }

    fn admit(&mut self, now: Instant, new: NewLink<S::Link>) {
        let payload_bytes_max = new.tx.payload_bytes_max();
        let admitted = match &new.hello {
            // Whoever does not know the session is of no concern to it while its link works.
            PeerHello::Server(ServerHello::Rejected { reason, .. }) if self.link.is_some() => {
                Err(HandshakeError::Refused(*reason))
            }
            PeerHello::Server(answer) => self
                .session
                .handle_server_hello(now, answer, payload_bytes_max)
                .map(|generation| (generation, None)),
            PeerHello::Client(hello, key) => match self.registrar.rule(hello, *key) {
                Ruling::Admit(key) => self
                    .session
                    .handle_client_hello(now, hello, key, payload_bytes_max)
                    .map(|(generation, answer)| {
                        self.registrar.answer_with(generation, key);
                        (generation, Some(answer))
                    }),
                Ruling::Refuse(reason) => {
                    self.registrar.count_rejected();
                    return reject(new, reason);
                }
                Ruling::PeerRestarted if self.opened.is_some() => {
                    self.start_over();
                    return self.admit(now, new);
                }
                Ruling::PeerRestarted => {
                    self.session.abort(LossReason::PeerRestarted);
                    return;
                }
            },
        };
        let (generation, answer) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                debug!(peer = %new.peer, %error, "handshake failed");
                if let PeerHello::Client(..) = new.hello {
                    self.registrar.count_rejected();
                    reject(
                        new,
                        match error {
                            HandshakeError::Refused(reason) => reason,
                            _ => RejectReason::UnknownKey,
                        },
                    );
                } else if self.link.is_some() {
                    self.schedule_better(now);
                    self.migrated(Some(&std::io::Error::other(error)));
                } else if !self.session.is_ended() {
                    self.attempt_spent(now, io::Error::other(error));
                }
                return;
            }
        };
        info!(peer = %new.peer, generation = generation.get(), "link up");
        let status =
            Status::Connected { generation: generation.get(), peer: new.peer, going_away: None };
        let mut link = LiveLink::new(now, generation, new.tx, new.rx);
        if let Some(answer) = answer {
            link.send_first(Bytes::copy_from_slice(&answer.encode()));
        }
        if let Some(replaced) = self.link.replace(link) {
            replaced.close_in_background();
            // There was no outage, so the next attempt is not one of the same.
            self.dialer.settle();
        }
        self.progress_before = self.progress();
        self.link_proved = false;
        self.link_going_away = false;
        self.shared.status.send_replace(status);
        self.schedule_better(now);
        self.migrated(None);
        // A base-profile peer may never say anything; an extended one proves itself by its settings.
        if self.role == Role::Initiator || self.session.profile() == Some(Profile::Base) {
            self.report_opened(Ok(()));
        }
    }

    fn attempt_failed(&mut self, now: Instant, failed: AttemptError) {
        let AttemptError { error, fatal, better } = failed;
        self.meter.attempt_failed();
        debug!(%error, fatal, better, attempts = self.dialer.attempts(), "no link");
        if better && self.link.is_some() {
            return self.schedule_better(now);
        }
        if self.link.is_some() {
            self.dialer.settle();
            self.migrated(Some(&error));
        }
        if fatal && self.opened.is_some() {
            self.session.abort(LossReason::Source(chain(&error)));
            self.report_opened(Err(ConnectError::Fatal(error)));
        } else if fatal && self.link.is_none() {
            self.session.abort(LossReason::Source(chain(&error)));
        } else if fatal {
            self.source_failed = Some(chain(&error));
        } else if self.link.is_none() && self.role == Role::Initiator {
            self.attempt_spent(now, error);
        }
    }

    /// An attempt to make a link where there is none has failed, and another may be made.
    fn attempt_spent(&mut self, now: Instant, error: io::Error) {
        let attempts_max = self.config.redial.attempts_max;
        let was_last = attempts_max.is_some_and(|max| self.dialer.attempts() >= max);
        if self.opened.is_some() && (was_last || now >= self.connect_by) {
            self.unreachable(error);
        } else if was_last {
            self.session.abort(LossReason::OutageLimit);
        } else {
            self.suspended(now, SuspendCause::AttemptFailed(chain(&error).into()));
        }
    }

    pub(super) fn drop_link(&mut self, now: Instant, cause: DropCause) {
        let Some(link) = self.link.take() else { return };
        self.better_at = None;
        match cause {
            DropCause::PeerDead => {
                self.settle(now, &link);
                self.suspended(now, SuspendCause::PeerSilent);
            }
            DropCause::AckWanted => {
                link.close_in_background();
                self.dialer.settle();
                self.suspended(now, SuspendCause::PositionWanted);
            }
            DropCause::Replaced => link.close_in_background(),
        }
    }

    pub(super) fn link_down(&mut self, now: Instant, cause: SuspendCause) {
        let Some(link) = self.link.take() else { return };
        self.better_at = None;
        self.session.handle_link_down(now, link.generation());
        self.settle(now, &link);
        let closed = matches!(cause, SuspendCause::LinkClosed | SuspendCause::LinkFailed(_));
        if closed && self.dialer.is_shaking_hands() {
            // The peer lets go of this link when it moves over to the other one, and its answer
            // there may come second. If none comes, that attempt fails, and soon.
            debug!(generation = link.generation().get(), %cause, "link down while another comes up");
            return;
        }
        self.suspended(now, cause);
    }

    /// A link that was of use ends the outage before it, and so does one that only came up, but not
    /// a second of them in a row: a peer that breaks each link after the handshake would be called
    /// again and again without a pause.
    fn settle(&mut self, now: Instant, link: &LiveLink) {
        let was_of_use = self.progress() != self.progress_before
            || link.age(now) >= self.config.redial.backoff_max;
        if was_of_use || (self.link_proved && self.last_was_of_use) {
            self.dialer.settle();
        }
        self.last_was_of_use = was_of_use;
    }

    /// Grows with every message that gets through, either way.
    fn progress(&self) -> u64 {
        self.session.received() + self.session.log().acked()
    }

    pub(super) fn suspended(&mut self, now: Instant, cause: SuspendCause) {
        info!(%cause, "link down");
        if let Some(error) = self.source_failed.take() {
            self.session.abort(LossReason::Source(error));
            return;
        }
        if self.opened.is_some() {
            if self.role == Role::Initiator && now >= self.connect_by {
                self.unreachable(io::Error::other(cause.to_string()));
            }
            let attempts = self.dialer.attempts();
            self.shared.status.send_replace(Status::Connecting { attempts });
            return;
        }
        self.shared.status.send_replace(Status::Suspended {
            cause,
            attempts: self.dialer.attempts(),
            retry_at: self.dialer.retry_at(),
        });
    }
}
