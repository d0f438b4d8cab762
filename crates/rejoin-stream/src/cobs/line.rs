//! The handle of a line: opens one link after another on a stream that stays as it is.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rejoin_core::Peer;
use rejoin_core::protocol::Role;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::config::CobsConfig;
use super::error::CobsError;
use super::link::CobsLink;
use super::medium::{Medium, Plain};
use super::stats::LineStatsHandle;
use super::task;

/// One end of a line that damages bytes, on which links follow one another.
///
/// A task owns the stream and ends, and drops it, once the line and its links are dropped. At most
/// one link is open at a time; the next one ends the one before.
///
/// ```
/// use rejoin_core::{Link, LinkRx, LinkTx, Peer};
/// use rejoin_core::protocol::Role;
/// use rejoin_stream::{CobsConfig, CobsLine};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let (ours, theirs) = tokio::io::duplex(1024);
/// let config = CobsConfig::default();
/// let mut calling = CobsLine::new(ours, Role::Initiator, Peer::default(), &config);
/// let mut called = CobsLine::new(theirs, Role::Acceptor, Peer::default(), &config);
///
/// let (near, far) = tokio::try_join!(calling.open(), called.open())?;
/// let ((mut tx, _rx), (_tx, mut rx)) = (near.split(), far.split());
/// tx.send(b"head, ", "body".into()).await?;
/// tx.close().await?;
/// assert_eq!(rx.recv().await?.as_deref(), Some(&b"head, body"[..]));
/// assert_eq!(rx.recv().await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CobsLine {
    shared: Arc<Shared>,
}

/// What a line's handle shares with its task.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the task.
    pub(super) task: Arc<Notify>,
    /// Wakes who waits for a link.
    opener: Notify,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    /// Whether the task has begun to do something about it.
    begun: bool,
    given: Option<Result<CobsLink, CobsError>>,
    lost: Option<Arc<io::Error>>,
    abandoned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so what is behind the lock is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits for a link; and whether the task has not heard of it before.
    pub(super) fn wanted(&self) -> (bool, bool) {
        let mut state = self.lock();
        let fresh = state.wanted && !std::mem::replace(&mut state.begun, true);
        (state.wanted, fresh)
    }

    /// Gives the link, or the reason why there is none, to who waits for it.
    pub(super) fn give(&self, link: Result<CobsLink, CobsError>) {
        let unwanted = {
            let mut state = self.lock();
            if state.wanted {
                state.wanted = false;
                state.given = Some(link);
                None
            } else {
                Some(link)
            }
        };
        // Dropped without the lock, as its halves tell the task.
        drop(unwanted);
        self.opener.notify_one();
    }

    pub(super) fn lost(&self, error: &Arc<io::Error>) {
        self.lock().lost.get_or_insert_with(|| Arc::clone(error));
        self.opener.notify_one();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }
}

impl CobsLine {
    /// A line over `stream`, at whose other end is `peer`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new<S>(stream: S, role: Role, peer: Peer, config: &CobsConfig) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::over(Plain(stream), role, peer, config, LineStatsHandle::default())
    }

    /// A line over a medium that can more than a stream, which counts in `stats`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn over(
        medium: impl Medium,
        role: Role,
        peer: Peer,
        config: &CobsConfig,
        stats: LineStatsHandle,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            task: Arc::default(),
            opener: Notify::new(),
        });
        task::spawn(medium, role, peer, config.clone(), stats, Arc::clone(&shared));
        Self { shared }
    }

    /// Opens the next link: an initiator calls until the other end answers, an acceptor waits to be
    /// called. Ends the link before, an initiator's at once and an acceptor's when it is called.
    ///
    /// # Errors
    ///
    /// A [`CobsError`] inside: the stream is gone, or the other end has the same role.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the call, and a link that was just opened. The line goes on.
    pub async fn open(&mut self) -> io::Result<CobsLink> {
        {
            let mut state = self.shared.lock();
            state.wanted = true;
            state.begun = false;
            state.given = None;
        }
        let wait = Wait(&self.shared);
        self.shared.task.notify_one();
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(given) = state.given.take() {
                    return Ok(given?);
                }
                if let Some(lost) = &state.lost {
                    return Err(CobsError::Lost(Arc::clone(lost)).into());
                }
            }
            wait.0.opener.notified().await;
        }
    }

    /// Why the stream under the line is gone, if it is.
    #[must_use]
    pub fn is_lost(&self) -> Option<Arc<io::Error>> {
        self.shared.lock().lost.clone()
    }
}

impl Drop for CobsLine {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.task.notify_one();
    }
}

/// Somebody waits for a link for as long as this lives.
struct Wait<'a>(&'a Shared);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let unused = {
            let mut state = self.0.lock();
            state.wanted = false;
            state.given.take()
        };
        drop(unused);
        self.0.task.notify_one();
    }
}
