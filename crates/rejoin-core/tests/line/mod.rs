//! Memory links with what a line has: a latency in virtual time, and a gate that holds back what is
//! sent. Shared by tests; each uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{
    Attachment, Link, LinkListener, LinkRx, LinkSource, LinkTx, MemoryConfig, MemoryConnector,
    MemoryLink, MemoryListener, MemoryNetwork, MemoryRx, MemorySource, MemoryTx, Peer,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// One way of the line.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// A listener on two networks, over lines with a latency, and what dials it.
pub(crate) fn two_lines() -> (Lines, Line, Line) {
    let epoch = Instant::now();
    let [(first, dials_first), (second, dials_second)] =
        [(); 2].map(|()| MemoryNetwork::new().listen(MemoryConfig::default()));
    let line =
        |connector| Line { connector, epoch, gate: watch::Sender::new(true), live: Arc::default() };
    (Lines { first, second, epoch }, line(dials_first), line(dials_second))
}

/// Dials the [`Lines`], over one of the two.
#[derive(Clone)]
pub(crate) struct Line {
    connector: MemoryConnector,
    epoch: Instant,
    gate: watch::Sender<bool>,
    live: Arc<AtomicUsize>,
}

impl Line {
    pub(crate) fn network(&self) -> &MemoryNetwork {
        self.connector.network()
    }

    /// Holds back what this end sends on links that are made from now on, or lets it all go.
    pub(crate) fn hold_new_links(&self, hold: bool) {
        self.gate.send_replace(!hold);
    }

    /// How many links this end has, dead or alive.
    pub(crate) fn live_links(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn source(&self) -> LineSource {
        LineSource { source: self.connector.source(), line: self.clone() }
    }
}

pub(crate) struct LineSource {
    source: MemorySource,
    line: Line,
}

impl LinkSource for LineSource {
    type Link = LineLink;

    async fn next_link(&mut self) -> io::Result<Attachment<LineLink>> {
        let link = self.source.next_link().await?.into_link();
        let is_open = *self.line.gate.borrow();
        let held = (!is_open).then(|| self.line.gate.subscribe());
        let live = Live::new(&self.line.live);
        Ok(Attachment::initiator(LineLink { link, epoch: self.line.epoch, held, live }))
    }
}

/// The far ends of two lines.
pub(crate) struct Lines {
    first: MemoryListener,
    second: MemoryListener,
    epoch: Instant,
}

impl LinkListener for Lines {
    type Link = LineLink;
    type Upgrade = std::future::Ready<io::Result<LineLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let accepted = tokio::select! {
            accepted = self.first.accept() => accepted?,
            accepted = self.second.accept() => accepted?,
        };
        let epoch = self.epoch;
        let wrap = |link| LineLink { link, epoch, held: None, live: Live::new(&Arc::default()) };
        Ok(std::future::ready(accepted.await.map(wrap)))
    }
}

/// Stamps each payload with the time at which it left, and delivers it one latency later.
pub(crate) struct LineLink {
    link: MemoryLink,
    epoch: Instant,
    held: Option<watch::Receiver<bool>>,
    live: Live,
}

/// Counts a link for as long as it is there.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link for LineLink {
    type Tx = LineTx;
    type Rx = LineRx;

    fn split(self) -> (LineTx, LineRx) {
        let (tx, rx) = self.link.split();
        let Self { epoch, held, live, .. } = self;
        (LineTx { tx, epoch, held, _live: live }, LineRx { rx, epoch })
    }

    fn peer(&self) -> Peer {
        self.link.peer()
    }
}

pub(crate) struct LineTx {
    tx: MemoryTx,
    epoch: Instant,
    held: Option<watch::Receiver<bool>>,
    _live: Live,
}

impl LinkTx for LineTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        if let Some(mut held) = self.held.take() {
            let _ = held.wait_for(|open| *open).await;
        }
        let stamp = u64::try_from(self.epoch.elapsed().as_micros()).unwrap();
        let head = [&stamp.to_le_bytes()[..], head].concat();
        self.tx.send(&head, body).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.tx.flush().await
    }

    fn close(self) -> impl Future<Output = io::Result<()>> + Send {
        self.tx.close()
    }

    fn payload_bytes_max(&self) -> usize {
        self.tx.payload_bytes_max() - 8
    }
}

pub(crate) struct LineRx {
    rx: MemoryRx,
    epoch: Instant,
}

impl LinkRx for LineRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        let Some(payload) = self.rx.recv().await? else { return Ok(None) };
        let stamp = u64::from_le_bytes(payload[..8].try_into().unwrap());
        sleep_until(self.epoch + Duration::from_micros(stamp) + LATENCY).await;
        Ok(Some(payload.slice(8..)))
    }
}
