//! Accepts stable conduits: opens sessions for new peers, and hands the links of those who come
//! back to their sessions.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{Instrument, debug, warn};

use crate::acceptor::{AcceptorSource, AcceptorStats, AcceptorStatsHandle};
use crate::conduit::MsgFamily;
use crate::link::{Link, SplitLink};
use crate::protocol::{Admission, ClientHello, RejectReason, Role, SessionId, Sessions};
use crate::random;
use crate::source::{Attachment, LinkListener, LinkSource, is_fatal_kind};
use crate::stable::conduit::StableConduit;
use crate::stable::config::{ConfigError, ListenerConfig};
use crate::stable::driver::{Driver, refuse};
use crate::stable::registrar::{Registrar, Table, lock};
use crate::stable::shared::Shared;

/// How many links may wait for a session's driver; the driver takes them as they come.
const LINKS_WAITING: usize = 4;

/// Accepts stable conduits from the peers of a [`LinkListener`].
///
/// A task routes links to their sessions whether or not [`accept`](Self::accept) is called. When
/// the listener is dropped, that task stops: the sessions go on with the links that they have.
pub struct StableListener<F: MsgFamily> {
    accepted: mpsc::Receiver<StableConduit<F>>,
    table: Table,
    handshakes: AcceptorStatsHandle,
    router: JoinHandle<()>,
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
        config.conduit.validate()?;
        for (setting, value) in [
            ("sessions_max", config.sessions_max),
            ("pending_handshakes_max", config.pending_handshakes_max),
        ] {
            if value == 0 {
                return Err(ConfigError::OutOfRange { setting });
            }
        }
        let source = AcceptorSource::new(listener, config.acceptor());
        let handshakes = source.stats_handle();
        let table = Arc::new(Mutex::new(Sessions::new(config.sessions_max)));
        // Room for every session that can be open; one that has ended since needs no place.
        let (offer, accepted) = mpsc::channel(config.sessions_max);
        let router =
            Router { source, table: Arc::clone(&table), routes: HashMap::new(), offer, config };
        Ok(Self {
            accepted,
            table,
            handshakes,
            router: tokio::spawn(router.run().in_current_span()),
        })
    }

    /// Waits for the next peer that opens a session.
    ///
    /// # Errors
    ///
    /// When the link listener has failed for good.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a conduit is taken only when it is returned.
    pub async fn accept(&mut self) -> io::Result<StableConduit<F>> {
        match self.accepted.recv().await {
            Some(conduit) => Ok(conduit),
            None => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the link listener has failed for good",
            )),
        }
    }

    /// How many sessions there are, with or without a link.
    #[must_use]
    pub fn sessions(&self) -> usize {
        lock(&self.table).len()
    }

    /// What became of the links that were accepted, up to their hello.
    #[must_use]
    pub fn handshakes(&self) -> AcceptorStats {
        self.handshakes.snapshot()
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
            .finish()
    }
}

type AcceptedLink<L> =
    SplitLink<<<L as LinkListener>::Link as Link>::Tx, <<L as LinkListener>::Link as Link>::Rx>;

/// Takes links as their hellos arrive, and gives each to its session.
struct Router<F: MsgFamily, L: LinkListener> {
    source: AcceptorSource<L>,
    table: Table,
    routes: HashMap<SessionId, mpsc::Sender<Attachment<AcceptedLink<L>>>>,
    offer: mpsc::Sender<StableConduit<F>>,
    config: ListenerConfig,
}

impl<F: MsgFamily, L: LinkListener> Router<F, L> {
    async fn run(mut self) {
        loop {
            match self.source.next_link().await {
                Ok(attachment) => self.route(attachment),
                Err(error) if is_fatal_kind(&error) => {
                    warn!(%error, "the link listener has failed for good");
                    return;
                }
                Err(error) => debug!(%error, "no link accepted"),
            }
        }
    }

    fn route(&mut self, mut attachment: Attachment<AcceptedLink<L>>) {
        let Some(hello) = attachment.client_hello.clone() else { return };
        let key = random::key();
        attachment.key = Some(key);
        let admission = lock(&self.table).admit(&hello, key);
        match admission {
            Admission::New(id) => self.open(id, attachment),
            Admission::Resume(id) => self.resume(id, &hello, attachment),
            Admission::Reject(reason) => reject(attachment, &hello, reason),
        }
    }

    fn open(&mut self, id: SessionId, attachment: Attachment<AcceptedLink<L>>) {
        // Sessions end by themselves; their routes are swept when they outnumber the living.
        if self.routes.len() > 2 * lock(&self.table).len() {
            self.routes.retain(|_, route| !route.is_closed());
        }
        let (route, links) = mpsc::channel(LINKS_WAITING);
        route.try_send(attachment).expect("an empty channel has room");
        self.routes.insert(id, route);
        let config = Arc::new(self.config.conduit.clone());
        let shared = Shared::new(&config);
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
        let driver = Driver::new(Routed { links }, config, shared, registrar, opened);
        tokio::spawn(driver.instrument(span));
    }

    fn resume(
        &mut self,
        id: SessionId,
        hello: &ClientHello,
        attachment: Attachment<AcceptedLink<L>>,
    ) {
        let refused = match self.routes.get(&id) {
            Some(route) => match route.try_send(attachment) {
                Ok(()) => return,
                // The driver is behind with links of this very session; the peer will try again.
                Err(mpsc::error::TrySendError::Full(attachment)) => {
                    (attachment, RejectReason::Full)
                }
                Err(mpsc::error::TrySendError::Closed(attachment)) => {
                    (attachment, RejectReason::UnknownKey)
                }
            },
            None => (attachment, RejectReason::UnknownKey),
        };
        reject(refused.0, hello, refused.1);
    }
}

fn reject<L: Link>(attachment: Attachment<L>, hello: &ClientHello, reason: RejectReason) {
    debug!(peer = %attachment.link.peer(), %reason, "handshake rejected");
    let (tx, _) = attachment.link.split();
    refuse(tx, hello, reason);
}

/// The links that a listener routes to one session.
struct Routed<L> {
    links: mpsc::Receiver<Attachment<L>>,
}

impl<L: Link> LinkSource for Routed<L> {
    type Link = L;

    async fn next_link(&mut self) -> io::Result<Attachment<L>> {
        match self.links.recv().await {
            Some(attachment) => Ok(attachment),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "the listener is gone")),
        }
    }

    fn role(&self) -> Role {
        Role::Acceptor
    }
}
