//! How a transport describes itself: where its links come from, and how they are harmed.

use std::any::Any;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;

use rejoin_core::{AcceptorConfig, AcceptorSource, DynLinkSource, LinkListener, LinkSource};

use crate::capability::Capability;
use crate::erase::{AnyListener, erase_listener};

/// A transport under test.
pub trait Fixture: Send + Sync + 'static {
    /// What the transport can do.
    ///
    /// # Behavior
    ///
    /// - Is the same at every call.
    fn capability(&self) -> Capability;

    /// Opens a medium.
    ///
    /// # Behavior
    ///
    /// - Each medium is independent of every other: trials run at the same time, each on media of
    ///   its own, on a tokio runtime of its own, of one thread and with real time.
    /// - Everything that the medium takes is given back when it is dropped.
    fn open(&self) -> impl Future<Output = io::Result<Medium>> + Send;

    /// An initiator's source that dials where nobody listens. Asked for only with
    /// [`Feature::Refusal`](crate::Feature::Refusal).
    ///
    /// # Behavior
    ///
    /// - Its every attempt fails, and none is fatal: somebody may listen there later.
    fn nobody(&self) -> impl Future<Output = io::Result<LoneSource>> + Send {
        ready(Err(lacking("Refusal", "Fixture::nobody")))
    }

    /// A source that has nothing more to give. Asked for only with
    /// [`Feature::Exhaustion`](crate::Feature::Exhaustion).
    ///
    /// # Behavior
    ///
    /// - Its every attempt fails, and the failure is fatal.
    fn exhausted(&self) -> impl Future<Output = io::Result<LoneSource>> + Send {
        ready(Err(lacking("Exhaustion", "Fixture::exhausted")))
    }
}

/// What links run over, from one initiator's side to one acceptor's: a loopback network with a
/// listener on it, a cable between two serial ports.
pub struct Medium {
    dial: Box<dyn FnMut() -> Box<dyn DynLinkSource> + Send>,
    acceptor: Option<Acceptor>,
    faults: Box<dyn DynFaults>,
    // Behind the rest, so that it goes last.
    _kept: Vec<Box<dyn Any + Send>>,
}

/// The accepting end of a medium.
pub(crate) enum Acceptor {
    Listener(AnyListener),
    Source(Box<dyn DynLinkSource>),
}

impl Medium {
    /// A medium on which `listener` accepts what the sources that `dial` gives dial.
    pub fn listening<S: LinkSource>(
        mut dial: impl FnMut() -> S + Send + 'static,
        listener: impl LinkListener,
    ) -> Self {
        let acceptor = Acceptor::Listener(erase_listener(listener));
        Self::new(Box::new(move || Box::new(dial())), acceptor)
    }

    /// A medium with one place at either end, and a source in each: `initiator` has the role of an
    /// initiator, `acceptor` that of an acceptor.
    pub fn point_to_point(initiator: impl LinkSource, acceptor: impl LinkSource) -> Self {
        let mut initiator: Option<Box<dyn DynLinkSource>> = Some(Box::new(initiator));
        let dial = move || initiator.take().expect("a trial with ManyLinks asks twice");
        Self::new(Box::new(dial), Acceptor::Source(Box::new(acceptor)))
    }

    fn new(dial: Box<dyn FnMut() -> Box<dyn DynLinkSource> + Send>, acceptor: Acceptor) -> Self {
        Self { dial, acceptor: Some(acceptor), faults: Box::new(NoFaults), _kept: Vec::new() }
    }

    /// The same medium, which `faults` harms.
    #[must_use]
    pub fn with_faults(mut self, faults: impl Faults) -> Self {
        self.faults = Box::new(faults);
        self
    }

    /// The same medium, which drops `guard` last: a temporary folder, a task that carries bytes.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send) -> Self {
        self._kept.push(Box::new(guard));
        self
    }

    /// A source of the initiator's role; more than once only with
    /// [`Feature::ManyLinks`](crate::Feature::ManyLinks).
    pub(crate) fn initiator(&mut self) -> Box<dyn DynLinkSource> {
        (self.dial)()
    }

    /// The accepting end, once.
    pub(crate) fn acceptor(&mut self) -> Acceptor {
        self.acceptor.take().expect("a trial asks for the acceptor once")
    }

    /// The accepting end as a source, once.
    pub(crate) fn acceptor_source(&mut self) -> Box<dyn DynLinkSource> {
        match self.acceptor() {
            Acceptor::Source(source) => source,
            Acceptor::Listener(listener) => {
                Box::new(AcceptorSource::new(listener, AcceptorConfig::default()))
            }
        }
    }

    pub(crate) async fn sever(&mut self, how: Sever) -> io::Result<()> {
        self.faults.sever(how).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("`Faults::sever({how:?})` of the fixture: {error}"),
            )
        })
    }

    pub(crate) async fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> io::Result<()> {
        self.faults.sever_next_after(toward, bytes).await
    }

    pub(crate) async fn restore(&mut self) -> io::Result<()> {
        self.faults.restore().await
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").finish_non_exhaustive()
    }
}

/// A source that has no medium, or one without a peer.
pub struct LoneSource {
    pub(crate) source: Box<dyn DynLinkSource>,
    _kept: Vec<Box<dyn Any + Send>>,
}

impl LoneSource {
    /// A source of either role.
    pub fn new(source: impl LinkSource) -> Self {
        Self { source: Box::new(source), _kept: Vec::new() }
    }

    /// The same source, which drops `guard` last: a socket that holds a port on which nobody
    /// listens.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send) -> Self {
        self._kept.push(Box::new(guard));
        self
    }
}

impl fmt::Debug for LoneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoneSource").finish_non_exhaustive()
    }
}

/// A way to harm the links of a medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Sever {
    /// The medium ends the links in order: each end receives what has arrived, then `None`.
    Graceful,
    /// The medium kills the links: each end sees an error. What was on its way may be lost.
    Abrupt,
    /// Nothing gets through any more, in either direction, and neither end is told.
    HalfOpen,
    /// What is on its way is damaged: bits flipped, bytes lost or inserted, in at least one byte
    /// of what each direction carries next.
    Corrupted,
}

/// One of the two directions of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]

pub enum Toward {
    /// From the initiator to the acceptor.
    Acceptor,
    /// From the acceptor to the initiator.
    Initiator,
}

/// Harms the links of one medium.
pub trait Faults: Send + 'static {
    /// Harms every live link.
    ///
    /// # Behavior
    ///
    /// - Is called only with what the [`Capability`] does not exclude.
    /// - Links that are made afterwards are whole, if need be after a [`restore`](Self::restore).
    fn sever(&mut self, how: Sever) -> impl Future<Output = io::Result<()>> + Send;

    /// Kills the next link that is made, as [`Sever::Abrupt`] does, when exactly `bytes` more bytes
    /// of it went `toward` that end. Asked for only with
    /// [`Feature::CutAfterBytes`](crate::Feature::CutAfterBytes).
    ///
    /// # Behavior
    ///
    /// - Does nothing to a link that ends before.
    fn sever_next_after(
        &mut self,
        toward: Toward,
        bytes: u64,
    ) -> impl Future<Output = io::Result<()>> + Send {
        let _ = (toward, bytes);
        ready(Err(lacking("CutAfterBytes", "Faults::sever_next_after")))
    }

    /// Mends the medium: new links can be made and are whole.
    ///
    /// # Behavior
    ///
    /// - Links that were silent may stay silent, go on, or die. What they held back may arrive.
    /// - Does nothing to a whole medium.
    fn restore(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }
}

/// The faults of a medium that has none.
struct NoFaults;

impl Faults for NoFaults {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        let feature = match how {
            Sever::Graceful => "GracefulEnd",
            Sever::Abrupt => "AbruptEnd",
            Sever::HalfOpen => "HalfOpen",
            Sever::Corrupted => "Corruption",
        };
        Err(lacking(feature, "Medium::with_faults"))
    }
}

/// Says to an author whose fixture is not finished what it still needs.
fn lacking(feature: &str, what: &str) -> io::Error {
    let text = format!(
        "the fixture gives no `{what}`, and its capability is not `without` `Feature::{feature}`"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Faults`] as an object.
trait DynFaults: Send {
    fn sever(&mut self, how: Sever) -> BoxFuture<'_, io::Result<()>>;
    fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> BoxFuture<'_, io::Result<()>>;
    fn restore(&mut self) -> BoxFuture<'_, io::Result<()>>;
}

impl<T: Faults> DynFaults for T {
    fn sever(&mut self, how: Sever) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(Faults::sever(self, how))
    }

    fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(Faults::sever_next_after(self, toward, bytes))
    }

    fn restore(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(Faults::restore(self))
    }
}

/// [`Fixture`] as an object.
pub(crate) trait DynFixture: Send + Sync {
    fn open(&self) -> BoxFuture<'_, io::Result<Medium>>;
    fn nobody(&self) -> BoxFuture<'_, io::Result<LoneSource>>;
    fn exhausted(&self) -> BoxFuture<'_, io::Result<LoneSource>>;
}

impl<T: Fixture> DynFixture for T {
    fn open(&self) -> BoxFuture<'_, io::Result<Medium>> {
        Box::pin(Fixture::open(self))
    }

    fn nobody(&self) -> BoxFuture<'_, io::Result<LoneSource>> {
        Box::pin(Fixture::nobody(self))
    }

    fn exhausted(&self) -> BoxFuture<'_, io::Result<LoneSource>> {
        Box::pin(Fixture::exhausted(self))
    }
}
