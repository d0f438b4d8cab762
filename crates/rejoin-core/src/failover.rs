//! One link source made of several, in an order of preference: the cable, then the radio, then the
//! satellite.
//!
//! It decides which source is asked next, and for how long. It deliberately has no timers of its
//! own and makes no link in advance: the conduit calls, for the next link and for a better one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::dyn_source::{BoxLink, DynLinkSource};
use crate::protocol::Role;
use crate::source::{Attachment, LinkSource};
use crate::stable::ConfigError;

/// How one source of a [`Failover`] is tried. Each has its own; what holds for all of them together,
/// such as the pause between two rounds and how often to try, is the conduit's
/// [redial policy](crate::RedialPolicy).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailoverPolicy {
    /// How long one attempt of this source may take to give a link. Default 3 s.
    ///
    /// Those of all sources should fit into the
    /// [deadline of an attempt](crate::RedialPolicy::attempt_deadline) of the conduit. Where they do
    /// not, the next round goes on behind the source at which that one was broken off.
    pub attempt_deadline: Duration,
    /// How long this source is left out after an attempt that failed. Default 0: it is tried in
    /// every round.
    ///
    /// For a source of which each attempt costs something. While all sources rest, attempts fail at
    /// once; the conduit goes on making them as its [redial policy](crate::RedialPolicy) says.
    pub rest_after_failure: Duration,
    /// How long a link of this source is in use before the sources before it are tried, and tried
    /// again, for a better one. Default 30 s; `None` for never.
    pub better_after: Option<Duration>,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self {
            attempt_deadline: Duration::from_secs(3),
            rest_after_failure: Duration::ZERO,
            better_after: Some(Duration::from_secs(30)),
        }
    }
}

/// A [`LinkSource`] that asks several ones, also of different transports, in order of preference.
///
/// - Each attempt is one round: the sources are asked one after another, each under its own
///   [deadline](FailoverPolicy::attempt_deadline), and the first link is taken.
/// - A link on which the handshake fails counts as no link: the next round begins behind the source
///   that gave it.
/// - A source that fails fatally is left out from then on. When all have, so has the whole.
/// - While a link of a later source is in use, the earlier ones are tried again
///   [from time to time](FailoverPolicy::better_after), in the background. When one of them works,
///   the conduit moves over to it without a pause; when none does, nothing changes.
///
/// A session is not tied to a transport, so one that was begun over one source goes on over
/// another, provided that all of them lead to the same [listener](crate::StableListener): a session
/// lives in one process on each side. A [`ListenerSet`](crate::ListenerSet) accepts from several
/// transports for one.
///
/// ```
/// use std::time::Duration;
///
/// use rejoin_core::{Failover, FailoverPolicy, LinkSource, StableConduit};
///
/// async fn connect(
///     cable: impl LinkSource,
///     radio: impl LinkSource,
/// ) -> Result<StableConduit<String>, rejoin_core::ConnectError> {
///     let mut sparing = FailoverPolicy::default();
///     sparing.rest_after_failure = Duration::from_secs(60);
///     let source = Failover::new(cable)?.or_with(radio, sparing)?;
///     StableConduit::connect(source).await
/// }
/// ```
pub struct Failover {
    /// Most preferred first; never empty.
    entries: Vec<Entry>,
    /// Whose link was given last.
    given: Option<usize>,
    /// Whose link was given before that one.
    given_before: Option<usize>,
    /// The entry that is asked now. Found at the beginning of a round, it is the one at which the
    /// last round was broken off, or of which the handshake failed.
    trying: Option<usize>,
}

struct Entry {
    source: Box<dyn DynLinkSource>,
    policy: FailoverPolicy,
    rests_until: Option<Instant>,
    /// Why it is left out for good.
    fatal: Option<Arc<io::Error>>,
}

impl Failover {
    /// Prefers `first` to whatever is added later.
    ///
    /// # Errors
    ///
    /// When the source's role is not the initiator's.
    pub fn new(first: impl LinkSource) -> Result<Self, ConfigError> {
        Self::new_with(first, FailoverPolicy::default())
    }

    /// As [`new`](Self::new), with a policy for `first`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when the policy makes no sense.
    pub fn new_with(first: impl LinkSource, policy: FailoverPolicy) -> Result<Self, ConfigError> {
        let none = Self { entries: Vec::new(), given: None, given_before: None, trying: None };
        none.or_with(first, policy)
    }

    /// Adds a source that is asked when those before it give no link.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn or(self, next: impl LinkSource) -> Result<Self, ConfigError> {
        self.or_with(next, FailoverPolicy::default())
    }

    /// As [`or`](Self::or), with a policy for `next`.
    ///
    /// # Errors
    ///
    /// As [`new_with`](Self::new_with).
    pub fn or_with(
        mut self,
        next: impl LinkSource,
        policy: FailoverPolicy,
    ) -> Result<Self, ConfigError> {
        if next.role() != Role::Initiator {
            return Err(ConfigError::AcceptorInFailover);
        }
        if policy.attempt_deadline.is_zero() {
            return Err(ConfigError::OutOfRange { setting: "attempt_deadline" });
        }
        if policy.better_after.is_some_and(|after| after.is_zero()) {
            return Err(ConfigError::OutOfRange { setting: "better_after" });
        }
        let source = Box::new(next);
        self.entries.push(Entry { source, policy, rests_until: None, fatal: None });
        Ok(self)
    }

    /// Asks the first `count` entries, beginning behind the one at which the last round broke off.
    async fn round(&mut self, count: usize) -> io::Result<Attachment<BoxLink>> {
        let begin = match self.trying.take() {
            Some(broken_off) if broken_off < count => {
                self.entries[broken_off].rest();
                (broken_off + 1) % count
            }
            _ => 0,
        };
        let mut failures: Vec<Option<EntryFailure>> = (0..count).map(|_| None).collect();
        for index in (begin..count).chain(0..begin) {
            let entry = &mut self.entries[index];
            if let Some(failure) = entry.left_out() {
                failures[index] = Some(failure);
                continue;
            }
            self.trying = Some(index);
            let result = entry.attempt().await;
            self.trying = None;
            match result {
                Ok(attachment) => {
                    self.given_before = self.given.replace(index);
                    return Ok(attachment);
                }
                Err(failure) => failures[index] = Some(failure),
            }
        }
        Err(FailoverError { failures: failures.into_iter().flatten().collect() }.into())
    }

    /// How many entries are better than the one whose link was given last.
    fn better(&self) -> usize {
        self.given.unwrap_or(0)
    }
}

impl LinkSource for Failover {
    type Link = BoxLink;

    async fn next_link(&mut self) -> io::Result<Attachment<BoxLink>> {
        self.round(self.entries.len()).await
    }

    fn is_fatal(&self, _: &io::Error) -> bool {
        self.entries.iter().all(|entry| entry.fatal.is_some())
    }

    fn better_after(&self) -> Option<Duration> {
        let given = &self.entries[self.given?];
        let better = &self.entries[..self.better()];
        given.policy.better_after.filter(|_| better.iter().any(|entry| entry.fatal.is_none()))
    }

    async fn next_better_link(&mut self) -> io::Result<Attachment<BoxLink>> {
        self.round(self.better()).await
    }

    fn link_failed(&mut self, error: &io::Error) {
        let Some(index) = self.given else { return };
        self.given = self.given_before.take();
        self.trying = Some(index);
        let entry = &mut self.entries[index];
        entry.source.link_failed_dyn(error);
        entry.rest();
        if entry.source.is_fatal_dyn(error) {
            entry.fatal = Some(Arc::new(io::Error::new(error.kind(), error.to_string())));
        }
    }
}

impl fmt::Debug for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failover")
            .field("sources", &self.entries.len())
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Why it is not asked in this round, if it is not.
    fn left_out(&self) -> Option<EntryFailure> {
        if let Some(error) = &self.fatal {
            return Some(EntryFailure::Fatal(Arc::clone(error)));
        }
        let left = self.rests_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(EntryFailure::Resting { left })
    }

    async fn attempt(&mut self) -> Result<Attachment<BoxLink>, EntryFailure> {
        let deadline = self.policy.attempt_deadline;
        match timeout(deadline, self.source.next_link_dyn()).await {
            Ok(Ok(attachment)) => {
                self.rests_until = None;
                Ok(attachment)
            }
            Ok(Err(error)) if self.source.is_fatal_dyn(&error) => {
                let error = Arc::new(error);
                self.fatal = Some(Arc::clone(&error));
                Err(EntryFailure::Fatal(error))
            }
            Ok(Err(error)) => {
                self.rest();
                Err(EntryFailure::Failed(error))
            }
            Err(_) => {
                self.rest();
                Err(EntryFailure::TimedOut { deadline })
            }
        }
    }

    fn rest(&mut self) {
        // Too far off to be an instant is as good as for ever.
        let rest = self.policy.rest_after_failure.min(Duration::from_secs(10 * 365 * 24 * 3600));
        self.rests_until = Some(Instant::now() + rest);
    }
}

/// No source of a [`Failover`] gave a link. Found [within](io::Error::get_ref) the error of
/// [`next_link`](LinkSource::next_link).
#[derive(Debug)]
#[non_exhaustive]
pub struct FailoverError {
    /// What each source that was to be asked failed with, most preferred first. After
    /// [`next_better_link`](LinkSource::next_better_link) these are the better ones only.
    pub failures: Vec<EntryFailure>,
}

impl fmt::Display for FailoverError {
    /// Names what is not in the chain of [`source`](std::error::Error::source) already: the other
    /// failures, each with its place in the order of preference and its cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no source gave a link")?;
        let leading = self.leading();
        let mut separator = "; apart from the cause: ";
        for (place, failure) in (1..).zip(&self.failures) {
            if leading.is_some_and(|it| std::ptr::eq(it, failure)) {
                continue;
            }
            write!(f, "{separator}{place}. {failure}")?;
            if let Some(cause) = std::error::Error::source(failure) {
                write!(f, ", {cause}")?;
            }
            separator = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for FailoverError {
    /// The failure of the most preferred source that may heal, or else of the first.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.leading().map(|failure| failure as _)
    }
}

impl FailoverError {
    fn leading(&self) -> Option<&EntryFailure> {
        let may_heal = self.failures.iter().find(|it| !matches!(it, EntryFailure::Fatal(_)));
        may_heal.or(self.failures.first())
    }
}

impl From<FailoverError> for io::Error {
    fn from(error: FailoverError) -> Self {
        let kind = match error.leading() {
            Some(EntryFailure::Failed(cause)) => cause.kind(),
            Some(EntryFailure::Fatal(cause)) => cause.kind(),
            Some(EntryFailure::TimedOut { .. }) => io::ErrorKind::TimedOut,
            Some(EntryFailure::Resting { .. }) => io::ErrorKind::WouldBlock,
            None => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// What one source of a [`Failover`] failed with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EntryFailure {
    /// It failed, and is asked again later.
    #[error("the source failed")]
    Failed(#[source] io::Error),
    /// It gave no link within its deadline, and is asked again later.
    #[error("the source gave no link within {deadline:?}")]
    TimedOut {
        /// The deadline.
        deadline: Duration,
    },
    /// It was not asked, because it rests after a failure.
    #[error("the source rests for {left:?} more")]
    Resting {
        /// For how long.
        left: Duration,
    },
    /// It has failed for good, now or earlier, and is not asked again.
    #[error("the source failed for good")]
    Fatal(#[source] Arc<io::Error>),
}
