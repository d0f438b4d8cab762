//! The task that owns a line's stream: reads and writes it for one link after another, and answers
//! the other end also when the application is busy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rejoin_core::Peer;
use rejoin_core::protocol::Role;
use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep_until};

use super::config::CobsConfig;
use super::control::LinkId;
use super::endpoint::{Endpoint, Happening};
use super::error::{CobsError, LinkEnd};
use super::framing::Deframer;
use super::line;
use super::link::{self, CobsLink};
use super::medium::Medium;
use super::stats::LineStatsHandle;

/// How much is read at once. Serial ports give little at a time.
const READ_BYTES: usize = 4 << 10;
/// For how long a line that nobody uses any more tries to get its last words out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Spawns the task of a line.
pub(super) fn spawn(
    medium: impl Medium,
    role: Role,
    peer: Peer,
    config: CobsConfig,
    stats: LineStatsHandle,
    shared: Arc<line::Shared>,
) {
    // Not a secret: two owners of one end, one after the other, are only to choose differently.
    let seed = std::hash::RandomState::new();
    let first_id = std::hash::BuildHasher::hash_one(&seed, std::process::id());
    let first_id = u32::try_from(first_id >> 32).unwrap_or(1);
    let task = Task {
        medium,
        endpoint: Endpoint::new(role, config.repeat_after, first_id),
        deframer: Deframer::new(config.payload_bytes_max, config.escape_flow_control),
        role,
        peer,
        config,
        stats,
        shared,
        link: None,
        wire: BytesMut::new(),
        wire_link: None,
        unflushed: false,
        write_at: None,
        last_words_until: None,
        block: vec![0; READ_BYTES],
        unread: 0..0,
    };
    tokio::spawn(task.run());
}

struct Task<M> {
    medium: M,
    endpoint: Endpoint,
    deframer: Deframer,
    role: Role,
    peer: Peer,
    config: CobsConfig,
    stats: LineStatsHandle,
    shared: Arc<line::Shared>,
    /// Invariant: present exactly while the endpoint has an open link.
    link: Option<Arc<link::Shared>>,
    /// What is being written: whole frames, but for what was written of them.
    wire: BytesMut,
    /// The link whose frames these are.
    wire_link: Option<Arc<link::Shared>>,
    unflushed: bool,
    /// The system has enough to write until then.
    write_at: Option<Instant>,
    last_words_until: Option<Instant>,
    block: Vec<u8>,
    /// What of the block was not looked at yet.
    unread: std::ops::Range<usize>,
}

/// What the medium has done.
enum Moved {
    Read(usize),
    Written(usize),
    Flushed,
    /// Nothing yet: there is a time now to write at.
    HeldBack,
}

impl<M: Medium> Task<M> {
    async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.serve_halves(now);
            self.serve_opener(now);
            self.look_through_block(now);
            self.fill_wire(now);
            if self.is_over(now) {
                return;
            }
            let wake_at = self.wake_at();
            let shared = Arc::clone(&self.shared);
            let moved = tokio::select! {
                biased;
                moved = std::future::poll_fn(|cx| self.poll_medium(cx)) => moved,
                () = shared.task.notified() => continue,
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => continue,
            };
            match moved {
                Ok(Moved::Read(0)) => return self.lose(io::ErrorKind::UnexpectedEof.into()),
                Ok(Moved::Read(count)) => {
                    self.unread = 0..count;
                    if let Some(link) = &self.link {
                        link.received.add(count);
                    }
                }
                Ok(Moved::Written(0)) => return self.lose(io::ErrorKind::WriteZero.into()),
                Ok(Moved::Written(count)) => {
                    self.wire.advance(count);
                    self.unflushed = true;
                    if let Some(link) = &self.wire_link {
                        link.written(count);
                    }
                    if self.wire.is_empty() {
                        self.wire_link = None;
                    }
                }
                Ok(Moved::Flushed) => self.unflushed = false,
                Ok(Moved::HeldBack) => {}
                Err(error) => return self.lose(error),
            }
        }
    }

    /// Notices what the link's halves have done.
    fn serve_halves(&mut self, now: Instant) {
        let Some(link) = &self.link else { return };
        match link.left() {
            Some(true) => {
                link.end(LinkEnd::Closed);
                self.link = None;
                self.endpoint.hang_up(now.into_std(), false);
            }
            Some(false) => {
                self.end_link(LinkEnd::HungUp);
                self.endpoint.hang_up(now.into_std(), true);
            }
            None => {}
        }
    }

    /// Does what it takes to give a link to who waits for one, and stops when nobody waits any more.
    fn serve_opener(&mut self, now: Instant) {
        let (wanted, fresh) = self.shared.wanted();
        match self.role {
            Role::Initiator if fresh => {
                self.end_link(LinkEnd::Replaced);
                self.endpoint.hang_up(now.into_std(), false);
                self.endpoint.call(now.into_std());
            }
            Role::Initiator if !wanted && self.endpoint.is_calling() => {
                self.endpoint.hang_up(now.into_std(), true);
            }
            Role::Initiator if self.endpoint.is_calling() && self.endpoint.hears_own_role() => {
                self.endpoint.hang_up(now.into_std(), false);
                self.shared.give(Err(CobsError::SameRole));
            }
            Role::Acceptor if wanted && self.link.is_none() => {
                if let Some(id) = self.endpoint.take_call() {
                    self.give_link(id);
                }
            }
            _ => {}
        }
    }

    /// Goes through what was read, as long as there is room for what comes of it.
    fn look_through_block(&mut self, now: Instant) {
        while !self.unread.is_empty() && self.has_room() {
            let mut input = &self.block[self.unread.clone()];
            let chunk = self.deframer.next(&mut input);
            self.unread.start = self.unread.end - input.len();
            let Some(chunk) = chunk else { return };
            let happening = self.endpoint.handle_chunk(now.into_std(), chunk);
            match happening {
                None => {}
                Some(Happening::Payload(payload)) => {
                    if let Some(link) = &self.link {
                        link.deliver(payload);
                    }
                }
                Some(Happening::Opened(id)) => self.give_link(id),
                Some(Happening::Called) => self.serve_opener(now),
                Some(Happening::PeerClosed) => {
                    if let Some(link) = &self.link {
                        link.peer_closed();
                    }
                }
                Some(Happening::Ended(end)) => {
                    match end {
                        LinkEnd::Damaged => self.stats.damaged(),
                        LinkEnd::DamagedThere => self.stats.damaged_there(),
                        _ => {}
                    }
                    tracing::debug!(peer = %self.peer, cause = %end, "a link on a line is over");
                    self.end_link(end);
                    self.serve_opener(now);
                }
                Some(Happening::Skipped) => self.stats.skipped(),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.has_room())
    }

    /// Takes the next thing to write, where everything before it is written.
    fn fill_wire(&mut self, now: Instant) {
        if !self.wire.is_empty() {
            return;
        }
        if let Some(control) = self.endpoint.poll_control(now.into_std()) {
            control.encode(self.role, self.config.escape_flow_control, &mut self.wire);
        } else if let Some(link) = &self.link {
            self.wire = link.take_output();
            self.wire_link = Some(Arc::clone(link));
        }
    }

    fn give_link(&mut self, id: LinkId) {
        let task = Arc::clone(&self.shared.task);
        let (link, shared) = CobsLink::new(id, self.role, self.peer.clone(), task, &self.config);
        self.stats.link();
        self.link = Some(shared);
        self.shared.give(Ok(link));
    }

    /// Ends the link, if there is one, and gives up what it has to write: the next thing on the
    /// line is behind a delimiter, and half a frame before it hurts nobody.
    fn end_link(&mut self, end: LinkEnd) {
        let Some(link) = self.link.take() else { return };
        let was_left = matches!(end, LinkEnd::HungUp);
        link.end(end);
        if was_left {
            // The peer still gets what was flushed, and hears of the end after it.
            return;
        }
        self.wire.clear();
        self.wire_link = None;
        self.write_at = None;
        self.medium.discard_output();
    }

    /// The stream is gone, and with it the line.
    fn lose(mut self, error: io::Error) {
        let error = Arc::new(error);
        if let Some(link) = self.link.take() {
            link.end(LinkEnd::Lost(Arc::clone(&error)));
        }
        self.shared.lost(&error);
    }

    /// Whether nobody needs the line any more, and everything is said.
    fn is_over(&mut self, now: Instant) -> bool {
        if !self.shared.is_abandoned() || self.link.is_some() {
            return false;
        }
        let until = *self.last_words_until.get_or_insert(now + LAST_WORDS);
        let said = self.endpoint.has_said_all() && self.wire.is_empty() && !self.unflushed;
        said || now >= until
    }

    fn wake_at(&self) -> Option<Instant> {
        let control = self.endpoint.next_timeout().map(Instant::from_std);
        let control = control.filter(|_| self.wire.is_empty());
        [control, self.write_at, self.last_words_until].into_iter().flatten().min()
    }

    fn poll_medium(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        if let Poll::Ready(written) = self.poll_write(cx) {
            return Poll::Ready(written);
        }
        if self.wire.is_empty()
            && self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.medium).poll_flush(cx)
        {
            return Poll::Ready(flushed.map(|()| Moved::Flushed));
        }
        // What is in the block comes first.
        if self.unread.is_empty() {
            let mut buf = ReadBuf::new(&mut self.block);
            ready!(Pin::new(&mut self.medium).poll_read(cx, &mut buf))?;
            return Poll::Ready(Ok(Moved::Read(buf.filled().len())));
        }
        Poll::Pending
    }

    /// Writes no more than the system may have queued.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        if self.wire.is_empty() {
            return Poll::Pending;
        }
        let now = Instant::now();
        if self.write_at.is_some_and(|at| at > now) {
            return Poll::Pending;
        }
        self.write_at = None;
        let bytes_max = self.config.output_queue_bytes_max.max(2);
        let queued = self.medium.output_queued();
        let room = bytes_max.saturating_sub(queued);
        if room < self.wire.len().min(bytes_max / 2) {
            let surplus = queued.saturating_sub(bytes_max / 2).max(1);
            let seconds = surplus as f64 / f64::from(self.config.bytes_per_second.max(1));
            let wait = Duration::from_secs_f64(seconds).max(Duration::from_millis(1));
            self.write_at = Some(now + wait);
            return Poll::Ready(Ok(Moved::HeldBack));
        }
        let count = self.wire.len().min(room);
        Pin::new(&mut self.medium).poll_write(cx, &self.wire[..count]).map_ok(Moved::Written)
    }
}

impl<M> Drop for Task<M> {
    /// Also when the runtime ends.
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            link.end(LinkEnd::HungUp);
        }
        self.shared.lost(&Arc::new(io::ErrorKind::BrokenPipe.into()));
    }
}
