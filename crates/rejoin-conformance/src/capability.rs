//! What a transport declares of itself, by which trials are chosen. A transport can do everything
//! that it does not declare, with a reason, to lack.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a transport, or its fixture, may lack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Feature {
    /// The acceptor is a [`LinkListener`](rejoin_core::LinkListener), which serves many peers.
    Listener,
    /// Several links live on the medium at the same time.
    ManyLinks,
    /// The peer's [`close`](rejoin_core::LinkTx::close) is received as `None`.
    CloseSeen,
    /// A link that the peer drops without a close ends for the receiver, with an error or `None`.
    DropSeen,
    /// And that end is an error: it can be told from a close.
    DropIsError,
    /// The fixture can [end links in order](crate::Sever::Graceful).
    GracefulEnd,
    /// The fixture can [kill links](crate::Sever::Abrupt).
    AbruptEnd,
    /// The fixture can [silence links](crate::Sever::HalfOpen).
    HalfOpen,
    /// The fixture can [damage what is on its way](crate::Sever::Corrupted).
    Corruption,
    /// The fixture can [cut the next link behind an exact byte](crate::Faults::sever_next_after).
    CutAfterBytes,
    /// A dial fails when nobody listens: the fixture gives a [source](crate::Fixture::nobody) that
    /// does so.
    Refusal,
    /// A source can run out of links for good: the fixture gives
    /// [one that has](crate::Fixture::exhausted).
    Exhaustion,
    /// A payload's length is known before all of it is there, so that
    /// [`limit_payloads`](rejoin_core::LinkRx::limit_payloads) has an effect.
    EarlyLimit,
    /// The sending half counts the bytes that the medium takes.
    SendProgress,
    /// The receiving half counts the bytes that come from the medium.
    RecvProgress,
}

/// What a transport can do, as far as trials depend on it.
#[derive(Clone, Debug)]
pub struct Capability {
    pub(crate) name: String,
    pub(crate) payload_bytes_max: usize,
    pub(crate) buffered_bytes_max: usize,
    pub(crate) load_bytes: usize,
    pub(crate) deadline: Duration,
    lacks: BTreeMap<Feature, String>,
}

impl Capability {
    /// A transport called `name` that can do everything.
    ///
    /// `payload_bytes_max` is the largest payload that the fixture's links take and give, in bytes:
    /// a fixture does well to set a limit of some hundred kilobytes. At least 4 KiB.
    ///
    /// `buffered_bytes_max` is how many bytes a link and its medium may hold in one direction while
    /// the receiver takes nothing; a sender that is rid of more has found a buffer without a bound.
    /// A generous estimate will do. They hold at least 20 messages of 100 bytes: so many does one
    /// trial send before it kills the link.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        payload_bytes_max: usize,
        buffered_bytes_max: usize,
    ) -> Self {
        Self {
            name: name.into(),
            payload_bytes_max,
            buffered_bytes_max,
            load_bytes: 4 * 1024 * 1024,
            deadline: Duration::from_secs(60),
            lacks: BTreeMap::new(),
        }
    }

    /// The same transport without `feature`; `because` is shown for each trial that is skipped.
    #[must_use]
    pub fn without(mut self, feature: Feature, because: impl Into<String>) -> Self {
        self.lacks.insert(feature, because.into());
        self
    }

    /// About how many bytes a trial under load moves in one direction; 4 MiB unless told. For a
    /// medium that is slow.
    #[must_use]
    pub fn with_load_bytes(mut self, bytes: usize) -> Self {
        self.load_bytes = bytes;
        self
    }

    /// How long one trial may take before it counts as hanging; 60 s unless told.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The transport's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the transport has `feature`.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        !self.lacks.contains_key(&feature)
    }

    /// Why the transport lacks the first of `features` that it lacks.
    pub(crate) fn lacks(&self, features: &[Feature]) -> Option<&str> {
        features.iter().find_map(|feature| self.lacks.get(feature)).map(String::as_str)
    }
}
