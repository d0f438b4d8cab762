//! Which keys open which session, from the point of view of one session's driver.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::protocol::{
    Admission, ClientHello, LinkGeneration, RejectReason, ResumeKey, SessionId, Sessions,
};
use crate::random;

/// A table of sessions that a listener and its sessions' drivers share. Locked for the time of one
/// look-up, never across I/O.
#[derive(Debug)]
pub(super) struct Table {
    sessions: Mutex<Sessions>,
    /// Told how many sessions are left when one ends.
    left: watch::Sender<usize>,
    /// Sessions that have ended and still say their last words.
    parting: AtomicUsize,
    /// Links that were turned away after their hello.
    rejected: AtomicU64,
}

impl Table {
    pub(super) fn new(sessions_max: usize) -> Arc<Self> {
        Arc::new(Self {
            sessions: Mutex::new(Sessions::new(sessions_max)),
            left: watch::Sender::default(),
            parting: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a link that is turned away.
    pub(super) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// How many links were turned away.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Is told whenever a session has ended.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.left.subscribe()
    }

    /// Waits until there is no session, and all have said their last words.
    pub(super) async fn emptied(&self) {
        let mut left = self.watch();
        while !self.lock().is_empty() || self.parting.load(Ordering::Relaxed) > 0 {
            if left.changed().await.is_err() {
                return;
            }
        }
    }

    /// Forgets a session, and tells those who wait for the last one to end.
    pub(super) fn remove(&self, id: SessionId, closed: bool) {
        let mut sessions = self.lock();
        sessions.remove(id, closed);
        let left = sessions.len();
        drop(sessions);
        self.left.send_replace(left);
    }
}

/// A session that has ended says its last words until this is dropped.
pub(super) struct Parting(Arc<Table>);

impl Parting {
    fn new(table: Arc<Table>) -> Self {
        table.parting.fetch_add(1, Ordering::Relaxed);
        Self(table)
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        self.0.parting.fetch_sub(1, Ordering::Relaxed);
        let left = self.0.lock().len();
        self.0.left.send_replace(left);
    }
}

/// What becomes of a link with a hello.
pub(super) enum Ruling {
    /// It is this session's; answer with this key.
    Admit(ResumeKey),
    Refuse(RejectReason),
    /// The only peer that can call has lost the session.
    PeerRestarted,
}

/// One session's entry in a table.
pub(super) struct Registrar {
    /// Absent until the first hello, which an initiator never gets.
    table: Option<Arc<Table>>,
    id: Option<SessionId>,
    /// The key that was given out last, and on which link.
    given: Option<(LinkGeneration, ResumeKey)>,
}

impl Registrar {
    /// For a session that a listener has entered in its table.
    pub(super) fn registered(table: Arc<Table>, id: SessionId) -> Self {
        Self { table: Some(table), id: Some(id), given: None }
    }

    /// For a session with a table of its own: that of an acceptor with one peer only, or of an
    /// initiator, which never asks.
    pub(super) fn alone() -> Self {
        Self { table: None, id: None, given: None }
    }

    /// Decides on a link with `hello`, to which a listener may have assigned `key` already.
    pub(super) fn rule(&mut self, hello: &ClientHello, key: Option<ResumeKey>) -> Ruling {
        if let Some(key) = key {
            return Ruling::Admit(key);
        }
        let table = self.table.get_or_insert_with(|| Table::new(1));
        let admission = table.lock().admit(hello, random::key());
        match admission {
            Admission::New(id, key) => {
                self.id = Some(id);
                Ruling::Admit(key)
            }
            Admission::Resume(_, key) => Ruling::Admit(key),
            // With room for one session, only a stranger to it is refused for want of room.
            Admission::Reject(RejectReason::Full) => Ruling::PeerRestarted,
            Admission::Reject(reason) => Ruling::Refuse(reason),
        }
    }

    /// `key` was given out on `link`.
    pub(super) fn answer_with(&mut self, link: LinkGeneration, key: ResumeKey) {
        self.given = Some((link, key));
    }

    /// The peer has shown that it knows the key given out on `link`.
    pub(super) fn proved(&mut self, link: LinkGeneration) {
        if let (Some(table), Some(id), Some((given_on, key))) = (&self.table, self.id, self.given)
            && given_on == link
        {
            table.lock().prove(id, key);
        }
    }

    /// A link of this session is turned away.
    pub(super) fn count_rejected(&self) {
        if let Some(table) = &self.table {
            table.count_rejected();
        }
    }

    /// The session has ended in good order: its keys are closed from now on. It counts as there until
    /// the result is dropped.
    pub(super) fn part(&mut self) -> Option<Parting> {
        let parting = self.table.clone().map(Parting::new);
        self.remove(true);
        parting
    }

    /// The session is over.
    pub(super) fn remove(&mut self, closed: bool) {
        if let (Some(table), Some(id)) = (&self.table, self.id.take()) {
            table.remove(id, closed);
        }
    }
}
