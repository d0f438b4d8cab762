//! One session over four transports: begun on a serial line, it goes on over TCP, WebSocket and a Unix
//! socket, and back, while both sides send as fast as they can.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rejoin_conformance::line::{Cable, End, Noise};
use rejoin_conformance::proxy::{Admission, Fault, FaultProxy};
use rejoin_serial::{
    Attachment, BoxLink, DynLinkSource, Link, LinkSource, ListenerConfig, ListenerSet, Peer,
    SerialConfig, SerialSource, SourceListener, SplitLink, StableConduit, StableConfig,
    StableListener, StableRx, StableTx, Status,
};
use rejoin_tcp::{TcpLinkListener, TcpSource};
use rejoin_tests::{soon, until};
use rejoin_unix::{UnixLinkListener, UnixSource};
use rejoin_websocket::{WebSocketLinkListener, WebSocketSource};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How many messages have to arrive at either side before the session moves on.
const MESSAGES_PER_STAY: u64 = 300;

const TRANSPORTS: [&str; 4] = ["serial", "tcp", "websocket", "unix"];
const SERIAL: usize = 0;
const TCP: usize = 1;
const WEBSOCKET: usize = 2;
const UNIX: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// The application wants to; the old link works.
    Migration,
    /// The old medium is cut, and stays so.
    Cut,
}

/// Gives links of the transport that is wanted at the time, whose peers have its name.
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
            SplitLink::new(tx, rx, Peer::at(TRANSPORTS[wanted]))
        }))
    }
}

/// The four media, each with the means to cut it.
struct Media {
    cable: Cable,
    /// Of TCP, WebSocket and Unix sockets, in this order.
    proxies: [FaultProxy; 3],
}

impl Media {
    /// Lays them all; gives the one listener and the one source over them, too.
    async fn lay(wanted: &Arc<AtomicUsize>) -> (Self, ListenerSet, Switch) {
        let cable = Cable::lay().unwrap();
        for (seed, end) in [(1, End::Near), (2, End::Far)] {
            cable.set_noise(end, Noise { byte_error_rate: 1e-5, seed });
        }
        let serial = |end| SerialSource::new(cable.port(end)).with_config(serial_config());
        let tcp = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
        let websocket = WebSocketLinkListener::bind("127.0.0.1:0").await.unwrap();
        let [upstream, at] = ["server", "proxy"].map(|name| cable.folder().join(name));
        let unix = UnixLinkListener::bind(upstream.as_path()).await.unwrap();
        let proxies = [
            FaultProxy::start(tcp.local_addr().unwrap()).await.unwrap(),
            FaultProxy::start(websocket.local_addr().unwrap()).await.unwrap(),
            FaultProxy::start_unix(&at, &upstream).unwrap(),
        ];
        let line = SourceListener::new(serial(End::Far).accepting()).unwrap();
        let listener = ListenerSet::new(line).and(tcp).and(websocket).and(unix);
        let sources: [Box<dyn DynLinkSource>; 4] = [
            Box::new(serial(End::Near)),
            Box::new(TcpSource::new(proxies[0].addr())),
            Box::new(WebSocketSource::new(format!("ws://{}/", proxies[1].addr()))),
            Box::new(UnixSource::new(at.as_path())),
        ];
        let switch = Switch { sources, wanted: Arc::clone(wanted) };
        (Self { cable, proxies }, listener, switch)
    }

    /// Cuts a medium for as long as it is not mended.
    async fn cut(&self, medium: usize) {
        if medium == SERIAL {
            return self.cable.unplug(End::Near);
        }
        let proxy = &self.proxies[medium - TCP];
        proxy.admit(Admission::Refuse);
        assert!(soon(proxy.cut(Fault::Reset).report()).await.hit());
    }

    fn mend(&self, medium: usize) {
        if medium == SERIAL {
            return self.cable.plug(End::Near).unwrap();
        }
        self.proxies[medium - TCP].admit(Admission::Forward);
    }
}

fn serial_config() -> SerialConfig {
    let mut config = SerialConfig::new(3_000_000);
    config.port_wait = Duration::from_millis(200);
    config
}

/// A small log, so that both sides always have more to send than fits.
fn stable_config() -> StableConfig {
    let mut config = serial_config().stable_config();
    config.message_bytes_max = 1 << 10;
    config.send_log_bytes_max = 8 << 10;
    config.inbox_bytes_max = 8 << 10;
    config.redial.backoff_min = Duration::from_millis(5);
    config.redial.backoff_max = Duration::from_millis(50);
    config
}

/// Sends 0, 1, 2 and so on until told to stop; gives how many.
fn send_all(tx: StableTx<u64>, stop: watch::Receiver<bool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut sent = 0;
        while !*stop.borrow() {
            tx.send(&sent).await.unwrap();
            sent += 1;
        }
        tx.flush_acked().await.unwrap();
        sent
    })
}

/// Receives to the end, each number once and in order, and counts.
fn receive_all(mut rx: StableRx<u64>, count: &Arc<AtomicU64>) -> JoinHandle<()> {
    let count = Arc::clone(count);
    tokio::spawn(async move {
        while let Some(number) = rx.recv().await.unwrap() {
            assert_eq!(*number, count.fetch_add(1, Ordering::SeqCst));
        }
    })
}

/// Waits until the session is on the transport, and both sides have received something there.
async fn stay(tx: &StableTx<u64>, transport: usize, counts: &[Arc<AtomicU64>; 2]) {
    let mut status = tx.status();
    let is_there = |status: &Status| match status {
        Status::Connected { peer, .. } => peer.address() == Some(TRANSPORTS[transport]),
        status => {
            assert!(!status.is_final(), "{status:?}");
            false
        }
    };
    drop(soon(status.wait_for(is_there)).await.unwrap());
    let enough = counts.each_ref().map(|it| it.load(Ordering::SeqCst) + MESSAGES_PER_STAY);
    let has_enough = || counts.iter().zip(enough).all(|(it, to)| it.load(Ordering::SeqCst) >= to);
    until(has_enough).await;
}

#[tokio::test]
async fn a_session_roams_over_four_transports_and_back_under_load() {
    let wanted = Arc::new(AtomicUsize::new(SERIAL));
    let (media, listener, switch) = Media::lay(&wanted).await;
    let mut config = ListenerConfig::default();
    config.conduit = stable_config();
    let mut listener = StableListener::<u64>::with_config(listener, config).unwrap();
    let near = StableConduit::<u64>::connect_with(switch, stable_config());
    let (near, far) = soon(async { tokio::join!(near, listener.accept()) }).await;
    let ((tx, rx), (far_tx, far_rx)) = (near.unwrap().split(), far.unwrap().split());

    let (stop, stopped) = watch::channel(false);
    let counts = [Arc::<AtomicU64>::default(), Arc::default()];
    let receiving = [receive_all(far_rx, &counts[0]), receive_all(rx, &counts[1])];
    let sending = [send_all(tx.clone(), stopped.clone()), send_all(far_tx, stopped)];
    stay(&tx, SERIAL, &counts).await;
    let mut at = SERIAL;
    // Each way once by either reason.
    for (to, why) in [
        (TCP, Why::Migration),
        (WEBSOCKET, Why::Cut),
        (UNIX, Why::Migration),
        (SERIAL, Why::Cut),
        (TCP, Why::Cut),
        (WEBSOCKET, Why::Migration),
        (UNIX, Why::Cut),
        (SERIAL, Why::Migration),
    ] {
        wanted.store(to, Ordering::SeqCst);
        match why {
            // What fails, because of the noise, leaves everything as it was.
            Why::Migration => soon(async { while tx.migrate().await.is_err() {} }).await,
            Why::Cut => media.cut(at).await,
        }
        stay(&tx, to, &counts).await;
        if why == Why::Cut {
            media.mend(at);
        }
        at = to;
    }

    stop.send_replace(true);
    let mut sent = [0; 2];
    for (sent, sending) in sent.iter_mut().zip(sending) {
        *sent = soon(sending).await.unwrap();
    }
    assert!(tx.stats().resumes >= 8);
    soon(tx.close()).await.unwrap();
    for receiving in receiving {
        soon(receiving).await.unwrap();
    }
    assert_eq!(counts.map(|count| count.load(Ordering::SeqCst)), sent);
}
