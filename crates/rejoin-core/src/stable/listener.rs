//! Accepts stable conduits: opens sessions for new peers, and hands the links of those who come
//! back to their sessions.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{Instrument, debug, warn};

use crate::acceptor::{AcceptorSource, AcceptorStats, AcceptorStatsHandle};
use crate::conduit::MsgFamily;
use crate::link::{Link, Peer, SplitLink};
use crate::meter::{HandshakeFailure, handshake_failed};
use crate::protocol::{
    Admission, ClientHello, CloseReason, Profile, RejectReason, Role, SessionId,
};
use crate::random;
use crate::source::{Attachment, LinkListener, LinkSource, is_fatal_kind};
use crate::stable::allowance::Budget;
use crate::stable::conduit::StableConduit;
use crate::stable::config::{ConfigError, ListenerConfig};
use crate::stable::driver::Driver;
use crate::stable::error::SessionLost;
use crate::stable::link_queue::{LinkQueue, NotQueued, QueuedLinks, link_queue};
use crate::stable::refuse::refuse;
use crate::stable::registrar::{Registrar, Table};
use crate::stable::shared::Shared;
use crate::stable::status::Stats;

/// Accepts stable conduits from the peers of a [`LinkListener`].
///
/// A task routes links to their sessions whether or not [`accept`](Self::accept) is called. When
/// the listener is dropped, that task stops: the sessions go on with the links that they have.
///
/// ```
/// use std::time::Duration;
///
/// use rejoin_core::{LinkListener, ListenerConfig, StableListener};
///
/// async fn serve(
///     links: impl LinkListener,
///     stop: impl Future<Output = ()>,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     let mut config = ListenerConfig::default();
///     config.sessions_max = 100;
///     let mut sessions = StableListener::<String>::with_config(links, config)?;
///     tokio::pin!(stop);
///     loop {
///         let conduit = tokio::select! {
///             accepted = sessions.accept() => accepted?,
///             () = &mut stop => break,
///         };
///         tokio::spawn(async move {
///             let (_tx, mut rx) = conduit.split();
///             while let Ok(Some(message)) = rx.recv().await {
///                 println!("{}", *message);
///             }
///         });
///     }
///     // Peers are told to come back in 5 s, and get 30 s to finish.
///     let drained = sessions.drain(Duration::from_secs(5), Duration::from_secs(30)).await;
///     println!("{} did not finish", drained.unfinished.len());
///     Ok(())
/// }
/// ```
pub struct StableListener<F: MsgFamily> {
    accepted: mpsc::Receiver<StableConduit<F>>,
    table: Arc<Table>,
    handshakes: AcceptorStatsHandle,
    commands: mpsc::Sender<Command>,
    failure: Arc<Failure>,
    router: JoinHandle<()>,
}

/// Why nothing is accepted any more, from when that is so.
type Failure = OnceLock<Arc<io::Error>>;

/// Why that is so, for each who asks.
#[derive(Debug, Error)]
#[error(transparent)]
struct Failed(Arc<io::Error>);

/// A peer that asks to be let in, before anything is decided.
#[derive(Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// What the transport knows of it.
    pub peer: &'a Peer,
    /// Whether it comes back to a session that there is, instead of opening a new one.
    pub resumes: bool,
    /// The profile that it asks for.
    pub profile: Profile,
}

/// Decides whether a peer is let in.
type Admit = Box<dyn FnMut(&Candidate<'_>) -> Result<(), RejectReason> + Send>;

/// What became of the sessions of a listener that was drained.
#[derive(Debug)]
#[non_exhaustive]
pub struct Drained {
    /// The sessions that had not ended at the deadline, and were closed then unless they had been before.
    pub unfinished: Vec<Unfinished>,
}

/// A session that did not end in time.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unfinished {
    /// The peer that opened it.
    pub peer: Peer,
    /// Its figures at the deadline.
    pub stats: Stats,
    /// Why closing it did not help: what the peer is not known to have. `None` where it has
    /// everything, and the session ended in good order after all.
    pub lost: Option<SessionLost>,
}

/// A session that is closed because it did not end in time.
struct Late {
    peer: Peer,
    stats: Stats,
    session: Arc<Shared>,
}

impl Late {
    /// Waits for its end, which comes soon after the linger limit at the latest.
    async fn ended(self) -> Unfinished {
        let mut receipts = self.session.receipts.subscribe();
        // The sender is in `self`.
        let _ = receipts.wait_for(|it| it.ended).await;
        let lost = self.session.lost().cloned();
        Unfinished { peer: self.peer, stats: self.stats, lost }
    }
}

/// What a listener wants of its router.
enum Command {
    GoAway { retry_after: Duration },
    CloseAll { reason: CloseReason, closed: oneshot::Sender<Vec<Late>> },
}

impl<F: MsgFamily> StableListener<F> {
    /// Accepts conduits from the peers of `listener`, with the default settings.
    ///
    /// Must be called within a tokio runtime with time enabled.
    ///
    /// # Errors
    ///
    /// As [`with_config`](Self::with_config).
    pub fn new(listener: impl LinkListener) -> Self {
        Self::with_config(listener, ListenerConfig::default())
            .expect("the default settings make sense")
    }

    /// Accepts conduits from the peers of `listener`.
    ///
    /// Must be called within a tokio runtime with time enabled.
    ///
    /// # Errors
    ///
    /// When `config` makes no sense.
    pub fn with_config(
        listener: impl LinkListener,
        config: ListenerConfig,
    ) -> Result<Self, ConfigError> {
        Self::with_admission(listener, config, |_| Ok(()))
    }

    /// As [`with_config`](Self::with_config), and asks `admit` of each peer whether to let it in.
    ///
    /// It is asked after the peer's hello and before anything else happens, also when a peer comes
    /// back to its session. What it refuses costs the link and nothing else. It must not block. A
    /// session that was opened under an [identity](Peer::identity) is in any case resumed under the
    /// same one only.
    ///
    /// # Errors
    ///
    /// As [`with_config`](Self::with_config).
    pub fn with_admission(
        listener: impl LinkListener,
        config: ListenerConfig,
        admit: impl FnMut(&Candidate<'_>) -> Result<(), RejectReason> + Send + 'static,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let source = AcceptorSource::new(listener, config.acceptor());
        let handshakes = source.stats_handle();
        let table = Table::new(config.sessions_max);
        // Room for every session that can be open; one that has ended since needs no place.
        let (offer, accepted) = mpsc::channel(config.sessions_max);
        let (commands, orders) = mpsc::channel(4);
        let failure = Arc::<Failure>::default();
        let router = Router {
            source,
            table: Arc::clone(&table),
            routes: HashMap::new(),
            offer,
            orders,
            admit: Box::new(admit),
            budget: Budget::new(config.buffered_bytes_max),
            failure: Arc::clone(&failure),
            config,
        };
        Ok(Self {
            accepted,
            table,
            handshakes,
            commands,
            failure,
            router: tokio::spawn(router.run().in_current_span()),
        })
    }

    /// Waits for the next peer that opens a session.
    ///
    /// # Errors
    ///
    /// When the link listener has failed for good; the error inside leads to the cause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a conduit is taken only when it is returned.
    pub async fn accept(&mut self) -> io::Result<StableConduit<F>> {
        match self.accepted.recv().await {
            Some(conduit) => Ok(conduit),
            None => Err(match self.failure.get() {
                Some(error) => io::Error::new(error.kind(), Failed(Arc::clone(error))),
                None => io::Error::other("the task that routes links was stopped"),
            }),
        }
    }

    /// Ends in good order: takes no new session, tells all peers that this side ends soon and when
    /// to try again, and waits until the sessions have ended or `limit` has passed. Then the rest is
    /// closed, too, and reported once it has ended: after the [linger limit](crate::StableConfig::linger)
    /// at the latest and what that gives the link, as with every close.
    ///
    /// Links of peers that come back to their sessions are still taken meanwhile. It is up to the
    /// application to end its conduits. Sessions that were opened and not accepted are closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is dropping the listener: nothing is accepted or closed any more, and
    /// the sessions go on with the links that they have. Those that were closed by then end in the
    /// background.
    pub async fn drain(mut self, retry_after: Duration, limit: Duration) -> Drained {
        self.table.lock().refuse_new(RejectReason::GoingAway);
        self.accepted.close();
        while self.accepted.recv().await.is_some() {}
        // The router takes commands until this listener is dropped.
        let _ = self.commands.send(Command::GoAway { retry_after }).await;
        if tokio::time::timeout(limit, self.table.emptied()).await.is_ok() {
            return Drained { unfinished: Vec::new() };
        }
        let (closed, unfinished) = oneshot::channel();
        let reason = CloseReason::new(0, "the listener has ended");
        let _ = self.commands.send(Command::CloseAll { reason, closed }).await;
        let mut drained = Drained { unfinished: Vec::new() };
        // They end beside each other, in whatever order they are waited for.
        for late in unfinished.await.unwrap_or_default() {
            drained.unfinished.push(late.ended().await);
        }
        drained
    }

    /// How many sessions there are, with or without a link.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table.lock().len()
    }

    /// What became of the links that were accepted, up to their hello. Those that were turned away
    /// after it are in [`rejected`](Self::rejected).
    #[must_use]
    pub fn handshakes(&self) -> AcceptorStats {
        self.handshakes.snapshot()
    }

    /// How many links were turned away after their hello, whatever the
    /// [reason](crate::protocol::RejectReason): an unknown key, no room, an application that does
    /// not let the peer in, a listener that is going away, a hello that is out of date. A peer that
    /// tries again counts again.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.table.rejected()
    }
}

impl<F: MsgFamily> Drop for StableListener<F> {
    fn drop(&mut self) {
        self.router.abort();
    }
}

impl<F: MsgFamily> fmt::Debug for StableListener<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StableListener")
            .field("sessions", &self.sessions())
            .field("handshakes", &self.handshakes())
            .field("rejected", &self.rejected())
            .finish()
    }
}

type AcceptedLink<L> =
    SplitLink<<<L as LinkListener>::Link as Link>::Tx, <<L as LinkListener>::Link as Link>::Rx>;

/// The way to one session.
struct Route<L> {
    links: LinkQueue<Attachment<L>>,
    /// The peer that opened the session.
    peer: Peer,
    /// Gone when the session and all its handles are.
    session: Weak<Shared>,
}

/// Takes links as their hellos arrive, and gives each to its session.
struct Router<F: MsgFamily, L: LinkListener> {
    source: AcceptorSource<L>,
    table: Arc<Table>,
    routes: HashMap<SessionId, Route<AcceptedLink<L>>>,
    offer: mpsc::Sender<StableConduit<F>>,
    orders: mpsc::Receiver<Command>,
    admit: Admit,
    budget: Arc<Budget>,
    failure: Arc<Failure>,
    config: ListenerConfig,
}

impl<F: MsgFamily, L: LinkListener> Router<F, L> {
    async fn run(mut self) {
        let mut left = self.table.watch();
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => obey(order, self.sessions()),
                    None => return,
                },
                // The table lives for as long as this.
                Ok(()) = left.changed() => self.sweep(),
                accepted = self.source.next_link() => match accepted {
                    Ok(attachment) => self.route(attachment),
                    Err(error) if is_fatal_kind(&error) => {
                        warn!(%error, "the link listener has failed for good");
                        // Nobody else says so.
                        let _ = self.failure.set(Arc::new(error));
                        break;
                    }
                    Err(error) => debug!(%error, "no link accepted"),
                },
            }
        }
        // No link comes any more, and all that waits for one has to know; but the sessions that have
        // theirs can still be drained.
        let sessions: Vec<_> = self
            .sessions()
            .map(|(peer, session)| (peer.clone(), Arc::downgrade(&session)))
            .collect();
        let Self { source, routes, offer, mut orders, .. } = self;
        drop((source, routes, offer));
        while let Some(order) = orders.recv().await {
            let sessions = sessions.iter();
            obey(order, sessions.filter_map(|(peer, session)| Some((peer, session.upgrade()?))));
        }
    }

    /// Forgets the routes of sessions that have ended, once they outnumber the living: what that
    /// takes is then less than what it took to open them.
    fn sweep(&mut self) {
        if self.routes.len() > 2 * self.table.lock().len() {
            self.routes.retain(|_, route| !route.links.is_closed());
            self.routes.shrink_to(2 * self.routes.len());
        }
    }

    /// The sessions whose handles or drivers are still there.
    fn sessions(&self) -> impl Iterator<Item = (&Peer, Arc<Shared>)> {
        self.routes.values().filter_map(|route| Some((&route.peer, route.session.upgrade()?)))
    }

    fn route(&mut self, mut attachment: Attachment<AcceptedLink<L>>) {
        let Some(hello) = attachment.client_hello.clone() else { return };
        if let Err(reason) = self.let_in(&attachment, &hello) {
            return self.reject(attachment, &hello, reason);
        }
        let admission = self.table.lock().admit(&hello, random::key());
        match admission {
            Admission::New(id, _) if self.is_backlog_full() => {
                self.table.remove(id, false);
                self.reject(attachment, &hello, RejectReason::Full);
            }
            Admission::New(id, key) => {
                attachment.key = Some(key);
                self.open(id, attachment);
            }
            Admission::Resume(id, key) => {
                attachment.key = Some(key);
                self.resume(id, &hello, attachment);
            }
            Admission::Reject(reason) => self.reject(attachment, &hello, reason),
        }
    }

    /// Asks the application, and checks that a session stays with the peer that opened it. Where
    /// nobody knew who that was, the key has to do: also over a transport that tells who comes.
    fn let_in(
        &mut self,
        attachment: &Attachment<AcceptedLink<L>>,
        hello: &ClientHello,
    ) -> Result<(), RejectReason> {
        let session = self.table.lock().find(hello);
        let peer = attachment.link.peer();
        let resumes = session.is_some();
        (self.admit)(&Candidate { peer: &peer, resumes, profile: hello.profile() })?;
        match session.and_then(|id| self.routes.get(&id)) {
            Some(route)
                if route.peer.identity().is_some_and(|owner| peer.identity() != Some(owner)) =>
            {
                warn!(%peer, "a peer of another identity has the key of a session");
                Err(RejectReason::Forbidden)
            }
            _ => Ok(()),
        }
    }

    /// Whether as many conduits wait to be accepted as may. Those whose peer has yet to show that it
    /// is there do not count: they could keep others out, and may become a few too many instead.
    fn is_backlog_full(&self) -> bool {
        self.offer.max_capacity() - self.offer.capacity() >= self.config.backlog_max
    }

    fn open(&mut self, id: SessionId, attachment: Attachment<AcceptedLink<L>>) {
        let config = Arc::new(self.config.conduit.clone());
        let shared = Shared::new(&config);
        let peer = attachment.link.peer();
        let (links, waiting) = link_queue();
        let Ok(()) = links.put(attachment) else { unreachable!("an empty queue has room") };
        self.routes.insert(id, Route { links, peer, session: Arc::downgrade(&shared) });
        let conduit = StableConduit::new(Arc::clone(&shared));
        let offer = self.offer.clone();
        let opened = Box::new(move |result: Result<(), _>| {
            // Without success the session is over already; when nobody accepts any more, dropping
            // the conduit closes it.
            if result.is_ok() {
                let _ = offer.try_send(conduit);
            }
        });
        let registrar = Registrar::registered(Arc::clone(&self.table), id);
        let span = tracing::info_span!("session", role = ?Role::Acceptor, id = id.get());
        let source = Routed { links: waiting };
        let driver = Driver::new(source, config, shared, registrar, Some(&self.budget), opened);
        tokio::spawn(driver.instrument(span));
    }

    /// What the table says of a session that has ended since `hello` was admitted.
    fn epitaph(&self, hello: &ClientHello) -> RejectReason {
        match self.table.lock().admit(hello, random::key()) {
            Admission::Reject(reason) => reason,
            // The first hello again of a peer whose session has ended before it had a key. It may
            // come once more, and is new then.
            Admission::New(id, _) => {
                self.table.remove(id, false);
                RejectReason::Full
            }
            // It is about to be removed.
            Admission::Resume(..) => RejectReason::Full,
        }
    }

    fn resume(
        &mut self,
        id: SessionId,
        hello: &ClientHello,
        attachment: Attachment<AcceptedLink<L>>,
    ) {
        let (attachment, reason) = match self.routes.get(&id) {
            Some(route) => match route.links.put(attachment) {
                Ok(()) => return,
                // The driver is behind with links of this very session; the peer will try again.
                Err(NotQueued::Full(attachment)) => (attachment, RejectReason::Full),
                Err(NotQueued::Closed(attachment)) => (attachment, self.epitaph(hello)),
            },
            None => (attachment, self.epitaph(hello)),
        };
        self.reject(attachment, hello, reason);
    }

    fn reject(
        &self,
        attachment: Attachment<AcceptedLink<L>>,
        hello: &ClientHello,
        reason: RejectReason,
    ) {
        debug!(peer = %attachment.link.peer(), %reason, "handshake rejected");
        handshake_failed(HandshakeFailure::Rejected);
        self.table.count_rejected();
        let (tx, _) = attachment.link.split();
        refuse(tx, hello, reason);
    }
}

fn obey<'a>(order: Command, sessions: impl Iterator<Item = (&'a Peer, Arc<Shared>)>) {
    let open = sessions.filter(|(_, session)| session.outcome.get().is_none());
    match order {
        Command::GoAway { retry_after } => {
            open.for_each(|(_, session)| session.outbox.go_away(retry_after));
        }
        Command::CloseAll { reason, closed } => {
            let unfinished = open.map(|(peer, session)| {
                session.outbox.close(reason.clone());
                Late { peer: peer.clone(), stats: session.stats(), session }
            });
            // An error means that nobody wants to know any more.
            let _ = closed.send(unfinished.collect());
        }
    }
}

/// The links that a listener routes to one session.
struct Routed<L> {
    links: QueuedLinks<Attachment<L>>,
}

impl<L: Link> LinkSource for Routed<L> {
    type Link = L;

    async fn next_link(&mut self) -> io::Result<Attachment<L>> {
        match self.links.next().await {
            Some(attachment) => Ok(attachment),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "the listener is gone")),
        }
    }

    fn role(&self) -> Role {
        Role::Acceptor
    }
}
