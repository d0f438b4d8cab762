//! A link source that meddles with the links of another one, and counts what happens to them.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use rejoin_core::{
    Attachment, Link, LinkRx, LinkSource, LinkTx, MemoryConnector, MemoryRx, MemoryTx, Peer,
    SplitLink,
};
use tokio::sync::watch;
use tokio::time::Instant;

/// What to do with the links, and what was seen.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How many links still lose the first payload that comes, and die with it.
    pub(crate) answers_to_lose: AtomicUsize,
    /// How many links still fail in writing after their hello, without a word in reading.
    pub(crate) writes_to_break: AtomicUsize,
    /// How many dials still fail, and with what.
    pub(crate) dials_to_fail: AtomicUsize,
    pub(crate) dials_fail_with: Mutex<io::ErrorKind>,
    /// When links were asked for.
    pub(crate) dials: Mutex<Vec<Instant>>,
    /// How often receiving halves were polled or began to receive.
    pub(crate) recvs: AtomicUsize,
    /// Whether links take what is written.
    pub(crate) takes: watch::Sender<bool>,
    /// Whether receiving halves say at first, whenever they are polled, that there is nothing, and ask to
    /// be polled again.
    pub(crate) stutters: AtomicBool,
    /// A link panics when it is received from more often than this: its user spins.
    pub(crate) recvs_max: AtomicUsize,
}

impl Plan {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            answers_to_lose: AtomicUsize::new(0),
            writes_to_break: AtomicUsize::new(0),
            dials_to_fail: AtomicUsize::new(0),
            dials_fail_with: Mutex::new(io::ErrorKind::ConnectionRefused),
            dials: Mutex::default(),
            recvs: AtomicUsize::new(0),
            takes: watch::Sender::new(true),
            stutters: AtomicBool::new(false),
            recvs_max: AtomicUsize::new(usize::MAX),
        })
    }

    pub(crate) fn source(self: &Arc<Self>, connector: &MemoryConnector) -> Meddler {
        Meddler { connector: connector.clone(), plan: Arc::clone(self) }
    }

    pub(crate) fn dial_count(&self) -> usize {
        self.dials.lock().unwrap().len()
    }
}

/// Whether `counter` was above zero; it is one less now.
fn take_one(counter: &AtomicUsize) -> bool {
    let less = |count: usize| count.checked_sub(1);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}

pub(crate) struct Meddler {
    connector: MemoryConnector,
    plan: Arc<Plan>,
}

impl LinkSource for Meddler {
    type Link = SplitLink<MeddledTx, MeddledRx>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        self.plan.dials.lock().unwrap().push(Instant::now());
        if take_one(&self.plan.dials_to_fail) {
            return Err((*self.plan.dials_fail_with.lock().unwrap()).into());
        }
        let link = self.connector.connect().await?;
        let peer: Peer = link.peer();
        let (tx, rx) = link.split();
        let breaks = take_one(&self.plan.writes_to_break);
        let tx = MeddledTx { inner: tx, sent: 0, breaks, takes: self.plan.takes.subscribe() };
        let rx = MeddledRx {
            inner: rx,
            loses_answer: take_one(&self.plan.answers_to_lose),
            plan: Arc::clone(&self.plan),
        };
        Ok(Attachment::initiator(SplitLink::new(tx, rx, peer)))
    }
}

pub(crate) struct MeddledTx {
    inner: MemoryTx,
    sent: usize,
    breaks: bool,
    takes: watch::Receiver<bool>,
}

impl LinkTx for MeddledTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        self.sent += 1;
        // The hello and the settings pass.
        if self.breaks && self.sent > 2 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.takes.wait_for(|takes| *takes).await.map_err(io::Error::other)?;
        self.inner.send(head, body).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().await
    }

    async fn close(self) -> io::Result<()> {
        self.inner.close().await
    }

    fn payload_bytes_max(&self) -> usize {
        self.inner.payload_bytes_max()
    }
}

pub(crate) struct MeddledRx {
    inner: MemoryRx,
    loses_answer: bool,
    plan: Arc<Plan>,
}

impl LinkRx for MeddledRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        if std::mem::take(&mut self.loses_answer) {
            self.inner.recv().await?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut receiving = std::pin::pin!(self.inner.recv());
        let mut stutters = true;
        std::future::poll_fn(|cx| {
            let recvs = self.plan.recvs.fetch_add(1, Ordering::Relaxed);
            assert!(recvs < self.plan.recvs_max.load(Ordering::Relaxed), "the driver spins");
            if self.plan.stutters.load(Ordering::Relaxed) && stutters {
                stutters = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            stutters = true;
            receiving.as_mut().poll(cx)
        })
        .await
    }
}
