//! The driver: the one owner of a session's state, of its link and of its timers.
//!
//! One task per conduit. Each turn takes what the handles have put down, reads from the link,
//! writes to it, and publishes the results, a batch at a time; the task sleeps when a turn finds
//! nothing to do. What is to be sent when is the session's business, not the driver's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::handover::{Items, Migration, Runs};
use crate::meter::SessionMeter;
use crate::protocol::{CloseReason, Event, LossReason, Profile, Role, Session, earlier};
use crate::random;
use crate::source::LinkSource;
use crate::stable::ages::Ages;
use crate::stable::allowance::{Budget, RETRY_INTERVAL, Room};
use crate::stable::config::StableConfig;
use crate::stable::dial::Dialer;
use crate::stable::driver::alarm::Alarm;
use crate::stable::driver::ending::Parting;
use crate::stable::error::{ConnectError, chain};
use crate::stable::live_link::LiveLink;
use crate::stable::offers::Offers;
use crate::stable::packing::pack;
use crate::stable::registrar::Registrar;
use crate::stable::shared::Shared;
use crate::stable::status::{Status, SuspendCause};

mod alarm;
mod ending;
mod links;
mod moving;

/// How many turns the driver takes before it lets other tasks run.
const TURNS_MAX: usize = 32;
/// How much it puts down for the application before it lets it run: what was read just now is
/// still in the caches then.
const READ_BYTES_MAX: usize = 256 * 1024;

/// How soon it comes for more large items over a link that is swift.
const SWIFT_MAX: Duration = Duration::from_millis(1);

/// How often memory that is not needed any more is given back.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// What a part of a turn has found to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Nothing,
    /// All there was to do at once, as far as can be told.
    All,
    /// There may be more to do at once.
    More,
}

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
    closed_by_peer: Option<CloseReason>,
    /// Whether this side closes.
    closing: bool,
    /// How often this side was asked to close.
    closes: u64,
    /// Whether the peer has confirmed that.
    close_confirmed: bool,
    /// Present while the last words of a session that has ended are being written.
    parting: Option<Parting>,
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
    /// Until when senders may wait for the driver to come for more.
    swift_until: Option<Instant>,
    meter: SessionMeter,
    alarm: Alarm,
    /// Whether nothing but messages has come and gone since the time-outs were looked at.
    routine: bool,
    /// What the [function](routine_timeout_min) of the same name gives.
    routine_timeout_min: Duration,
    /// Whether a time-out is due.
    due: bool,
    /// Whether the session may have something to send that the link was not given yet.
    transmit_due: bool,
    /// How many bytes were read in the present poll.
    read_bytes: usize,
    /// What the handles know to be acknowledged.
    acked_published: u64,
    /// Within a turn: the payloads that were read, then the items in them.
    received: Runs,
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
        let connect_by = now() + config.redial.connect_limit;
        let mut dialer = Dialer::new(source, Arc::clone(&config));
        dialer.pause_until(Some(tokio::time::Instant::from_std(connect_by)));
        let mut driver = Self {
            session: Session::new(role, config.session(), random::key()),
            room: Room::new(&config, budget),
            dialer,
            connect_by,
            alarm: Alarm::new(),
            routine: false,
            routine_timeout_min: routine_timeout_min(&config),
            shared,
            config,
            role,
            registrar,
            link: None,
            opened: Some(opened),
            closed_by_peer: None,
            closing: false,
            closes: 0,
            close_confirmed: false,
            parting: None,
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
            swift_until: None,
            meter: SessionMeter::new(role),
            due: false,
            transmit_due: false,
            read_bytes: 0,
            acked_published: 0,
            received: Runs::default(),
        };
        driver.room.apply(&mut driver.session, &driver.shared);
        driver
    }

    /// Takes one turn; gives whether another one may find more to do at once.
    ///
    /// What the handles want meanwhile is not looked for: they are listened to when the driver
    /// [goes to sleep](Outbox::sleep).
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut changed = self.take_requests(now);
        self.routine &= !changed;
        let mut again = self.poll_dialer(cx, now);
        let read = self.read(cx, now);
        changed |= read != Found::Nothing;
        again |= read == Found::More;
        if std::mem::take(&mut self.due) {
            self.handle_timeout(now);
            again = true;
        }
        again |= self.handle_events(now);
        changed |= again;
        self.transmit_due |= changed;
        let written = self.write(cx, now);
        changed |= written != Found::Nothing;
        again |= written == Found::More;
        if self.handle_events(now) {
            (changed, again) = (true, true);
            self.transmit_due = true;
        }
        // What comes after the end was published with it; the log has been emptied since, and must
        // not look acknowledged.
        if changed && !self.session.is_ended() {
            self.publish(now);
            self.answer_closes();
        }
        self.routine &= !again;
        again || (self.transmit_due && self.link.as_ref().is_some_and(LiveLink::is_idle))
    }

    /// What the handles want.
    fn take_requests(&mut self, now: Instant) -> bool {
        let Some(requests) = self.shared.outbox.take() else { return false };
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
        self.closes = requests.closes;
        if let Some(reason) = requests.close {
            self.closing = true;
            self.offers.refuse_all();
            self.take_items(now);
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
    fn take_items(&mut self, now: Instant) {
        if self.shared.outbox.take_items_swiftly(|batch| self.session.append(batch)) {
            self.swift_until = Some(now + SWIFT_MAX);
            self.routine = false;
        }
    }

    /// Reads what the link has at hand.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Found {
        let Some(link) = &mut self.link else {
            self.room.link_gone(self.session.inbox_cost());
            return Found::Nothing;
        };
        // A base-profile peer knows no window: all that slows it down is that nobody reads.
        let inbox = self.session.inbox_cost();
        let partial = link.partial();
        let mut held_back = !self.room.may_read(now, partial, inbox);
        if self.room.holds_others_up(now, partial) {
            self.link_down(now, SuspendCause::TooSlow);
            return Found::More;
        }
        if self.session.profile() == Some(Profile::Base) {
            let room = self.room.window().saturating_sub(inbox);
            held_back |= room == 0;
            link.limit_read(room);
        }
        let ended = if held_back { Poll::Pending } else { link.poll_read(cx, &mut self.received) };
        let generation = link.generation();
        if link.has_read_on() {
            self.session.handle_progress(now, generation);
        }
        if self.received.is_empty() && ended.is_pending() {
            let Some(error) = link.take_write_error() else { return Found::Nothing };
            self.link_down(now, SuspendCause::LinkFailed(chain(&error).into()));
            return Found::More;
        }
        let more = ended.is_ready() || link.has_more_to_read();
        let (mut carried, mut item_bytes) = (0, 0);
        let judged = self.received.refine(|payload| {
            carried += payload.len();
            let item = self.session.handle_payload(now, generation, payload);
            if let Ok(Some(start)) = item {
                item_bytes += payload.len() - start;
            }
            item
        });
        pack(&mut self.received, item_bytes, carried);
        self.read_bytes += carried;
        if let Err(error) = judged {
            let cause = chain(&error);
            self.meter.violation();
            warn!(generation = generation.get(), cause, "protocol violation");
            self.link_down(now, SuspendCause::Violation(cause.into()));
            return Found::More;
        }
        if let Poll::Ready(result) = ended {
            self.link_down(
                now,
                match result {
                    Ok(()) => SuspendCause::LinkClosed,
                    Err(error) => SuspendCause::LinkFailed(chain(&error).into()),
                },
            );
        }
        if more { Found::More } else { Found::All }
    }

    /// Writes what the session has to say, as far as the link takes it.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Found {
        let Some(link) = &mut self.link else { return Found::Nothing };
        // A failure is dealt with in the next turn, after what there is to read; nothing else would
        // lead to that turn.
        let mut failed = link.poll_write(cx, now);
        if link.is_idle() {
            // Only when all others are written, so that few that come one by one do not become as many
            // batches. Nobody wakes the driver for them until then.
            let appended = self.session.log().appended();
            if self.session.log().is_written() {
                self.take_items(now);
            }
            if !self.offers.is_empty() {
                self.offers.accept(now, &mut self.session, &self.shared.outbox);
            }
            self.transmit_due |= self.session.log().appended() != appended;
        }
        let Some(link) = &mut self.link else { return Found::More };
        let mut filled = false;
        self.transmit_due &= self.session.may_transmit(now);
        if self.transmit_due {
            let (session, due) = (&mut self.session, &mut self.transmit_due);
            filled = link.fill(now, |batch| *due = session.fill(now, batch));
            if filled {
                failed |= link.poll_write(cx, now);
            }
        }
        if link.has_written_on() {
            self.session.handle_progress(now, link.generation());
        }
        // Offers are accepted a few at a time.
        if failed || (filled && link.is_idle() && !self.offers.is_empty()) {
            Found::More
        } else if filled {
            Found::All
        } else {
            Found::Nothing
        }
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
        if self.swift_until.is_some_and(|at| at <= now) {
            self.swift_until = None;
            self.shared.outbox.end_swift();
        }
        let dead_after = self.config.peer_dead_after;
        if self.link.as_mut().is_some_and(|link| link.has_stalled(now, dead_after)) {
            self.link_down(now, SuspendCause::WriteStalled);
        }
    }

    #[inline(always)]
    fn handle_events(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(event) = self.session.poll_event() {
            busy = true;
            self.handle_event(now, event);
        }
        busy
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
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
                self.put_items(now);
                self.shared.inbox.end(true);
                // What was accepted until now still goes out, then this side closes, too.
                self.shared.outbox.close(CloseReason::default());
            }
            Event::CloseConfirmed => self.close_confirmed = true,
            Event::Ended(ending) => self.finish(now, ending),
        }
    }

    /// Gives memory back that was not needed since the last time.
    fn trim(&mut self, now: Instant) {
        let more = [self.shared.outbox.trim(), self.shared.inbox.trim()];
        self.trim_at = more.contains(&true).then(|| now + TRIM_INTERVAL);
        self.received.trim();
        self.session.trim();
        self.ages.trim();
        if let Some(link) = &mut self.link {
            link.trim();
        }
    }

    fn report_opened(&mut self, result: Result<(), ConnectError>) {
        if let Some(opened) = self.opened.take() {
            self.dialer.pause_until(None);
            if result.is_ok() {
                self.meter.opened();
            }
            opened(result);
        }
    }

    /// Makes the results of this turn known to the handles.
    fn publish(&mut self, now: Instant) {
        let log = self.session.log();
        let (acknowledged, cost_acked) = (log.acked(), log.cost_acked());
        let (accepted, held) = self.shared.outbox.release(cost_acked);
        self.transmit_due |= self.room.adjust(now, &mut self.session, &self.shared, held);
        self.ages.note(now, accepted, acknowledged);
        self.put_items(now);
        if std::mem::replace(&mut self.acked_published, acknowledged) != acknowledged {
            let receipts = &self.shared.receipts;
            receipts.send_if_modified(|now| {
                now.acknowledged = acknowledged;
                // Whoever subscribes from now on sees this before it waits.
                receipts.receiver_count() > 0
            });
            self.schedule_trim(now);
        }
        self.meter.turn(|| self.shared.stats());
    }

    /// Gives the application what was received, which the figures count by then.
    fn put_items(&mut self, now: Instant) {
        self.shared.publish_stats(&self.session, &self.ages);
        if !self.received.is_empty() {
            self.shared.inbox.put(&mut self.received);
            self.schedule_trim(now);
        }
    }

    /// Memory was needed that may not be needed any more in a while.
    fn schedule_trim(&mut self, now: Instant) {
        self.trim_at.get_or_insert_with(|| now + TRIM_INTERVAL);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let dead_after = self.config.peer_dead_after;
        let stalled = self.link.as_ref().and_then(|link| link.stalls_at(dead_after));
        let mut next = earlier(stalled, self.session.poll_timeout());
        let (offers, room) = (self.offers.next_at(), self.room.next_at());
        for other in [offers, room, self.better_at, self.trim_at, self.swift_until] {
            next = earlier(next, other);
        }
        next
    }

    /// What the driver makes of items that come while it sleeps.
    fn items(&self) -> Items {
        match &self.link {
            None => Items::Noted,
            Some(link) if link.is_idle() && self.session.log().is_written() => Items::Wanted,
            Some(_) => Items::Later,
        }
    }

    /// Whether a time-out is due; otherwise the driver is woken when the next one is, or before.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let extended = self.session.profile() == Some(Profile::Extended);
        let routine = std::mem::replace(&mut self.routine, true) && extended;
        if routine && self.alarm.is_set(cx, now, now + self.routine_timeout_min) {
            let sooner = |at: Instant| at < self.alarm.set_for();
            debug_assert!(!self.next_timeout().is_some_and(sooner), "sooner than it can be");
            return false;
        }
        self.next_timeout().is_some_and(|at| self.alarm.poll(cx, now, at).is_ready())
    }
}

impl<S: LinkSource> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        if driver.parting.is_some() {
            return driver.poll_parting(cx);
        }
        driver.read_bytes = 0;
        let mut time = now();
        for _ in 0..TURNS_MAX {
            let again = driver.turn(cx, time);
            if driver.session.is_ended() {
                return driver.poll_parting(cx);
            }
            if again && driver.read_bytes >= READ_BYTES_MAX {
                break;
            }
            if !again && driver.shared.outbox.sleep(cx.waker(), driver.items()) {
                driver.due = driver.poll_timer(cx, time);
                if !driver.due {
                    return Poll::Pending;
                }
            }
            time = now();
        }
        driver.due |= driver.next_timeout().is_some_and(|at| at <= now());
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: LinkSource> Drop for Driver<S> {
    /// A driver that is dropped before its session is over was stopped with its runtime.
    fn drop(&mut self) {
        if self.parting.take().is_some() {
            return self.tell_end(None);
        }
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

/// No time-out of the extended profile that begins with a message, sent or received, is sooner than
/// this. So where the alarm is, there is no need to look at all that there may be.
fn routine_timeout_min(config: &StableConfig) -> Duration {
    let ours = RETRY_INTERVAL.min(TRIM_INTERVAL);
    ours.min(config.ack_delay).min(config.ping_interval).min(config.peer_dead_after / 4)
}

/// The time by which a driver acts: the runtime's, so that it can be paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
