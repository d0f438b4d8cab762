//! A proxy that does to connections what networks do to them: TCP, and Unix sockets.
//!
//! It is exact: once a call returns, not one byte more is forwarded than the fault allows. It
//! decides nothing by itself: no randomness, no schedule. What it cannot do is what needs the
//! network below TCP: lose, repeat or reorder packets.
//!
//! ```
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//! use rejoin_conformance::proxy::{Direction, Fault, FaultProxy};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = TcpListener::bind("127.0.0.1:0").await?;
//! let proxy = FaultProxy::start(server.local_addr()?).await?;
//! // The first request will break off behind its fifth byte.
//! let cut = proxy.cut_next(Direction::ToServer, 5, Fault::Fin);
//!
//! let mut client = TcpStream::connect(proxy.addr()).await?;
//! client.write_all(b"hello world").await?;
//!
//! let mut received = Vec::new();
//! server.accept().await?.0.read_to_end(&mut received).await?;
//! assert_eq!(received, b"hello");
//! assert!(cut.report().await.was_busy(Duration::from_secs(5)));
//! # Ok(())
//! # }
//! ```

mod connection;
mod faults;
mod messages;
mod report;
mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
#[cfg(unix)]
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use connection::{Connection, Trigger};
use report::Ledger;
pub use report::{Cut, CutReport};
use socket::{Listener, Socket, Upstream};

/// How many connections may wait for the proxy: so many that it is never the one who turns a crowd
/// away.
const BACKLOG: u32 = 4096;

/// Forwards connections to one upstream address, and harms them on request.
///
/// Dropping it ends all its connections and frees its address.
#[derive(Debug)]
pub struct FaultProxy {
    /// None where it has a path instead.
    addr: Option<SocketAddr>,
    shared: Arc<Shared>,
    upstream: watch::Sender<Arc<Upstream>>,
    serving: AbortHandle,
}

/// What a cut does to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Both ends see an orderly end of the stream. What they still send is thrown away.
    Fin,
    /// Both ends see the connection reset.
    ///
    /// What the proxy's kernel has not yet been able to hand over is lost, as with any reset. A
    /// Unix socket has no reset, except for who has sent what was not read: others see the end of
    /// the stream. See [`FaultProxy::tear_messages`].
    Reset,
    /// Nothing is forwarded any more, in either direction, not even an end or a reset; the
    /// sockets stay open. What is sent meanwhile arrives when the silence ends: after `lasting`,
    /// with [`FaultProxy::release`], or with the next fault.
    Silence {
        /// For how long; without it, until something else ends it.
        lasting: Option<Duration>,
    },
    /// One direction ends in order, the other goes on.
    HalfClose(Direction),
}

/// One of the two directions of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client, which connected to the proxy, to the upstream server.
    ToServer,
    /// From the upstream server to the client.
    ToClient,
}

/// What happens to new connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Admission {
    /// They are forwarded.
    #[default]
    Forward,
    /// They are established, but the server does not learn of them until this changes.
    Hold,
    /// They are reset as soon as they are established.
    Refuse,
}

/// How bytes are forwarded as long as no fault stops them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// How long every byte takes, in each direction. The proxy holds about 256 KiB per
    /// direction, which bounds the throughput that a long latency leaves.
    pub latency: Duration,
    /// The most bytes that are written at once; without it, as many as there are.
    pub write_bytes_max: Option<NonZeroUsize>,
    /// For how long bytes are gathered before they are written, all at once, as far as
    /// `write_bytes_max` allows; zero for not at all. About 64 KiB are not added to.
    pub coalesce: Duration,
    /// How many bytes a second each connection carries in each direction; without it, as many as
    /// the machine does.
    pub bytes_per_second: Option<NonZeroU32>,
}

/// What a proxy has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were forwarded to the server, also those that have ended.
    pub connections: u64,
    /// Connections that were reset because of [`Admission::Refuse`], or because the server could
    /// not be reached.
    pub refused: u64,
    /// Connections that are being forwarded now, also silent ones.
    pub live: usize,
    /// What all connections carried to the server.
    pub to_server: Traffic,
    /// What all connections carried to their clients.
    pub to_client: Traffic,
}

/// What was forwarded in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// How many bytes.
    pub bytes: u64,
    /// In how many writes.
    pub writes: u64,
}

impl FaultProxy {
    /// Starts a proxy to `upstream` on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When the system has no port to give. Whether `upstream` can be reached shows later, as a
    /// reset of the client's connection.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        Ok(Self::serving(Some(addr), Listener::Tcp(listener), Upstream::Tcp(upstream)))
    }

    /// Starts a proxy of Unix sockets at the path `at`, where there must be nothing, to the one at
    /// the path `upstream`. Dropping the proxy removes the file at `at`.
    ///
    /// # Errors
    ///
    /// When it cannot listen at `at`. Whether `upstream` can be reached shows later.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    #[cfg(unix)]
    pub fn start_unix(at: impl AsRef<Path>, upstream: impl AsRef<Path>) -> io::Result<Self> {
        let listener = Listener::unix(at.as_ref())?;
        Ok(Self::serving(None, listener, Upstream::Unix(upstream.as_ref().to_owned())))
    }

    /// From now on a [reset](Fault::Reset) falls inside a message, in either direction: where none is
    /// under way, the first byte of one is added. So die Unix sockets, which have no reset, when a
    /// process is killed while it writes.
    ///
    /// For streams whose messages have a prefix of four bytes with their length, the least
    /// significant first, as the links of `rejoin-stream` have it.
    #[must_use]
    pub fn tear_messages(self) -> Self {
        self.shared.tears_messages.store(true, Ordering::Relaxed);
        self
    }

    fn serving(addr: Option<SocketAddr>, listener: Listener, upstream: Upstream) -> Self {
        let shared = Arc::new(Shared::default());
        let upstream = watch::Sender::new(Arc::new(upstream));
        let serve = serve(listener, upstream.subscribe(), Arc::clone(&shared));
        let serving = tokio::spawn(serve).abort_handle();
        Self { addr, shared, upstream, serving }
    }

    /// Where clients connect to.
    ///
    /// # Panics
    ///
    /// On a proxy of Unix sockets, which is at a path.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr.expect("a proxy of TCP connections")
    }

    /// Does `fault` now to every live connection.
    ///
    /// The report is ready when the fault was done; at once where no connection was live.
    pub fn cut(&self, fault: Fault) -> Cut {
        let (ledger, cut) = Ledger::open();
        for connection in self.shared.live().connections.values() {
            connection.apply(fault, &ledger);
        }
        cut
    }

    /// Does `fault` to every live connection when that has forwarded exactly `bytes` more in
    /// `direction`.
    ///
    /// A later call for the same direction takes the place of this one. The report is ready when
    /// each of the connections was cut or has ended before.
    pub fn cut_after(&self, direction: Direction, bytes: u64, fault: Fault) -> Cut {
        let (ledger, cut) = Ledger::open();
        for connection in self.shared.live().connections.values() {
            connection.arm(direction, Trigger { bytes, fault, ledger: Arc::clone(&ledger) });
        }
        cut
    }

    /// Does `fault` to the next new connection when that has forwarded exactly `bytes` in
    /// `direction`: inside the handshake, with a small number.
    ///
    /// Several calls apply to as many new connections, in order.
    pub fn cut_next(&self, direction: Direction, bytes: u64, fault: Fault) -> Cut {
        let (ledger, cut) = Ledger::open();
        self.shared.live().next_cuts.push_back((direction, Trigger { bytes, fault, ledger }));
        cut
    }

    /// Does not do the cuts that are still to come, of live connections and of new ones.
    pub fn disarm(&self) {
        let mut live = self.shared.live();
        let next_cuts = std::mem::take(&mut live.next_cuts);
        for connection in live.connections.values() {
            connection.disarm();
        }
        // Whoever waits for the report of one is told when it goes: not under the lock.
        drop(live);
        drop(next_cuts);
    }

    /// Ends every silence.
    pub fn release(&self) {
        for connection in self.shared.live().connections.values() {
            connection.release();
        }
    }

    /// Forwards new connections to `upstream` from now on: a TCP server that was started again has
    /// another port.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.upstream.send_replace(Arc::new(Upstream::Tcp(upstream)));
    }

    /// Changes what happens to new connections, and to those that are held.
    pub fn admit(&self, admission: Admission) {
        self.shared.admission.send_replace(admission);
    }

    /// Changes how bytes are forwarded; the latency for those that arrive from now on.
    pub fn shape(&self, shape: Shape) {
        self.shared.shape.send_replace(shape);
    }

    /// What the proxy has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.shared.stats.borrow()
    }

    /// Waits until `condition` holds, and gives the numbers for which it does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_until(&self, condition: impl FnMut(&Stats) -> bool) -> Stats {
        let mut stats = self.shared.stats.subscribe();
        let stats = stats.wait_for(condition).await;
        *stats.expect("`self` holds the sender")
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // With the task go all connections: they are tasks of its set.
        self.serving.abort();
    }
}

impl Stats {
    fn traffic(&mut self, direction: Direction) -> &mut Traffic {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

/// What the handle and the tasks have in common.
#[derive(Debug, Default)]
struct Shared {
    live: Mutex<Live>,
    stats: watch::Sender<Stats>,
    shape: watch::Sender<Shape>,
    admission: watch::Sender<Admission>,
    tears_messages: AtomicBool,
}

#[derive(Debug, Default)]
struct Live {
    connections: BTreeMap<u64, Arc<Connection>>,
    next_id: u64,
    /// For connections that are yet to come.
    next_cuts: VecDeque<(Direction, Trigger)>,
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) -> (u64, Arc<Connection>) {
        let connection = Arc::new(Connection::default());
        let mut live = self.live();
        let id = live.next_id;
        live.next_id += 1;
        live.connections.insert(id, Arc::clone(&connection));
        if let Some((direction, trigger)) = live.next_cuts.pop_front() {
            connection.arm(direction, trigger);
        }
        self.stats.send_modify(|stats| {
            stats.connections += 1;
            stats.live += 1;
        });
        (id, connection)
    }

    fn remove(&self, id: u64) {
        self.live().connections.remove(&id);
        self.stats.send_modify(|stats| stats.live -= 1);
    }
}

async fn serve(listener: Listener, upstream: watch::Receiver<Arc<Upstream>>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(client) => {
                    connections.spawn(forward(client, upstream.clone(), Arc::clone(&shared)));
                }
                // Such as too many open files: nothing that an immediate attempt would mend.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(client: Socket, upstream: watch::Receiver<Arc<Upstream>>, shared: Arc<Shared>) {
    let admission = {
        let mut admission = shared.admission.subscribe();
        let admission = admission.wait_for(|admission| *admission != Admission::Hold).await;
        *admission.expect("`shared` holds the sender")
    };
    let server = match admission {
        Admission::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
        Admission::Forward | Admission::Hold => {
            let upstream = Arc::clone(&upstream.borrow());
            upstream.connect().await
        }
    };
    let Ok(server) = server else {
        client.reset();
        shared.stats.send_modify(|stats| stats.refused += 1);
        return;
    };
    let (id, connection) = shared.add();
    let ended = connection.forward(client, server, &shared).await;
    shared.remove(id);
    drop(connection);
    ended.linger().await;
}
