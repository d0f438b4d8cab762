//! The acceptor's table: which session a hello belongs to.
//!
//! It knows keys and nothing else of a session. Keys rotate with each handshake, and an answer can
//! be lost, so a session has several valid keys at a time: the last that the peer has shown to
//! know, and those given out since.

use std::collections::{HashMap, VecDeque};

use crate::protocol::error::RejectReason;
use crate::protocol::hello::{ClientHello, Opening, ResumeKey};

/// How many keys a session has at most: the proved one and those given out since. More than two
/// matter only when hellos from abandoned links arrive late.
const KEYS_PER_SESSION: usize = 8;

/// Names a session in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(u64);

impl SessionId {
    /// The number: 1 for the first session.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What becomes of a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It opens this new session.
    New(SessionId),
    /// It goes on with this session.
    Resume(SessionId),
    /// It is refused.
    Reject(RejectReason),
}

#[derive(Debug)]
struct Entry {
    /// The proved key first, then those given out since, oldest first.
    keys: VecDeque<ResumeKey>,
    nonce: Option<ResumeKey>,
    /// Whether the peer has shown that it knows any key.
    proved: bool,
}

/// All sessions of one acceptor, by key.
///
/// Invariant: `by_key` holds exactly the keys of all entries, and the keys of at most
/// `sessions_max` sessions that were closed; `by_nonce` exactly the nonces of all entries.
#[derive(Debug)]
pub struct Sessions {
    sessions_max: usize,
    entries: HashMap<SessionId, Entry>,
    by_key: HashMap<ResumeKey, SessionId>,
    by_nonce: HashMap<ResumeKey, SessionId>,
    /// The keys of sessions that were closed in good order, oldest first.
    closed: VecDeque<(SessionId, VecDeque<ResumeKey>)>,
    next_id: u64,
    refuse_new: Option<RejectReason>,
}

impl Sessions {
    /// An empty table for at most `sessions_max` sessions.
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max,
            entries: HashMap::new(),
            by_key: HashMap::new(),
            by_nonce: HashMap::new(),
            closed: VecDeque::new(),
            next_id: 0,
            refuse_new: None,
        }
    }

    /// The session that `hello` would go on with, without deciding anything.
    #[must_use]
    pub fn find(&self, hello: &ClientHello) -> Option<SessionId> {
        let found = match hello.opening() {
            Opening::Resume(key) => self.by_key.get(&key),
            Opening::Fresh { nonce } => nonce.and_then(|nonce| self.by_nonce.get(&nonce)),
        };
        found.copied().filter(|id| self.entries.contains_key(id))
    }

    /// Decides on `hello`. Where it is admitted, `key`, which must be fresh randomness, becomes one
    /// more valid key of the session, to be sent in the answer.
    #[must_use]
    pub fn admit(&mut self, hello: &ClientHello, key: ResumeKey) -> Admission {
        match hello.opening() {
            Opening::Resume(known) => self.resume(known, key),
            Opening::Fresh { nonce } => self.open(nonce, key),
        }
    }

    /// The peer has shown that it knows `key`: older ones are of no use any more.
    pub fn prove(&mut self, id: SessionId, key: ResumeKey) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.proved = true;
        if let Some(index) = entry.keys.iter().position(|it| *it == key) {
            for old in entry.keys.drain(..index) {
                self.by_key.remove(&old);
            }
        }
    }

    /// Forgets the session. A peer that comes back is told `Closed` where the session was closed in
    /// good order, for as long as there is memory of it, and `UnknownKey` otherwise.
    pub fn remove(&mut self, id: SessionId, closed: bool) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(nonce) = entry.nonce {
            self.by_nonce.remove(&nonce);
        }
        if !closed {
            self.forget_keys(&entry.keys);
            return;
        }
        self.closed.push_back((id, entry.keys));
        if self.closed.len() > self.sessions_max
            && let Some((_, keys)) = self.closed.pop_front()
        {
            self.forget_keys(&keys);
        }
    }

    /// From now on, refuses new sessions for this reason.
    pub fn refuse_new(&mut self, reason: RejectReason) {
        self.refuse_new = Some(reason);
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn resume(&mut self, known: ResumeKey, key: ResumeKey) -> Admission {
        let Some(&id) = self.by_key.get(&known) else {
            return Admission::Reject(RejectReason::UnknownKey);
        };
        if !self.entries.contains_key(&id) {
            return Admission::Reject(RejectReason::Closed);
        }
        self.prove(id, known);
        self.give_key(id, key);
        Admission::Resume(id)
    }

    fn open(&mut self, nonce: Option<ResumeKey>, key: ResumeKey) -> Admission {
        if let Some(&id) = nonce.and_then(|nonce| self.by_nonce.get(&nonce)) {
            // The answer to this hello was lost, unless the peer has already used it: then this is
            // an echo from an abandoned link, and must not disturb the session.
            if self.entries.get(&id).is_some_and(|entry| entry.proved) {
                return Admission::Reject(RejectReason::Stale);
            }
            self.give_key(id, key);
            return Admission::Resume(id);
        }
        if let Some(reason) = self.refuse_new {
            return Admission::Reject(reason);
        }
        if self.entries.len() >= self.sessions_max {
            return Admission::Reject(RejectReason::Full);
        }
        self.next_id += 1;
        let id = SessionId(self.next_id);
        self.entries.insert(id, Entry { keys: VecDeque::from([key]), nonce, proved: false });
        self.by_key.insert(key, id);
        if let Some(nonce) = nonce {
            self.by_nonce.insert(nonce, id);
        }
        Admission::New(id)
    }

    fn give_key(&mut self, id: SessionId, key: ResumeKey) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.keys.len() == KEYS_PER_SESSION {
            // The proved key stays; of the others, the oldest is the least likely to be in use.
            let oldest_unproved = usize::from(entry.proved);
            if let Some(old) = entry.keys.remove(oldest_unproved) {
                self.by_key.remove(&old);
            }
        }
        entry.keys.push_back(key);
        self.by_key.insert(key, id);
    }

    fn forget_keys(&mut self, keys: &VecDeque<ResumeKey>) {
        for key in keys {
            self.by_key.remove(key);
        }
    }
}
