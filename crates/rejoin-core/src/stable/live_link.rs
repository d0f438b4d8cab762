//! The link of a session while it works: its two pumps, and when they last got on.

use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use crate::handover::Runs;
use crate::link::{LinkRx, LinkTx};
use crate::protocol::{Head, LinkGeneration, Transmit, Transmits, timer_slack};
use crate::pump::{Reader, Writer};

/// How long a link that is done with may take to get rid of its last bytes.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How long its peer may then take to do the same.
const PEER_CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A link that a session uses.
pub(super) struct LiveLink {
    generation: LinkGeneration,
    reader: Reader,
    /// Absent once writing has failed.
    writer: Option<Writer>,
    write_error: Option<io::Error>,
    since: Instant,
    /// Where the writer was when it last got on.
    progress: u64,
    stall: Stall,
    /// Whether it has got on since that was last asked.
    got_on: bool,
    /// Where the reader was when that was last asked.
    read: u64,
}

impl LiveLink {
    pub(super) fn new(
        now: Instant,
        generation: LinkGeneration,
        tx: impl LinkTx,
        rx: impl LinkRx,
    ) -> Self {
        Self {
            generation,
            reader: Reader::new(rx),
            writer: Some(Writer::new(tx)),
            write_error: None,
            since: now,
            progress: 0,
            stall: Stall::new(now),
            got_on: false,
            read: 0,
        }
    }

    /// Which link of the session it is.
    #[inline]
    pub(super) fn generation(&self) -> LinkGeneration {
        self.generation
    }

    /// How long it has lived.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Sends `payload` before anything else; to be called first, if at all.
    pub(super) fn send_first(&mut self, payload: Bytes) {
        if let Some(writer) = &mut self.writer {
            let first = Transmit { head: Head::default(), body: payload };
            writer.fill(|batch| batch.push(first));
        }
    }

    /// See [`Reader::limit`].
    pub(super) fn limit_read(&self, batch_bytes: u64) {
        self.reader.limit(batch_bytes);
    }

    /// See [`Reader::poll`].
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        payloads: &mut Runs,
    ) -> Poll<io::Result<()>> {
        self.reader.poll(cx, payloads)
    }

    /// Whether there is more to do at once for whoever reads: the reader would go on, or writing has
    /// failed, which is asked for when there is nothing left to read.
    #[inline]
    pub(super) fn has_more_to_read(&self) -> bool {
        self.reader.is_called() || self.write_error.is_some()
    }

    /// See [`Reader::partial`].
    #[inline]
    pub(super) fn partial(&self) -> u64 {
        self.reader.partial()
    }

    /// Whether anything has come since this was last asked, were it a part of a payload.
    #[inline]
    pub(super) fn has_read_on(&mut self) -> bool {
        let read = self.reader.progress();
        std::mem::replace(&mut self.read, read) != read
    }

    /// Whether the writer has got on since this was last asked and has not come to an end. What it
    /// has put into a buffer to the end, in contrast, says nothing of the peer.
    #[inline]
    pub(super) fn has_written_on(&mut self) -> bool {
        std::mem::take(&mut self.got_on) && !self.is_idle()
    }

    /// Hands an idle writer what `fill` fills a batch with; gives whether there was anything.
    pub(super) fn fill(&mut self, now: Instant, fill: impl FnOnce(&mut Transmits)) -> bool {
        let Some(writer) = self.writer.as_mut().filter(|writer| writer.is_idle()) else {
            return false;
        };
        let filled = writer.fill(fill);
        if filled {
            self.stall = Stall::new(now);
        }
        filled
    }

    /// Goes on writing; gives whether the link has failed at that just now, see
    /// [`take_write_error`](Self::take_write_error).
    #[must_use]
    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_at_work) && self.poll_writer(cx, now)
    }

    fn poll_writer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let polled = writer.poll(cx);
        let progress = writer.progress();
        if progress != self.progress {
            self.progress = progress;
            self.stall = Stall::new(now);
            self.got_on = true;
        }
        let Poll::Ready(Err(error)) = polled else { return false };
        self.writer = None;
        self.write_error = Some(error);
        true
    }

    /// Why nothing can be written any more, asked once. What has arrived can still be read: the
    /// peer's last words, which may say why it closed the link.
    pub(super) fn take_write_error(&mut self) -> Option<io::Error> {
        self.write_error.take()
    }

    /// Whether the writer has written everything it was given.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_idle)
    }

    /// When to ask next whether the writer [has stalled](Self::has_stalled).
    pub(super) fn stalls_at(&self, dead_after: Duration) -> Option<Instant> {
        let writer = self.writer.as_ref().filter(|writer| !writer.is_idle());
        writer.map(|_| self.stall.next_at(dead_after))
    }

    /// Whether the writer has something to write and did not get on with it for `dead_after`.
    pub(super) fn has_stalled(&mut self, now: Instant, dead_after: Duration) -> bool {
        self.stalls_at(dead_after).is_some() && self.stall.handle_timeout(now, dead_after)
    }

    /// Gives memory back that was needed for a burst of payloads.
    pub(super) fn trim(&mut self) {
        self.reader.trim();
        if let Some(writer) = &mut self.writer {
            writer.trim();
        }
    }

    /// Writes what is left and closes the link, and waits until the peer has closed it, too: to close a
    /// socket to which something still comes may destroy what was just written. All of it within
    /// limits; how it ends is of no interest to anybody.
    pub(super) async fn part(self) {
        let Ok(Ok(mut reader)) = timeout(CLOSE_DEADLINE, self.close_tx()).await else { return };
        // Nothing is kept of what comes, however full the inbox was.
        reader.limit(u64::MAX);
        let mut payloads = Runs::default();
        let ended = poll_fn(|cx| {
            let ended = reader.poll(cx, &mut payloads);
            payloads.clear();
            if ended.is_pending() && reader.is_called() {
                cx.waker().wake_by_ref();
            }
            ended
        });
        // A peer that never closes is not waited for.
        let _ = timeout(PEER_CLOSE_DEADLINE, ended).await;
    }

    /// Writes what is left and closes the link, without anybody waiting for it.
    pub(super) fn close_in_background(self) {
        in_background(async { self.close_tx().await.map(drop) });
    }

    /// Gives the receiving half, which stays open until everything is written: closing a socket in
    /// which something is left to read may destroy that, too.
    async fn close_tx(self) -> io::Result<Reader> {
        let writer = self.writer.ok_or(io::ErrorKind::NotConnected)?;
        writer.close().await?;
        Ok(self.reader)
    }
}

/// For how long a writer does not get on.
///
/// Looked at in quarters of the time-out, so that of the time in which this process was stopped itself
/// no more than one quarter is held against the link, and yet a machine on which every timer is late
/// gets to its verdict.
#[derive(Debug)]
struct Stall {
    /// Until when it was looked at.
    seen: Instant,
    /// For how long of that this process was awake.
    awake: Duration,
}

impl Stall {
    fn new(now: Instant) -> Self {
        Self { seen: now, awake: Duration::ZERO }
    }

    fn next_at(&self, dead_after: Duration) -> Instant {
        self.seen + (dead_after / 4).min(dead_after.saturating_sub(self.awake))
    }

    /// Gives whether it has lasted for `dead_after`.
    fn handle_timeout(&mut self, now: Instant, dead_after: Duration) -> bool {
        let due_at = self.next_at(dead_after);
        let Some(late) = now.checked_duration_since(due_at) else { return false };
        let expected = due_at - self.seen;
        self.awake += if late > timer_slack(dead_after) { expected } else { expected + late };
        self.seen = now;
        self.awake >= dead_after
    }
}

/// Runs the last act of a link under a deadline; how it ends is of no interest to anybody.
pub(super) fn in_background(act: impl Future<Output = io::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        let _ = timeout(CLOSE_DEADLINE, act).await;
    });
}
