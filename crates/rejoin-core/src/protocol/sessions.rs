//! The acceptor's table: which session a hello belongs to.
//!
//! It knows keys and nothing else of a session. Keys rotate, and an answer can be lost, so a session
//! has up to two valid keys: the last that the peer has shown to know, and the one given out since.

use std::collections::{HashMap, VecDeque};

use crate::protocol::error::RejectReason;
use crate::protocol::hello::{ClientHello, Opening, ResumeKey};

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
    /// It opens this new session; the answer is to hold this key.
    New(SessionId, ResumeKey),
    /// It goes on with this session; the answer is to hold this key.
    Resume(SessionId, ResumeKey),
    /// It is refused.
    Reject(RejectReason),
}

#[derive(Clone, Debug)]
struct Entry {
    /// The last key that the peer has shown to know.
    proved: Option<ResumeKey>,
    /// The key given out since, and given again until it is proved. A new one with each answer would
    /// let late echoes of one hello push out the key that the peer has.
    given: Option<ResumeKey>,
    nonce: Option<ResumeKey>,
}

impl Entry {
    fn keys(&self) -> impl Iterator<Item = ResumeKey> {
        self.proved.into_iter().chain(self.given)
    }
}

/// All sessions of one acceptor, by key.
///
/// Invariant: `by_key` holds exactly the keys of all entries, and the keys of at most
/// `sessions_max` sessions that were closed; `by_nonce` exactly the nonces of all entries.
#[derive(Clone, Debug)]
pub struct Sessions {
    sessions_max: usize,
    entries: HashMap<SessionId, Entry>,
    /// With the standard hasher, whose random seed keeps the time of a look-up from telling how much
    /// of a guessed key is right.
    by_key: HashMap<ResumeKey, SessionId>,
    by_nonce: HashMap<ResumeKey, SessionId>,
    /// The keys of sessions that were closed in good order, oldest first.
    closed: VecDeque<Entry>,
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

    /// Decides on `hello`. `key` must be fresh randomness; it becomes valid if the session is in need
    /// of another key.
    #[must_use]
    pub fn admit(&mut self, hello: &ClientHello, key: ResumeKey) -> Admission {
        match hello.opening() {
            Opening::Resume(known) => self.resume(known, key),
            Opening::Fresh { nonce } => self.open(nonce, key),
        }
    }

    /// The peer has shown that it knows `key`: an older one is of no use any more.
    pub fn prove(&mut self, id: SessionId, key: ResumeKey) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.given != Some(key) {
            return;
        }
        entry.given = None;
        if let Some(old) = entry.proved.replace(key) {
            self.by_key.remove(&old);
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
            self.forget_keys(&entry);
            return;
        }
        self.closed.push_back(entry);
        if self.closed.len() > self.sessions_max
            && let Some(oldest) = self.closed.pop_front()
        {
            self.forget_keys(&oldest);
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
        Admission::Resume(id, self.key_to_give(id, key))
    }

    fn open(&mut self, nonce: Option<ResumeKey>, key: ResumeKey) -> Admission {
        if let Some(&id) = nonce.and_then(|nonce| self.by_nonce.get(&nonce)) {
            // The answer to this hello was lost, unless the peer has already used it: then this is
            // an echo from an abandoned link, and must not disturb the session.
            if self.entries.get(&id).is_some_and(|entry| entry.proved.is_some()) {
                return Admission::Reject(RejectReason::Stale);
            }
            return Admission::Resume(id, self.key_to_give(id, key));
        }
        if let Some(reason) = self.refuse_new {
            return Admission::Reject(reason);
        }
        if self.entries.len() >= self.sessions_max {
            return Admission::Reject(RejectReason::Full);
        }
        self.next_id += 1;
        let id = SessionId(self.next_id);
        self.entries.insert(id, Entry { proved: None, given: Some(key), nonce });
        self.by_key.insert(key, id);
        if let Some(nonce) = nonce {
            self.by_nonce.insert(nonce, id);
        }
        Admission::New(id, key)
    }

    /// The key for the next answer: the one that waits to be proved, or else `fresh`.
    fn key_to_give(&mut self, id: SessionId, fresh: ResumeKey) -> ResumeKey {
        let Some(entry) = self.entries.get_mut(&id) else { return fresh };
        if let Some(given) = entry.given {
            return given;
        }
        entry.given = Some(fresh);
        self.by_key.insert(fresh, id);
        fresh
    }

    fn forget_keys(&mut self, entry: &Entry) {
        for key in entry.keys() {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    /// Whoever measures look-ups cannot know what is hashed alike.
    #[test]
    fn tables_hash_under_seeds_of_their_own() {
        let key = ResumeKey::from_bytes([1; 16]);
        let hashes = [(); 3].map(|()| Sessions::new(1).by_key.hasher().hash_one(key));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2], "{hashes:?}");
    }
}
