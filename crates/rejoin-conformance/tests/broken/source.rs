//! Sources and a listener that are broken in one way, and the medium that they make.

use std::any::Any;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rejoin_conformance::{Capability, Fixture, LoneSource, Medium};
use rejoin_core::protocol::Role;
use rejoin_core::{
    Attachment, Link, LinkListener, LinkRx, LinkSource, MemoryLink, MemoryListener, MemoryNetwork,
    MemoryRx, MemorySource, MemoryTx, Progress, SplitLink, memory_listener,
};

use crate::fault::Fault;
use crate::link::{BrokenLink, broken};
use crate::memory::{Network, config};

/// What the parts of one broken medium have in common.
#[derive(Default)]
pub(crate) struct Shared {
    /// What nobody may see dropped.
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
    pub(crate) hoard: Mutex<Vec<Bytes>>,
    pub(crate) recycled: Mutex<(Option<MemoryTx>, Option<MemoryRx>)>,
    pub(crate) spoilt: AtomicBool,
    links: AtomicU64,
}

impl Shared {
    pub(crate) fn keep(&self, half: impl Any + Send) {
        self.kept.lock().unwrap().push(Box::new(half));
    }
}

/// The memory transport with one fault.
pub(crate) struct Broken {
    pub(crate) fault: Fault,
    pub(crate) capability: Capability,
}

impl Fixture for Broken {
    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    async fn open(&self) -> io::Result<Medium> {
        let (listener, connector) = memory_listener(config());
        let shared = Arc::new(Shared::default());
        let listener =
            BrokenListener { inner: listener, fault: self.fault, shared: Arc::clone(&shared) };
        let faults = Network(connector.network().clone());
        let fault = self.fault;
        let dial = move || BrokenSource {
            inner: connector.source(),
            fault,
            shared: Arc::clone(&shared),
            network: connector.network().clone(),
            trying: false,
        };
        Ok(Medium::listening(dial, listener).with_faults(faults))
    }

    async fn nobody(&self) -> io::Result<LoneSource> {
        let (_gone, connector) = memory_listener(config());
        Ok(LoneSource::new(Refused { inner: connector.source(), fault: self.fault }))
    }

    async fn exhausted(&self) -> io::Result<LoneSource> {
        Ok(LoneSource::new(Exhausted { fault: self.fault, asked: 0 }))
    }
}

struct BrokenSource {
    inner: MemorySource,
    fault: Fault,
    shared: Arc<Shared>,
    network: MemoryNetwork,
    trying: bool,
}

impl LinkSource for BrokenSource {
    type Link = BrokenLink;

    async fn next_link(&mut self) -> io::Result<Attachment<BrokenLink>> {
        let number = self.shared.links.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::HangsTheSecondTime if number == 1 => pending().await,
            Fault::HangsAfterThreeLinks if number >= 3 => pending().await,
            Fault::FailsAfterADroppedAttempt if self.trying => pending().await,
            Fault::FailsAfterADroppedSend if self.shared.spoilt.load(Ordering::SeqCst) => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Fault::NewLinkKillsTheOld => self.network.cut_links(),
            _ => {}
        }
        if self.fault == Fault::FailsAfterADroppedAttempt {
            self.trying = true;
            tokio::task::yield_now().await;
        }
        let recycled = std::mem::take(&mut *self.shared.recycled.lock().unwrap());
        if let (Some(tx), Some(rx)) = recycled {
            let link = SplitLink::new(tx, rx, Default::default());
            return Ok(Attachment::initiator(broken(link, self.fault, &self.shared)));
        }
        let attachment = self.inner.next_link().await?;
        self.trying = false;
        Ok(attachment.map_link(|link| broken(link, self.fault, &self.shared)))
    }

    fn role(&self) -> Role {
        match self.fault {
            Fault::ClaimsTheOtherRole if self.shared.links.load(Ordering::SeqCst) > 0 => {
                Role::Acceptor
            }
            _ => Role::Initiator,
        }
    }
}

/// The accepting side, where links are whole and only their coming can be broken.
struct BrokenListener {
    inner: MemoryListener,
    fault: Fault,
    shared: Arc<Shared>,
}

impl LinkListener for BrokenListener {
    type Link = SplitLink<MemoryTx, PeekedRx>;
    type Upgrade = Pin<Box<dyn Future<Output = io::Result<Self::Link>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let link = self.inner.accept().await?.await?;
        match self.fault {
            Fault::LosesPeersWhenDropped => tokio::task::yield_now().await,
            Fault::WaitsForAcceptedPeers => {
                let link = peek(link).await?;
                return Ok(Box::pin(async { Ok(link) }));
            }
            Fault::EndsWithABadPeer => {
                if self.shared.spoilt.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                let shared = Arc::clone(&self.shared);
                return Ok(Box::pin(async move {
                    let link = peek(link).await?;
                    let (tx, rx) = link.split();
                    let is_hello =
                        rx.first.as_ref().is_some_and(|first| first.starts_with(b"ROCH"));
                    shared.spoilt.fetch_or(!is_hello, Ordering::SeqCst);
                    Ok(SplitLink::new(tx, rx, Default::default()))
                }));
            }
            _ => {}
        }
        let peer = link.peer();
        let (tx, inner) = link.split();
        Ok(Box::pin(async { Ok(SplitLink::new(tx, PeekedRx::new(None, inner), peer)) }))
    }
}

/// The link, once its peer has said something.
async fn peek(link: MemoryLink) -> io::Result<SplitLink<MemoryTx, PeekedRx>> {
    let peer = link.peer();
    let (tx, mut inner) = link.split();
    let first = inner.recv().await?;
    Ok(SplitLink::new(tx, PeekedRx::new(first, inner), peer))
}

/// A whole receiving half, of which the first payload may have been looked at. Looks at how long
/// payloads are, as a broken one does.
pub(crate) struct PeekedRx {
    first: Option<Bytes>,
    inner: MemoryRx,
    limit: Option<usize>,
    /// A payload was longer than the limit.
    too_long: bool,
}

impl PeekedRx {
    fn new(first: Option<Bytes>, inner: MemoryRx) -> Self {
        Self { first, inner, limit: None, too_long: false }
    }
}

impl LinkRx for PeekedRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        if self.too_long {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let received = match self.first.take() {
            Some(first) => Some(first),
            None => self.inner.recv().await?,
        };
        let len = received.as_ref().map_or(0, Bytes::len);
        self.too_long = self.limit.is_some_and(|limit| len > limit);
        if self.too_long { Err(io::ErrorKind::InvalidData.into()) } else { Ok(received) }
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.limit = bytes_max;
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }
}

struct Refused {
    inner: MemorySource,
    fault: Fault,
}

impl LinkSource for Refused {
    type Link = MemoryLink;

    async fn next_link(&mut self) -> io::Result<Attachment<MemoryLink>> {
        match self.inner.next_link().await {
            Err(_) if self.fault == Fault::RefusalIsUntyped => Err(io::Error::other("refused")),
            given => given,
        }
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        self.fault == Fault::RefusalIsFatal || self.inner.is_fatal(error)
    }
}

struct Exhausted {
    fault: Fault,
    asked: u32,
}

impl LinkSource for Exhausted {
    type Link = MemoryLink;

    async fn next_link(&mut self) -> io::Result<Attachment<MemoryLink>> {
        self.asked += 1;
        Err(match self.fault {
            Fault::ExhaustionHeals if self.asked > 2 => io::ErrorKind::TimedOut.into(),
            _ => io::ErrorKind::Unsupported.into(),
        })
    }
}
