//! The driver: the one owner of a session's state, of its link and of its timers.
//!
//! One task per conduit. Each turn takes what the handles have put down, reads from the link,
//! writes to it, and publishes the results, a batch at a time; the task sleeps when a turn finds
//! nothing to do. What is to be sent when is the session's business, not the driver's.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;
use tracing::{debug, info, warn};

use crate::handover::Migration;
use crate::link::{Link, LinkTx};
use crate::protocol::{
    ClientHello, CloseReason, DropCause, Ending, Event, HandshakeError, LossReason, Profile,
    RejectReason, Role, ServerHello, Session,
};
use crate::random;
use crate::source::LinkSource;
use crate::stable::allowance::{Budget, Room};
use crate::stable::config::StableConfig;
use crate::stable::dial::{AttemptError, Dialer, NewLink, PeerHello};
use crate::stable::error::ConnectError;
use crate::stable::live_link::LiveLink;
use crate::stable::offers::Offers;
use crate::stable::registrar::{Registrar, Ruling};
use crate::stable::shared::Shared;
use crate::stable::status::{Status, SuspendCause};

/// How many turns the driver takes before it lets other tasks run.
const TURNS_MAX: usize = 32;

/// Is told once whether the conduit came about.
pub(super) type Opened = Box<dyn FnOnce(Result<(), ConnectError>) + Send>;

/// Drives one conduit until its session is over.
pub(super) struct Driver<S: LinkSource> {
    session: Session,
    shared: Arc<Shared>,
    config: Arc<StableConfig>,
    role: Role,
    dialer: Dialer<S>,
    registrar: Registrar,
    room: Room,
    link: Option<LiveLink>,
    /// Present until the conduit came about or failed to.
    opened: Option<Opened>,
    /// When an initiator gives up making its first link.
    connect_by: Instant,
    /// What the last attempt to make it failed with.
    connect_error: Option<io::Error>,
    closed_by_peer: Option<CloseReason>,
    /// Whether this side closes.
    closing: bool,
    /// Why there will be no further link, where the source said so while there was one.
    source_failed: Option<String>,
    /// What [`progress`](Self::progress) was when the current link came up.
    progress_before: u64,
    /// Whether the peer has shown itself on the current link.
    link_proved: bool,
    last_was_of_use: bool,
    /// What the status says of the next attempt.
    retry_at: Option<tokio::time::Instant>,
    abandoned: bool,
    /// Items that wait to be written at once or given back, oldest first.
    offers: Offers,
    /// Those who want a new link in place of one that works.
    migrations: Vec<Migration>,
    timer: Pin<Box<Sleep>>,
    payloads: Vec<Bytes>,
    items: VecDeque<Bytes>,
}

impl<S: LinkSource> Driver<S> {
    pub(super) fn new(
        source: S,
        config: Arc<StableConfig>,
        shared: Arc<Shared>,
        registrar: Registrar,
        budget: Option<&Arc<Budget>>,
        opened: Opened,
    ) -> Self {
        let role = source.role();
        let mut driver = Self {
            session: Session::new(role, config.session(), random::key()),
            room: Room::new(&config, budget),
            dialer: Dialer::new(source, Arc::clone(&config)),
            connect_by: now() + config.redial.connect_limit,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            shared,
            config,
            role,
            registrar,
            link: None,
            opened: Some(opened),
            connect_error: None,
            closed_by_peer: None,
            closing: false,
            source_failed: None,
            progress_before: 0,
            link_proved: false,
            last_was_of_use: true,
            retry_at: None,
            abandoned: false,
            offers: Offers::default(),
            migrations: Vec::new(),
            payloads: Vec::new(),
            items: VecDeque::new(),
        };
        driver.room.apply(&mut driver.session, &driver.shared);
        driver
    }

    /// Takes one turn; gives whether it changed anything.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let now = now();
        let mut busy = self.take_requests(cx, now);
        busy |= self.poll_dialer(cx, now);
        busy |= self.read(cx, now);
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.handle_timeout(now);
            busy = true;
        }
        busy |= self.handle_events(now);
        busy |= self.write(cx, now);
        busy |= self.handle_events(now);
        // What comes after the end was published with it; the log has been emptied since, and must
        // not look acknowledged.
        if busy && !self.session.is_ended() {
            self.publish();
        }
        busy
    }

    /// What the handles want.
    fn take_requests(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(requests) = self.shared.outbox.take(cx.waker()) else { return false };
        for batch in requests.batches {
            self.session.append(batch);
        }
        if requests.consumed > 0 {
            self.session.consume(requests.consumed);
            self.room.consume(requests.consumed);
        }
        if requests.reconnect {
            self.dialer.hurry();
        }
        let log_full = self.room.is_log_full(&self.session);
        self.session.set_ack_wanted(requests.ack_wanted || log_full);
        if let Some(count) = requests.acknowledged {
            self.session.acknowledge(now, count);
        }
        if let Some(retry_after) = requests.going_away {
            self.session.go_away(retry_after);
        }
        self.offers.extend(requests.offers);
        self.migrations.extend(requests.migrations);
        if self.role == Role::Acceptor && !self.migrations.is_empty() {
            let error = std::io::ErrorKind::Unsupported.into();
            self.migrated(Some(&error));
        }
        if let Some(reason) = requests.close {
            self.closing = true;
            self.session.close(now, reason);
        }
        if requests.abandoned && !self.abandoned {
            self.abandoned = true;
            self.shared.outbox.close(CloseReason::default());
        }
        if self.abandoned && self.opened.is_some() && self.session.log().is_empty() {
            self.session.abort(LossReason::Stopped);
        }
        true
    }

    /// Makes a link where one is missing, and lets an acceptor's peer come back at any time.
    fn poll_dialer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let wanted = self.role == Role::Acceptor || self.link.is_none() || self.is_migrating();
        if self.session.is_ended() || !wanted {
            return false;
        }
        let session = &self.session;
        let polled = self.dialer.poll(cx, || session.client_hello(), random::number);
        match polled {
            Poll::Ready(Ok(new)) => self.admit(now, new),
            Poll::Ready(Err(error)) => self.attempt_failed(now, error),
            Poll::Pending => {
                self.publish_retry();
                return self.give_up_connecting();
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

    /// Whether somebody still waits for a new link in place of one that works.
    fn is_migrating(&mut self) -> bool {
        self.migrations.retain(|migration| !migration.is_closed());
        !self.migrations.is_empty()
    }

    fn migrated(&mut self, error: Option<&std::io::Error>) {
        for migration in self.migrations.drain(..) {
            // An error means that nobody waits any more.
            let _ = migration.send(match error {
                None => Ok(()),
                Some(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
            });
        }
    }

    /// Forgets a caller that has vanished before the application heard of it.
    fn start_over(&mut self) {
        self.session = Session::new(self.role, self.config.session(), random::key());
        self.room.apply(&mut self.session, &self.shared);
        self.registrar = Registrar::alone();
        if let Some(link) = self.link.take() {
            link.close_in_background();
        }
    }

    /// Ends the wait for a first link where the next attempt would come too late; gives whether it
    /// did.
    fn give_up_connecting(&mut self) -> bool {
        let too_late = self.dialer.retry_at().is_some_and(|at| at.into_std() > self.connect_by);
        if self.role != Role::Initiator || self.opened.is_none() || !too_late {
            return false;
        }
        let Some(source) = self.connect_error.take() else { return false };
        self.unreachable(source);
        true
    }

    fn unreachable(&mut self, source: io::Error) {
        self.session.abort(LossReason::OutageLimit);
        let attempts = self.dialer.attempts();
        self.report_opened(Err(ConnectError::Unreachable { attempts, source }));
    }

    fn admit(&mut self, now: Instant, new: NewLink<S::Link>) {
        let payload_bytes_max = new.tx.payload_bytes_max();
        let admitted = match &new.hello {
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
                Ruling::Refuse(reason) => return reject(new, reason),
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
                    reject(
                        new,
                        match error {
                            HandshakeError::Refused(reason) => reason,
                            _ => RejectReason::UnknownKey,
                        },
                    );
                } else if self.link.is_some() {
                    self.migrated(Some(&std::io::Error::other(error)));
                } else if !self.session.is_ended() {
                    self.suspended(now, SuspendCause::AttemptFailed(error.to_string().into()));
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
        }
        self.progress_before = self.progress();
        self.link_proved = false;
        self.shared.status.send_replace(status);
        self.migrated(None);
        // A base-profile peer may never say anything; an extended one proves itself by its settings.
        if self.role == Role::Initiator || self.session.profile() == Some(Profile::Base) {
            self.report_opened(Ok(()));
        }
    }

    fn attempt_failed(&mut self, now: Instant, AttemptError { error, fatal }: AttemptError) {
        debug!(%error, fatal, attempts = self.dialer.attempts(), "no link");
        if self.link.is_some() {
            self.dialer.settle();
            self.migrated(Some(&error));
        }
        if fatal && self.opened.is_some() {
            self.session.abort(LossReason::Source(error.to_string()));
            self.report_opened(Err(ConnectError::Fatal(error)));
        } else if fatal && self.link.is_none() {
            self.session.abort(LossReason::Source(error.to_string()));
        } else if fatal {
            self.source_failed = Some(error.to_string());
        } else if self.opened.is_some() && self.role == Role::Initiator && now >= self.connect_by {
            self.unreachable(error);
        } else if self.link.is_none() && self.role == Role::Initiator {
            self.suspended(now, SuspendCause::AttemptFailed(error.to_string().into()));
            self.connect_error = Some(error);
        }
    }

    /// Reads what the link has at hand.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(link) = &mut self.link else { return false };
        // A base-profile peer knows no window: all that slows it down is that nobody reads.
        let held_back = self.session.profile() == Some(Profile::Base)
            && self.session.inbox_cost() >= self.room.window();
        let ended = if held_back { Poll::Pending } else { link.poll_read(cx, &mut self.payloads) };
        let generation = link.generation();
        let busy = !self.payloads.is_empty() || ended.is_ready();
        if !busy && let Some(error) = link.take_write_error() {
            self.link_down(now, SuspendCause::LinkFailed(error.to_string().into()));
            return true;
        }
        let mut violation = None;
        for payload in self.payloads.drain(..) {
            match self.session.handle_frame(now, generation, payload) {
                Ok(Some(item)) => self.items.push_back(item),
                Ok(None) => {}
                Err(error) => {
                    violation = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = violation {
            let mut cause = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                cause = format!("{cause}: {source}");
            }
            warn!(generation = generation.get(), cause, "protocol violation");
            self.link_down(now, SuspendCause::Violation(cause.into()));
        } else if let Poll::Ready(result) = ended {
            self.link_down(
                now,
                match result {
                    Ok(()) => SuspendCause::LinkClosed,
                    Err(error) => SuspendCause::LinkFailed(error.to_string().into()),
                },
            );
        }
        busy
    }

    /// Writes what the session has to say, as far as the link takes it.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(link) = &mut self.link else { return false };
        // A failure is dealt with in the next turn, after what there is to read; nothing else would
        // lead to that turn.
        let mut busy = link.poll_write(cx, now);
        if link.is_idle() {
            self.offers.accept(now, &mut self.session, &self.shared.outbox);
        }
        let session = &mut self.session;
        if link.fill(now, || session.poll_transmit(now)) {
            busy = true;
            let _failed = link.poll_write(cx, now);
        }
        busy
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.offers.expire(now);
        self.session.handle_timeout(now);
        let stalled_at = self.link.as_ref().and_then(LiveLink::writing_since);
        if stalled_at.is_some_and(|since| since + self.config.peer_dead_after <= now) {
            self.link_down(now, SuspendCause::WriteStalled);
        }
    }

    fn handle_events(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(event) = self.session.poll_event() {
            busy = true;
            match event {
                Event::KeyProved(link) => {
                    self.registrar.proved(link);
                    self.link_proved = true;
                    self.report_opened(Ok(()));
                    if let Some(bytes_max) = self.session.peer_item_bytes_max() {
                        self.shared.outbox.limit_items(bytes_max);
                    }
                }
                Event::DropLink { link, cause } => {
                    if self.link.as_ref().is_some_and(|live| live.generation() == link) {
                        self.drop_link(now, cause);
                    }
                }
                Event::GoingAway { retry_after } => {
                    info!(?retry_after, "the peer is going away");
                    let retry_at = tokio::time::Instant::from_std(now)
                        .checked_add(retry_after.min(self.config.outage_max));
                    if let Some(retry_at) = retry_at {
                        self.dialer.postpone(retry_at);
                    }
                    self.shared.status.send_if_modified(|status| match status {
                        Status::Connected { going_away, .. } => {
                            *going_away = Some(retry_after);
                            true
                        }
                        _ => false,
                    });
                }
                Event::PeerClosed(reason) => {
                    debug!(code = reason.code(), "the peer closed");
                    // An answer to our own close says nothing.
                    if !self.closing || reason != CloseReason::default() {
                        self.closed_by_peer.get_or_insert(reason);
                    }
                    self.shared.inbox.put(&mut self.items);
                    self.shared.inbox.end(true);
                    // What was accepted until now still goes out, then this side closes, too.
                    self.shared.outbox.close(CloseReason::default());
                }
                Event::CloseConfirmed => {
                    self.shared.receipts.send_modify(|it| it.close_confirmed = true);
                }
                Event::Ended(ending) => self.finish(ending),
            }
        }
        busy
    }

    fn drop_link(&mut self, now: Instant, cause: DropCause) {
        let Some(link) = self.link.take() else { return };
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

    fn link_down(&mut self, now: Instant, cause: SuspendCause) {
        let Some(link) = self.link.take() else { return };
        self.session.handle_link_down(now, link.generation());
        self.settle(now, &link);
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

    fn suspended(&mut self, now: Instant, cause: SuspendCause) {
        info!(%cause, "link down");
        if let Some(error) = self.source_failed.take() {
            self.session.abort(LossReason::Source(error));
            return;
        }
        if self.opened.is_some() {
            let error = io::Error::other(cause.to_string());
            if self.role == Role::Initiator && now >= self.connect_by {
                self.unreachable(error);
            } else {
                self.connect_error = Some(error);
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

    fn report_opened(&mut self, result: Result<(), ConnectError>) {
        if let Some(opened) = self.opened.take() {
            opened(result);
        }
    }

    /// Makes the results of this turn known to the handles.
    fn publish(&mut self) {
        if !self.items.is_empty() {
            self.shared.inbox.put(&mut self.items);
        }
        let log = self.session.log();
        let (acknowledged, cost_acked) = (log.acked(), log.cost_acked());
        let news = self.shared.receipts.send_if_modified(|receipts| {
            let news = receipts.acknowledged != acknowledged;
            receipts.acknowledged = acknowledged;
            news
        });
        if news {
            self.shared.outbox.release(cost_acked, self.session.take_spare());
        }
        self.room.adjust(&mut self.session, &self.shared);
        self.shared.publish_stats(&self.session);
    }

    fn finish(&mut self, ending: Ending) {
        self.shared.outbox.end();
        // Items accepted since the last turn go with the others.
        if let Some(requests) = self.shared.outbox.take(std::task::Waker::noop()) {
            for batch in requests.batches {
                self.session.append(batch);
            }
        }
        self.publish();
        let lost = match ending {
            Ending::Closed => None,
            Ending::Lost(reason) => Some(reason),
        };
        info!(lost = lost.as_ref().map(tracing::field::display), "session over");
        self.registrar.remove(lost.is_none());
        if let Some(link) = self.link.take() {
            link.close_in_background();
        }
        if let Some(reason) = &lost {
            self.report_opened(Err(ConnectError::Refused(reason.clone())));
        }
        let unacknowledged = self.session.take_unacknowledged();
        self.shared.end(lost.clone(), unacknowledged);
        self.shared.status.send_replace(match lost {
            None => Status::Closed { by_peer: self.closed_by_peer.take() },
            Some(reason) => Status::Lost(reason),
        });
    }

    fn next_timeout(&self) -> Option<Instant> {
        let stalled = self.link.as_ref().and_then(LiveLink::writing_since);
        let stalled = stalled.map(|since| since + self.config.peer_dead_after);
        [self.session.poll_timeout(), stalled, self.offers.next_at()].into_iter().flatten().min()
    }

    /// Whether the timer has fired; otherwise it wakes the driver when the next time-out is due.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.next_timeout() else { return false };
        let at = tokio::time::Instant::from_std(at);
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl<S: LinkSource> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        for _ in 0..TURNS_MAX {
            let busy = driver.turn(cx);
            if driver.session.is_ended() {
                return Poll::Ready(());
            }
            if !busy && !driver.poll_timer(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: LinkSource> Drop for Driver<S> {
    /// A driver that is dropped before its session is over was stopped with its runtime.
    fn drop(&mut self) {
        self.registrar.remove(false);
        self.shared.end(Some(LossReason::Stopped), self.session.take_unacknowledged());
        self.shared.status.send_if_modified(|status| {
            let stopped = !status.is_final();
            if stopped {
                *status = Status::Lost(LossReason::Stopped);
            }
            stopped
        });
    }
}

impl<S: LinkSource> Unpin for Driver<S> {}

/// The time by which a driver acts: the runtime's, so that it can be paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Tells the peer that there is no session for it, and closes the link.
pub(super) fn reject<L: Link>(new: NewLink<L>, reason: RejectReason) {
    let PeerHello::Client(hello, _) = &new.hello else { return };
    debug!(peer = %new.peer, %reason, "handshake rejected");
    refuse(new.tx, hello, reason);
}

/// As [`reject`], for a link of which only the sending half is at hand.
pub(super) fn refuse(mut tx: impl LinkTx, hello: &ClientHello, reason: RejectReason) {
    let answer = ServerHello::Rejected { profile: hello.profile(), reason }.encode();
    crate::stable::live_link::in_background(async move {
        tx.send(&[], Bytes::copy_from_slice(&answer)).await?;
        tx.close().await
    });
}
