//! From a listener that accepts peers to a source of links on which a hello was read: each peer's
//! handshake runs beside the others', under its own deadline.
//!
//! It knows hellos, but no sessions: which one a link belongs to, and whether there is room for it,
//! is for whoever takes the links.

mod stats;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

pub use stats::{AcceptorStats, AcceptorStatsHandle};

use crate::link::{Link, Peer, SplitLink};
use crate::meter::{HandshakeFailure, handshake_failed};
use crate::protocol::Role;
use crate::source::{
    Attachment, LinkListener, LinkSource, is_fatal_kind, prepare_acceptor_attachment,
};
use stats::Counters;

/// How long to leave a listener alone that fails for now, such as for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The limits of an [`AcceptorSource`].
///
/// The worst case in memory is `pending_handshakes_max` times what the transport holds for one
/// link: its buffers. Only a transport that cannot tell a payload's length before it has all of it
/// may hold one payload of its largest size besides, instead of a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcceptorConfig {
    /// How long a peer may take from being accepted to the end of its hello, upgrade included;
    /// 5 s by default.
    pub handshake_deadline: Duration,
    /// How many handshakes run at the same time; 1024 by default, and at least one.
    ///
    /// When one more peer is accepted, the oldest handshake is given up. So a flood of silent peers
    /// cannot lock out an honest one, unless it brings that many new peers within one round trip.
    pub pending_handshakes_max: usize,
    /// How many peers are accepted in a second; 10 000 by default. Further ones wait where the
    /// system keeps them, and are accepted in their turn. After a quiet second, so many may come at
    /// once.
    pub handshakes_per_second_max: NonZeroU32,
}

impl Default for AcceptorConfig {
    fn default() -> Self {
        Self {
            handshake_deadline: Duration::from_secs(5),
            pending_handshakes_max: 1024,
            handshakes_per_second_max: NonZeroU32::new(10_000).expect("not zero"),
        }
    }
}

/// A [`LinkSource`] of accepted links whose hello is known, in the order in which they became so.
///
/// - A slow or hostile peer holds up nobody, costs its own link at most, and is counted in
///   [`AcceptorStats`].
/// - New peers are accepted while [`next_link`](LinkSource::next_link) is awaited; handshakes that
///   were begun go on regardless, in tasks that end with the source.
/// - An error of the listener that is transient is retried after 100 ms. After a fatal one the
///   handshakes that are pending still give their links; then the source fails with that error's
///   kind, now and ever after.
///
/// It has to be used within a tokio runtime with time enabled.
pub struct AcceptorSource<L: LinkListener> {
    listener: L,
    listener_state: ListenerState,
    /// When the peers accepted so far would have been accepted at the highest rate allowed.
    paced_until: Instant,
    config: AcceptorConfig,
    handshakes: JoinSet<Outcome<L::Link>>,
    /// Invariant: the handshakes in the set that were not given up, the oldest first.
    pending: VecDeque<Pending>,
    /// Since the last peer was accepted, the pending handshakes had a chance to go on.
    turn_given: bool,
    counters: Arc<Counters>,
}

type Outcome<L> = Result<Attachment<SplitLink<<L as Link>::Tx, <L as Link>::Rx>>, Failure>;

#[derive(Debug)]
enum ListenerState {
    Accepting,
    RetryAt(Instant),
    Failed(Arc<io::Error>),
}

#[derive(Debug)]
struct Pending {
    task: AbortHandle,
    /// Known once the upgrade is done.
    peer: Arc<OnceLock<Peer>>,
}

impl Pending {
    fn peer(&self) -> Peer {
        self.peer.get().cloned().unwrap_or_default()
    }
}

impl<L: LinkListener> AcceptorSource<L> {
    /// A source of the links that `listener` accepts.
    pub fn new(listener: L, config: AcceptorConfig) -> Self {
        Self {
            listener,
            listener_state: ListenerState::Accepting,
            paced_until: Instant::now(),
            config,
            handshakes: JoinSet::new(),
            pending: VecDeque::new(),
            turn_given: false,
            counters: Arc::default(),
        }
    }

    /// The listener, to ask it for its address.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// What has happened so far.
    pub fn stats(&self) -> AcceptorStats {
        self.counters.snapshot()
    }

    /// A handle to the numbers, for when the source is out of reach.
    pub fn stats_handle(&self) -> AcceptorStatsHandle {
        AcceptorStatsHandle::new(Arc::clone(&self.counters))
    }

    fn handle_accepted(&mut self, accepted: io::Result<L::Upgrade>) {
        match accepted {
            Ok(upgrade) => self.begin_handshake(upgrade),
            Err(error) if is_fatal_kind(&error) => {
                debug!(cause = %error, "the listener failed for good");
                self.listener_state = ListenerState::Failed(Arc::new(error));
            }
            Err(error) => {
                Counters::add(&self.counters.accept_failed);
                debug!(cause = %error, "the listener failed and is tried again");
                self.listener_state = ListenerState::RetryAt(Instant::now() + ACCEPT_RETRY_DELAY);
            }
        }
    }

    /// Runs the rest of the peer's handshake in a task of its own.
    fn begin_handshake(&mut self, upgrade: L::Upgrade) {
        self.listener_state = self.pace();
        Counters::add(&self.counters.accepted);
        while self.is_full() {
            self.evict_oldest();
        }
        self.turn_given = false;
        let peer = Arc::new(OnceLock::new());
        let deadline = self.config.handshake_deadline;
        let task = self.handshakes.spawn(shake_hands(upgrade, deadline, Arc::clone(&peer)));
        self.pending.push_back(Pending { task, peer });
        self.counters.set_pending(self.pending.len());
    }

    /// Counts one more peer, and says when the next may be accepted: at once, as long as no more
    /// came in the last second than are allowed in one.
    fn pace(&mut self) -> ListenerState {
        const BURST: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let interval = BURST / self.config.handshakes_per_second_max.get();
        self.paced_until = self.paced_until.max(now) + interval;
        match self.paced_until.checked_sub(BURST) {
            Some(next) if next > now => ListenerState::RetryAt(next),
            _ => ListenerState::Accepting,
        }
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= self.config.pending_handshakes_max.max(1)
    }

    fn evict_oldest(&mut self) {
        if let Some(oldest) = self.pending.pop_front() {
            oldest.task.abort();
            Counters::add(&self.counters.evicted);
            handshake_failed(HandshakeFailure::Evicted);
            debug!(peer = %oldest.peer(), cause = "evicted", "a handshake was given up");
        }
    }

    /// The attachment, if that is how the handshake ended.
    fn handle_ended(
        &mut self,
        ended: Result<(Id, Outcome<L::Link>), JoinError>,
    ) -> Option<Attachment<LinkOf<L>>> {
        // A task that was aborted is not pending any more, so what else has no outcome panicked.
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(Failure::Panicked)),
        };
        // A handshake that is not pending was given up, even if it came to its end meanwhile.
        let index = self.pending.iter().position(|pending| pending.task.id() == id)?;
        let pending = self.pending.remove(index)?;
        self.counters.set_pending(self.pending.len());
        outcome
            .inspect_err(|failure| {
                Counters::add(failure.counter(&self.counters));
                handshake_failed(failure.kind());
                debug!(peer = %pending.peer(), cause = %failure, "a handshake failed");
            })
            .ok()
    }
}

type LinkOf<L> =
    SplitLink<<<L as LinkListener>::Link as Link>::Tx, <<L as LinkListener>::Link as Link>::Rx>;

impl<L: LinkListener> LinkSource for AcceptorSource<L> {
    type Link = LinkOf<L>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        loop {
            if let ListenerState::Failed(cause) = &self.listener_state
                && self.handshakes.is_empty()
            {
                return Err(io::Error::new(cause.kind(), ListenerFailed(Arc::clone(cause))));
            }
            // Before a peer is accepted that evicts another, the tasks get a turn: a handshake whose
            // hello is there already must not fall victim to a burst. The turn is noted first, so
            // that a caller who keeps dropping this future gets on as well.
            let gives_turn = self.is_full() && !std::mem::replace(&mut self.turn_given, true);
            // What was begun is ended first, so that nothing ready waits or is evicted. Whatever
            // these futures achieve is in `self` when they are dropped.
            tokio::select! {
                biased;
                Some(ended) = self.handshakes.join_next_with_id() => {
                    if let Some(attachment) = self.handle_ended(ended) {
                        return Ok(attachment);
                    }
                }
                () = yield_now(), if gives_turn => {}
                accepted = accept(&mut self.listener, &self.listener_state), if !gives_turn => {
                    self.handle_accepted(accepted);
                }
            }
        }
    }

    fn role(&self) -> Role {
        Role::Acceptor
    }
}

impl<L: LinkListener> fmt::Debug for AcceptorSource<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptorSource")
            .field("listener_state", &self.listener_state)
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Waits for the next peer, for as long as the listener's state has it.
async fn accept<L: LinkListener>(
    listener: &mut L,
    state: &ListenerState,
) -> io::Result<L::Upgrade> {
    match state {
        ListenerState::Accepting => {}
        ListenerState::RetryAt(instant) => sleep_until(*instant).await,
        ListenerState::Failed(_) => pending().await,
    }
    listener.accept().await
}

/// Brings one peer from being accepted to the end of its hello, and drops its link otherwise.
async fn shake_hands<L: Link>(
    upgrade: impl Future<Output = io::Result<L>>,
    deadline: Duration,
    peer: Arc<OnceLock<Peer>>,
) -> Outcome<L> {
    let steps = async {
        let link = upgrade.await.map_err(Failure::Upgrade)?;
        peer.get_or_init(|| link.peer());
        prepare_acceptor_attachment(link).await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::BadHello(error),
            _ => Failure::ClosedEarly(error),
        })
    };
    timeout(deadline, steps).await.unwrap_or(Err(Failure::TimedOut))
}

/// Why a handshake gave no link.
#[derive(Debug, Error)]
enum Failure {
    #[error("the upgrade failed: {0}")]
    Upgrade(io::Error),
    #[error("the first payload was not a hello: {0}")]
    BadHello(io::Error),
    #[error("the link ended before the hello: {0}")]
    ClosedEarly(io::Error),
    #[error("the hello did not come before the deadline")]
    TimedOut,
    #[error("the transport panicked")]
    Panicked,
}

impl Failure {
    fn kind(&self) -> HandshakeFailure {
        match self {
            Self::Upgrade(_) | Self::Panicked => HandshakeFailure::Upgrade,
            Self::BadHello(_) => HandshakeFailure::BadHello,
            Self::ClosedEarly(_) => HandshakeFailure::ClosedEarly,
            Self::TimedOut => HandshakeFailure::TimedOut,
        }
    }

    fn counter<'a>(&self, counters: &'a Counters) -> &'a AtomicU64 {
        match self {
            Self::Upgrade(_) | Self::Panicked => &counters.upgrade_failed,
            Self::BadHello(_) => &counters.bad_hello,
            Self::ClosedEarly(_) => &counters.closed_early,
            Self::TimedOut => &counters.timed_out,
        }
    }
}

/// The error that ends an [`AcceptorSource`], told again on each call.
#[derive(Debug, Error)]
#[error("the listener accepts nothing more")]
struct ListenerFailed(#[source] Arc<io::Error>);

#[cfg(test)]
mod tests;
