//! Memory links that are dialed and accepted, and the faults that a test inflicts on them. Nothing
//! here happens by itself: there is no randomness and no delay.

use std::future::{Ready, pending, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, watch};

use super::MemoryConfig;
use super::channel::Channel;
use super::link::{MemoryLink, memory_link_pair};
use crate::source::{Attachment, LinkListener, LinkSource};

/// A listener within this process, and what dials it. Both belong to a network of their own, which
/// fails on demand: for tests of what is built on conduits.
///
/// ```
/// use rejoin_core::{MemoryConfig, StableConduit, StableListener, memory_listener};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (listener, connector) = memory_listener(MemoryConfig::default());
/// let mut listener = StableListener::<String>::new(listener);
/// let dial = StableConduit::<String>::connect(connector.source());
/// let (near, far) = tokio::join!(dial, listener.accept());
/// let ((tx, _rx), (_tx, mut rx)) = (near?.split(), far?.split());
///
/// connector.network().cut_links();
/// tx.send(&"arrives all the same".into()).await?;
/// assert_eq!(*rx.recv().await?.ok_or("closed")?, "arrives all the same");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn memory_listener(config: MemoryConfig) -> (MemoryListener, MemoryConnector) {
    MemoryNetwork::new().listen(config)
}

/// What memory links run over: a handle that makes them fail on demand.
///
/// Clones are handles to the same network.
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    channels: Mutex<Channels>,
    dials: watch::Sender<Dials>,
}

#[derive(Debug, Default)]
struct Channels {
    live: Vec<Weak<Channel>>,
    /// The length at which the dead are looked for, so that one look pays for many links.
    prune_at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dials {
    Answered,
    Refused,
    Ignored,
}

impl MemoryNetwork {
    /// A network in which nothing fails yet.
    #[must_use]
    pub fn new() -> Self {
        let channels = Mutex::default();
        Self { shared: Arc::new(Shared { channels, dials: watch::Sender::new(Dials::Answered) }) }
    }

    /// Two ends of a link over this network.
    #[must_use]
    pub fn link_pair(&self, config: MemoryConfig) -> (MemoryLink, MemoryLink) {
        let (near, far) = memory_link_pair(config);
        let mut channels = lock(&self.shared.channels);
        if channels.live.len() >= channels.prune_at {
            channels.live.retain(|channel| channel.strong_count() > 0);
            channels.prune_at = 64.max(2 * channels.live.len());
        }
        channels.live.extend(near.channels().map(Arc::downgrade));
        (near, far)
    }

    /// A listener on this network, and what dials it.
    #[must_use]
    pub fn listen(&self, config: MemoryConfig) -> (MemoryListener, MemoryConnector) {
        let (backlog, dialed) = mpsc::channel(config.backlog_max.max(1));
        let backlog = Arc::new(Mutex::new(backlog));
        (MemoryListener { dialed }, MemoryConnector { network: self.clone(), config, backlog })
    }

    /// Cuts every live link: both ends fail with [`io::ErrorKind::ConnectionReset`], and what was in
    /// flight is lost.
    pub fn cut_links(&self) {
        self.each_channel(Channel::cut);
    }

    /// Freezes every live link: it takes payloads until its capacity is used up, and nothing
    /// arrives, not even that the peer is gone. Links that are dialed later are not frozen.
    pub fn freeze_links(&self) {
        self.each_channel(Channel::freeze);
    }

    /// Ends a freeze: what was in flight arrives.
    pub fn thaw_links(&self) {
        self.each_channel(Channel::thaw);
    }

    /// From now on, dials succeed where there is a listener. It is so at first.
    pub fn answer_dials(&self) {
        self.shared.dials.send_replace(Dials::Answered);
    }

    /// From now on, dials fail with [`io::ErrorKind::ConnectionRefused`].
    pub fn refuse_dials(&self) {
        self.shared.dials.send_replace(Dials::Refused);
    }

    /// From now on, dials wait until they are answered or refused.
    pub fn ignore_dials(&self) {
        self.shared.dials.send_replace(Dials::Ignored);
    }

    async fn await_answer(&self) -> io::Result<()> {
        let mut dials = self.shared.dials.subscribe();
        // The sender outlives the wait, so the only way on is a change of mind.
        let answer = dials.wait_for(|dials| *dials != Dials::Ignored).await;
        match answer.as_deref() {
            Ok(Dials::Answered) => Ok(()),
            _ => Err(refused()),
        }
    }

    fn each_channel(&self, act: impl Fn(&Channel)) {
        // The lock is released first: waking a task may run code that comes back here.
        let channels: Vec<_> =
            lock(&self.shared.channels).live.iter().filter_map(Weak::upgrade).collect();
        for channel in channels {
            act(&channel);
        }
    }
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        Self::new()
    }
}

/// Dials a [`MemoryListener`]. Clones dial the same one.
#[derive(Clone, Debug)]
pub struct MemoryConnector {
    network: MemoryNetwork,
    config: MemoryConfig,
    backlog: Arc<Mutex<mpsc::Sender<MemoryLink>>>,
}

impl MemoryConnector {
    /// Dials the listener; waits while its backlog is full.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionRefused`] when the listener is gone, or the network
    /// [refuses](MemoryNetwork::refuse_dials).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt; the listener never sees it.
    pub async fn connect(&self) -> io::Result<MemoryLink> {
        self.network.await_answer().await?;
        let backlog = lock(&self.backlog).clone();
        let place = backlog.reserve().await.map_err(|_| refused())?;
        let (near, far) = self.network.link_pair(self.config);
        place.send(far);
        // A listener that went between the reservation and the sending has not seen the link.
        if backlog.is_closed() { Err(refused()) } else { Ok(near) }
    }

    /// A source of links to the listener.
    #[must_use]
    pub fn source(&self) -> MemorySource {
        MemorySource { connector: self.clone() }
    }

    /// Puts a new listener in the place of one that was dropped, as a restarted server would.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] while the listener lives.
    pub fn listen_again(&self) -> io::Result<MemoryListener> {
        let mut backlog = lock(&self.backlog);
        if !backlog.is_closed() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "the memory listener lives"));
        }
        let (fresh, dialed) = mpsc::channel(self.config.backlog_max.max(1));
        *backlog = fresh;
        Ok(MemoryListener { dialed })
    }

    /// The network that the links run over.
    #[must_use]
    pub fn network(&self) -> &MemoryNetwork {
        &self.network
    }
}

/// A [`LinkSource`] that dials a [`MemoryListener`].
///
/// A refusal is not fatal, as a new listener may [take the place](MemoryConnector::listen_again) of
/// one that is gone.
#[derive(Clone, Debug)]
pub struct MemorySource {
    connector: MemoryConnector,
}

impl LinkSource for MemorySource {
    type Link = MemoryLink;

    async fn next_link(&mut self) -> io::Result<Attachment<MemoryLink>> {
        Ok(Attachment::initiator(self.connector.connect().await?))
    }
}

/// Accepts the links that [`MemoryConnector`]s dial.
///
/// Dropping it resets the links in its backlog and refuses every dial.
#[derive(Debug)]
pub struct MemoryListener {
    dialed: mpsc::Receiver<MemoryLink>,
}

impl LinkListener for MemoryListener {
    type Link = MemoryLink;
    type Upgrade = Ready<io::Result<MemoryLink>>;

    /// Waits for ever once every connector is gone, as a socket does that nobody dials.
    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        match self.dialed.recv().await {
            Some(link) => Ok(ready(Ok(link))),
            None => pending().await,
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens on the memory network")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced or extended in one step, and so whole after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
