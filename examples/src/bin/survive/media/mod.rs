//! What a run goes over: one module for each medium, with the means to harm it.
//!
//! What the media have in common is here: two conduits, and a way to hold up what goes between them.
//! Which harm is done when is the business of the schedules.

pub(crate) mod memory;
#[cfg(unix)]
pub(crate) mod roam;
#[cfg(unix)]
pub(crate) mod serial;
pub(crate) mod tcp;
#[cfg(unix)]
pub(crate) mod unix;
pub(crate) mod websocket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rejoin_conformance::proxy::FaultProxy;
use rejoin_tcp::{
    LinkListener, LinkSource, ListenerConfig, StableConduit, StableConfig, StableListener, StableRx,
};

use crate::checker::Numbered;
use crate::lane::Lane;
use crate::meter::{Framing, Meter, Metered};
use crate::options::{Options, Transport};
use crate::run::RunError;
use crate::saboteur::{Scene, Way};
use crate::schedule::Random;

/// What lies between the two conduits of a run.
#[derive(Debug)]
pub(crate) enum Medium {
    /// Connections through a proxy, each cut at its byte.
    Proxied(FaultProxy),
    Memory(memory::Memory),
    #[cfg(unix)]
    Serial(serial::Serial),
    #[cfg(unix)]
    Roam(Box<roam::Roam>),
}

impl Medium {
    /// Which transports the session was on, in order, where that may change.
    pub(crate) fn visited(&self) -> Option<Vec<&'static str>> {
        match self {
            #[cfg(unix)]
            Self::Roam(roam) => Some(roam.visited()),
            _ => None,
        }
    }
}

/// What is done to a medium without a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Memory(memory::Deed),
    #[cfg(unix)]
    Serial(serial::Deed),
    #[cfg(unix)]
    Roam(roam::Deed),
}

impl Deed {
    /// How many messages go before it, compared with others.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            // A serial line is far slower than the others.
            #[cfg(unix)]
            Self::Roam(deed) if !deed.is_from_slow() => 6,
            _ => 1,
        }
    }

    /// All that are done in a run, or none where the medium is a proxy's.
    pub(crate) fn all(options: &Options, random: &mut Random) -> Vec<Self> {
        let count = options.cuts as usize;
        match options.transport {
            Transport::Memory => memory::deeds(random).take(count).map(Self::Memory).collect(),
            #[cfg(unix)]
            Transport::Serial => serial::deeds(random).take(count).map(Self::Serial).collect(),
            #[cfg(unix)]
            Transport::Roam => roam::deeds(random).take(count).map(Self::Roam).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(deed) => deed.fmt(f),
            #[cfg(unix)]
            Self::Serial(deed) => deed.fmt(f),
            #[cfg(unix)]
            Self::Roam(deed) => deed.fmt(f),
        }
    }
}

/// The receiving halves of two conduits.
pub(crate) struct Receivers {
    pub(crate) client: StableRx<Numbered>,
    pub(crate) server: StableRx<Numbered>,
}

/// Opens two conduits that are each other's peer, over the medium that the options name.
pub(crate) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    match options.transport {
        Transport::Tcp => tcp::open(options).await,
        Transport::Websocket => websocket::open(options).await,
        Transport::Memory => memory::open(options).await,
        #[cfg(unix)]
        Transport::Unix => unix::open(options).await,
        #[cfg(unix)]
        Transport::Serial => serial::open(options).await,
        #[cfg(unix)]
        Transport::Roam => roam::open(options).await,
    }
}

/// The settings of both conduits. A real network deserves more patience: here a silent connection
/// is noticed, and a new one made, in well under a second, because nothing is farther away than
/// the loopback interface and a run has a dozen silences to sit out.
pub(crate) fn config() -> StableConfig {
    impatient(StableConfig::default())
}

fn impatient(mut config: StableConfig) -> StableConfig {
    config.ping_interval = Duration::from_millis(150);
    config.peer_dead_after = Duration::from_millis(500);
    config.handshake_deadline = Duration::from_millis(500);
    config.redial.backoff_min = Duration::from_millis(10);
    config.redial.backoff_max = Duration::from_millis(100);
    config
}

/// Opens two conduits through a proxy, on connections whose frames are told apart.
async fn open_metered(
    options: &Options,
    proxy: FaultProxy,
    (listener, to_client): (impl LinkListener, Framing),
    (source, to_server): (impl LinkSource, Framing),
) -> Result<(Arc<Scene>, Receivers), RunError> {
    let meters = [Meter::new(to_server), Meter::new(to_client)];
    let source = Metered::new(source, &meters[0]);
    let listener = Metered::new(listener, &meters[1]);
    open_over(options, Medium::Proxied(proxy), config(), (listener, source), meters).await
}

/// Opens two conduits that go over `medium`.
async fn open_over(
    options: &Options,
    medium: Medium,
    config: StableConfig,
    (listener, source): (impl LinkListener, impl LinkSource),
    [to_server, to_client]: [Meter; 2],
) -> Result<(Arc<Scene>, Receivers), RunError> {
    let Options { messages, size, .. } = *options;
    let mut listener_config = ListenerConfig::default();
    listener_config.conduit = config.clone();
    let mut listener =
        StableListener::with_config(listener, listener_config).expect("the settings make sense");
    let client = StableConduit::connect_with(source, config).await.map_err(RunError::Connect)?;
    let server = listener.accept().await.map_err(RunError::Accept)?;
    let (client_tx, client) = client.split();
    let (server_tx, server) = server.split();
    let scene = Arc::new(Scene {
        medium,
        to_server: Way { lane: Lane::new(client_tx, 0x5e17, messages, size), meter: to_server },
        to_client: Way { lane: Lane::new(server_tx, 0xc11e, messages, size), meter: to_client },
        _listener: listener,
        #[cfg(unix)]
        _folder: None,
    });
    Ok((scene, Receivers { client, server }))
}
