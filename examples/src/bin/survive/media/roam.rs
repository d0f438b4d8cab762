//! One session on the move: from a serial line over TCP and WebSocket to a Unix socket, and on from
//! the beginning. It moves because it is told to, while its link works, or because its medium is cut
//! and stays so until the session is elsewhere.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rejoin_conformance::line::{Cable, End};
use rejoin_conformance::proxy::{Admission, Fault, FaultProxy};
use rejoin_tcp::{
    Attachment, BoxLink, DynLinkSource, Link, LinkSource, ListenerSet, Peer, SplitLink,
    TcpLinkListener, TcpSource,
};
use rejoin_unix::{UnixLinkListener, UnixSource};

use super::{Medium, Receivers, open_over, serial, websocket};
use crate::options::Options;
use crate::run::RunError;
use crate::saboteur::Scene;
use crate::schedule::Random;

/// In the order in which they are visited.
const PLACES: [&str; 4] = ["serial", "tcp", "websocket", "unix"];

const SERIAL: usize = 0;

/// How often a migration is tried: noise can spoil one.
const MIGRATIONS_MAX: u32 = 20;

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    from: usize,
    to: usize,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Migration,
    /// The medium is cut; a serial line has its plug pulled instead.
    Cut(Fault),
}

/// Each eight in a row have every move for either reason.
pub(super) fn deeds(random: &mut Random) -> impl Iterator<Item = Deed> {
    let faults = [Fault::Reset, Fault::Fin, Fault::Silence { lasting: None }];
    let mut faults = random.shuffled(faults).into_iter().cycle();
    (0..).map(move |index: usize| {
        let places = PLACES.len();
        let why = match (index + index / places) % 2 {
            0 => Why::Migration,
            _ => faults.next().map_or(Why::Migration, Why::Cut),
        };
        Deed { from: index % places, to: (index + 1) % places, why }
    })
}

impl Deed {
    /// Whether nothing gets through any more before it is done.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.why, Why::Cut(_))
    }

    /// Where it leads to.
    pub(crate) fn target(&self) -> &'static str {
        PLACES[self.to]
    }

    /// Whether it leads away from a medium that is far slower than the others.
    pub(crate) fn is_from_slow(&self) -> bool {
        self.from == SERIAL
    }
}

pub(super) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let (medium, listener, source) = lay(options.seed).await.map_err(RunError::Bind)?;
    let medium = Medium::Roam(Box::new(medium));
    let config = serial::stable_config();
    open_over(options, medium, config, (listener, source), Default::default()).await
}

/// All media, the one listener over them, and the source that switches between them.
async fn lay(seed: u64) -> io::Result<(Roam, ListenerSet, Switch)> {
    let cable = serial::lay(seed)?;
    let tcp = TcpLinkListener::bind("127.0.0.1:0").await?;
    let websocket = websocket::bind().await?;
    let [upstream, at] = ["server", "proxy"].map(|name| cable.folder().join(name));
    let unix = UnixLinkListener::bind(upstream.as_path()).await?;
    let proxies = [
        FaultProxy::start(tcp.local_addr()?).await?,
        FaultProxy::start(websocket.local_addr()?).await?,
        FaultProxy::start_unix(&at, &upstream)?,
    ];
    let sources: [Box<dyn DynLinkSource>; 4] = [
        Box::new(serial::initiator(&cable)),
        Box::new(TcpSource::new(proxies[0].addr())),
        Box::new(websocket::source(&proxies[1])),
        Box::new(UnixSource::new(at.as_path())),
    ];
    let listener = ListenerSet::new(serial::acceptor(&cable)).and(tcp).and(websocket).and(unix);
    let wanted = Arc::new(AtomicUsize::new(SERIAL));
    let switch = Switch { sources, wanted: Arc::clone(&wanted) };
    let visited = Mutex::new(vec![PLACES[SERIAL]]);
    Ok((Roam { cable, proxies, wanted, visited }, listener, switch))
}

/// Gives links over the medium that is wanted at the time, with its name as that of their peer.
struct Switch {
    sources: [Box<dyn DynLinkSource>; 4],
    wanted: Arc<AtomicUsize>,
}

impl LinkSource for Switch {
    type Link = BoxLink;

    async fn next_link(&mut self) -> io::Result<Attachment<BoxLink>> {
        let wanted = self.wanted.load(Ordering::SeqCst);
        let attachment = LinkSource::next_link(&mut self.sources[wanted]).await?;
        Ok(attachment.map_link(|link| {
            let (tx, rx) = link.split();
            SplitLink::new(tx, rx, Peer::at(PLACES[wanted]))
        }))
    }
}

/// The media, and where the session is.
#[derive(Debug)]
pub(crate) struct Roam {
    cable: Cable,
    /// Of all media but the first.
    proxies: [FaultProxy; 3],
    wanted: Arc<AtomicUsize>,
    visited: Mutex<Vec<&'static str>>,
}

impl Roam {
    /// Lets nothing through any more, where the move is for a cut.
    pub(crate) fn hold(&self, deed: Deed) {
        match (deed.why, self.proxy(deed.from)) {
            (Why::Migration, _) => {}
            (Why::Cut(_), None) => serial::silence(&self.cable, true),
            (Why::Cut(_), Some(proxy)) => drop(proxy.cut(Fault::Silence { lasting: None })),
        }
    }

    /// Lets through again what was held up in vain.
    pub(crate) fn release(&self, deed: Deed) {
        match self.proxy(deed.from) {
            None => serial::silence(&self.cable, false),
            Some(proxy) => proxy.release(),
        }
    }

    /// Makes the session move; gives whether it may have.
    pub(crate) async fn act(&self, deed: Deed, migrate: impl AsyncFn() -> io::Result<()>) -> bool {
        self.wanted.store(deed.to, Ordering::SeqCst);
        let Why::Cut(fault) = deed.why else {
            for _ in 0..MIGRATIONS_MAX {
                if migrate().await.is_ok() {
                    return true;
                }
            }
            return false;
        };
        match self.proxy(deed.from) {
            None => self.cable.unplug(End::Near),
            Some(proxy) => {
                proxy.admit(Admission::Refuse);
                if !matches!(fault, Fault::Silence { .. }) {
                    return proxy.cut(fault).report().await.hit();
                }
            }
        }
        true
    }

    /// Mends the medium that the session has left, or should have.
    pub(crate) fn settle(&self, deed: Deed, has_arrived: bool) {
        if has_arrived {
            self.visited.lock().unwrap_or_else(PoisonError::into_inner).push(deed.target());
        } else {
            self.wanted.store(deed.from, Ordering::SeqCst);
        }
        match self.proxy(deed.from) {
            None if deed.is_cut() => {
                self.cable.plug(End::Near).expect("a pseudo-terminal was just given back");
                serial::silence(&self.cable, false);
            }
            None => {}
            Some(proxy) => {
                proxy.release();
                proxy.admit(Admission::Forward);
            }
        }
    }

    /// Where the session was so far, in order.
    pub(crate) fn visited(&self) -> Vec<&'static str> {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn proxy(&self, place: usize) -> Option<&FaultProxy> {
        self.proxies.get(place.checked_sub(1)?)
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, ", PLACES[self.from], PLACES[self.to])?;
        f.write_str(match self.why {
            Why::Migration => "by migration",
            Why::Cut(_) if self.from == SERIAL => "the plug pulled",
            Why::Cut(Fault::Fin) => "after a fin",
            Why::Cut(Fault::Reset) => "after a reset",
            Why::Cut(_) => "after silence",
        })
    }
}
