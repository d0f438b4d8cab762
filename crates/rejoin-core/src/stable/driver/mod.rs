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
use crate::meter::SessionMeter;
use crate::protocol::{CloseReason, Ending, Event, LossReason, Profile, Role, Session, earlier};
use crate::random;
use crate::source::LinkSource;
use crate::stable::ages::Ages;
use crate::stable::allowance::{Budget, Room};
use crate::stable::config::StableConfig;
use crate::stable::dial::Dialer;
use crate::stable::error::ConnectError;
use crate::stable::live_link::LiveLink;
use crate::stable::offers::Offers;
use crate::stable::packing::pack;
use crate::stable::registrar::Registrar;
use crate::stable::shared::Shared;
use crate::stable::status::{Status, SuspendCause};

mod links;
mod moving;

/// How many turns the driver takes before it lets other tasks run.
const TURNS_MAX: usize = 32;
/// How much it puts down for the application before it lets it run: what was read just now is
/// still in the caches then.
const READ_BYTES_MAX: usize = 256 * 1024;

/// How often memory that is not needed any more is given back.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

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
    /// Whether the peer has said on the current link that it will end soon.
    link_going_away: bool,
    last_was_of_use: bool,
    /// What the status says of the next attempt.
    retry_at: Option<tokio::time::Instant>,
    abandoned: bool,
    /// Items that wait to be written at once or given back, oldest first.
    offers: Offers,
    ages: Ages,
    /// Those who want a new link in place of one that works.
    migrations: Vec<Migration>,
    /// When to look for a better link than the one in use.
    better_at: Option<Instant>,
    /// When to give back memory that was used and is no longer.
    trim_at: Option<Instant>,
    meter: SessionMeter,
    /// Set for the next time-out or for an earlier time, see [`poll_timer`](Self::poll_timer).
    timer: Pin<Box<Sleep>>,
    /// Whether a time-out is due.
    due: bool,
    /// Whether the session may have something to send that the link was not given yet.
    transmit_due: bool,
    /// How many bytes were read in the present poll.
    read_bytes: usize,
    /// What the handles know to be acknowledged.
    acked_published: u64,
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
            link_going_away: false,
            last_was_of_use: true,
            retry_at: None,
            abandoned: false,
            offers: Offers::default(),
            ages: Ages::default(),
            migrations: Vec::new(),
            better_at: None,
            trim_at: None,
            meter: SessionMeter::new(role),
            due: false,
            transmit_due: false,
            read_bytes: 0,
            acked_published: 0,
            payloads: Vec::new(),
            items: VecDeque::new(),
        };
        driver.room.apply(&mut driver.session, &driver.shared);
        driver
    }

    /// Takes one turn; gives whether it changed anything.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut busy = self.take_requests(cx, now);
        busy |= self.poll_dialer(cx, now);
        busy |= self.read(cx, now);
        if std::mem::take(&mut self.due) {
            self.handle_timeout(now);
            busy = true;
        }
        busy |= self.handle_events(now);
        self.transmit_due |= busy;
        busy |= self.write(cx, now);
        if self.handle_events(now) {
            busy = true;
            self.transmit_due = true;
        }
        // What comes after the end was published with it; the log has been emptied since, and must
        // not look acknowledged.
        if busy && !self.session.is_ended() {
            self.publish(now);
        }
        busy
    }

    /// What the handles want.
    fn take_requests(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        // Without a link, items stay where they are, and their age begins to count. With one, they
        // are taken when everything before them is written.
        let wake_on_items = self.link.is_none();
        let Some(requests) = self.shared.outbox.take(cx.waker(), wake_on_items) else {
            return false;
        };
        if requests.consumed > 0 {
            self.session.consume(requests.consumed);
            self.room.consume(requests.consumed);
        }
        if requests.reconnect {
            self.dialer.hurry();
        }
        self.session.set_ack_wanted(requests.ack_wanted);
        if let Some(count) = requests.acknowledged {
            self.session.acknowledge(now, count);
        }
        if let Some(retry_after) = requests.going_away {
            self.session.go_away(retry_after);
        }
        if !requests.offers.is_empty() || requests.withdrawn > 0 {
            self.offers.extend(requests.offers);
            self.offers.withdraw(requests.withdrawn);
        }
        self.migrations.extend(requests.migrations);
        self.refuse_migrations();
        if let Some(reason) = requests.close {
            self.closing = true;
            self.offers.refuse_all();
            self.take_items();
            self.session.close(now, reason);
        }
        if requests.abandoned && !self.abandoned {
            self.abandoned = true;
            self.shared.outbox.close(CloseReason::default());
        }
        if self.abandoned && self.opened.is_some() && self.shared.outbox.depth().1 == 0 {
            self.session.abort(LossReason::Stopped);
        }
        true
    }

    /// Moves the items that were accepted to the session.
    fn take_items(&mut self) {
        self.shared.outbox.take_items(|batch| self.session.append(batch));
    }

    /// Reads what the link has at hand.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(link) = &mut self.link else {
            self.room.link_gone(self.session.inbox_cost());
            return false;
        };
        // A base-profile peer knows no window: all that slows it down is that nobody reads.
        let inbox = self.session.inbox_cost();
        let partial = link.partial();
        let mut held_back = !self.room.may_read(now, partial, inbox);
        if self.room.holds_others_up(now, partial) {
            self.link_down(now, SuspendCause::TooSlow);
            return true;
        }
        if self.session.profile() == Some(Profile::Base) {
            let room = self.room.window().saturating_sub(inbox);
            held_back |= room == 0;
            link.limit_read(room);
        }
        let ended = if held_back { Poll::Pending } else { link.poll_read(cx, &mut self.payloads) };
        let generation = link.generation();
        if link.has_read_on() {
            self.session.handle_progress(now, generation);
        }
        let busy = !self.payloads.is_empty() || ended.is_ready();
        if !busy && let Some(error) = link.take_write_error() {
            self.link_down(now, SuspendCause::LinkFailed(error.to_string().into()));
            return true;
        }
        if !busy {
            return false;
        }
        let mut violation = None;
        let (first, mut carried) = (self.items.len(), 0);
        // In one step, and with room for the next batch of about the same size.
        self.items.reserve_exact(self.payloads.len().next_power_of_two());
        for payload in self.payloads.drain(..) {
            carried += payload.len();
            match self.session.handle_frame(now, generation, payload) {
                Ok(Some(item)) => self.items.push_back(item),
                Ok(None) => {}
                Err(error) => {
                    violation = Some(error);
                    break;
                }
            }
        }
        pack(&mut self.items, first, carried);
        self.read_bytes += carried;
        if let Some(error) = violation {
            let mut cause = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                cause = format!("{cause}: {source}");
            }
            self.meter.violation();
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
            // Only when all others are written, so that few that come one by one do not become as many
            // batches. Nobody wakes the driver for them until then.
            let appended = self.session.log().appended();
            if self.session.log().is_written() {
                self.take_items();
            }
            self.offers.accept(now, &mut self.session, &self.shared.outbox);
            self.transmit_due |= self.session.log().appended() != appended;
        }
        let Some(link) = &mut self.link else { return busy };
        if self.transmit_due {
            let (session, due) = (&mut self.session, &mut self.transmit_due);
            let next = || {
                let transmit = session.poll_transmit(now);
                *due = transmit.is_some();
                transmit
            };
            if link.fill(now, next) {
                busy = true;
                let _failed = link.poll_write(cx, now);
            }
        }
        if link.has_written_on() {
            self.session.handle_progress(now, link.generation());
        }
        busy
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.offers.expire(now);
        self.session.handle_timeout(now);
        if self.better_at.is_some_and(|at| at <= now) {
            self.seek_better(now);
        }
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim(now);
        }
        let dead_after = self.config.peer_dead_after;
        if self.link.as_mut().is_some_and(|link| link.has_stalled(now, dead_after)) {
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
                    // Once for each link: a peer may say it as often as it likes.
                    if !std::mem::replace(&mut self.link_going_away, true) {
                        info!(?retry_after, "the peer is going away");
                    }
                    // Whoever asks for more than that asks for the end of the session, which this
                    // side does not give without an attempt.
                    let delay = retry_after.min(self.config.outage_max / 2);
                    self.dialer.postpone(tokio::time::Instant::from_std(now) + delay);
                    self.shared.status.send_if_modified(|status| match status {
                        Status::Connected { going_away, .. } => {
                            going_away.replace(retry_after) != Some(retry_after)
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
                Event::Ended(ending) => self.finish(now, ending),
            }
        }
        busy
    }

    /// Gives memory back that was not needed since the last time.
    fn trim(&mut self, now: Instant) {
        let more = [self.shared.outbox.trim(), self.shared.inbox.trim()];
        self.trim_at = more.contains(&true).then(|| now + TRIM_INTERVAL);
        self.payloads = Vec::new();
        self.items.shrink_to(0);
        self.session.trim();
        self.ages.trim();
        if let Some(link) = &mut self.link {
            link.trim();
        }
    }

    fn report_opened(&mut self, result: Result<(), ConnectError>) {
        if let Some(opened) = self.opened.take() {
            if result.is_ok() {
                self.meter.opened();
            }
            opened(result);
        }
    }

    /// Makes the results of this turn known to the handles.
    fn publish(&mut self, now: Instant) {
        if !self.items.is_empty() {
            self.shared.inbox.put(&mut self.items);
            self.trim_at.get_or_insert(now + TRIM_INTERVAL);
        }
        let log = self.session.log();
        let (acknowledged, cost_acked) = (log.acked(), log.cost_acked());
        if std::mem::replace(&mut self.acked_published, acknowledged) != acknowledged {
            let receipts = &self.shared.receipts;
            receipts.send_if_modified(|now| {
                now.acknowledged = acknowledged;
                // Whoever subscribes from now on sees this before it waits.
                receipts.receiver_count() > 0
            });
            self.shared.outbox.release(cost_acked);
            self.trim_at.get_or_insert(now + TRIM_INTERVAL);
        }
        self.transmit_due |= self.room.adjust(now, &mut self.session, &self.shared);
        self.ages.note(now, self.shared.outbox.accepted(), acknowledged);
        self.shared.publish_stats(&self.session, &self.ages);
        self.meter.turn(|| self.shared.stats());
    }

    fn finish(&mut self, now: Instant, ending: Ending) {
        self.publish(now);
        let lost = match ending {
            Ending::Closed => None,
            Ending::Lost(reason) => Some(reason),
        };
        info!(lost = lost.as_ref().map(tracing::field::display), "session over");
        self.shared.end(lost.clone(), &mut self.session, &self.ages);
        self.meter.turn(|| self.shared.stats());
        self.meter.ended(lost.is_some());
        self.registrar.remove(lost.is_none());
        if let Some(link) = self.link.take() {
            link.close_in_background();
        }
        if let Some(reason) = &lost {
            self.report_opened(Err(ConnectError::Refused(reason.clone())));
        }
        self.shared.status.send_replace(match lost {
            None => Status::Closed { by_peer: self.closed_by_peer.take() },
            Some(reason) => Status::Lost(reason),
        });
    }

    fn next_timeout(&self) -> Option<Instant> {
        let dead_after = self.config.peer_dead_after;
        let stalled = self.link.as_ref().and_then(|link| link.stalls_at(dead_after));
        let mut next = earlier(stalled, self.session.poll_timeout());
        for other in [self.offers.next_at(), self.room.next_at(), self.better_at, self.trim_at] {
            next = earlier(next, other);
        }
        next
    }

    /// Whether a time-out is due; otherwise the driver is woken when the next one is, or before.
    ///
    /// Nearly every message puts some time-out off. A timer that fires too early now and then costs
    /// less than one that is set anew each time.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(at) = self.next_timeout() else { return false };
        if at <= now {
            return true;
        }
        let at = tokio::time::Instant::from_std(at);
        if at < self.timer.deadline() {
            self.timer.as_mut().reset(at);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer.as_mut().reset(at);
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl<S: LinkSource> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        driver.read_bytes = 0;
        let mut time = now();
        for turn in 1..=TURNS_MAX {
            let busy = driver.turn(cx, time);
            if driver.session.is_ended() {
                return Poll::Ready(());
            }
            if !busy {
                driver.due = driver.poll_timer(cx, time);
                if !driver.due {
                    return Poll::Pending;
                }
            } else if driver.read_bytes >= READ_BYTES_MAX {
                break;
            }
            // Most often the second turn finds nothing to do, and the clock costs as much as that.
            if turn > 1 {
                time = now();
            }
        }
        driver.due |= driver.next_timeout().is_some_and(|at| at <= now());
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: LinkSource> Drop for Driver<S> {
    /// A driver that is dropped before its session is over was stopped with its runtime.
    fn drop(&mut self) {
        self.registrar.remove(false);
        self.meter.ended(true);
        self.shared.end(Some(LossReason::Stopped), &mut self.session, &self.ages);
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
