//! The suite over what the other transports here are not: a cable with one place at either end,
//! which damages what it carries, and on which nobody sees the other end go. It is made of memory
//! links, and shows that the trials ask nothing of such a medium that it cannot give.

#![expect(clippy::unwrap_used, reason = "tests")]

mod memory;

use std::any::Any;
use std::future::{Ready, ready};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rejoin_conformance::{Capability, Faults, Feature, Fixture, Medium, Sever, Suite};
use rejoin_core::{
    AcceptorConfig, AcceptorSource, Attachment, Link, LinkListener, LinkRx, LinkSource, LinkTx,
    MemoryLink, MemoryListener, MemoryRx, MemorySource, MemoryTx, SplitLink, memory_listener,
};
use tokio::sync::watch;

/// What a payload on the cable has beside ours.
const SUM_BYTES: usize = 4;
const NO_NEWS: &str = "a cable does not tell when nobody is at its other end any more";

/// The transport under test.
struct Cable;

impl Fixture for Cable {
    fn capability(&self) -> Capability {
        let payload_bytes_max = memory::PAYLOAD_BYTES_MAX - SUM_BYTES;
        Capability::new("cable", payload_bytes_max, 4 * memory::CAPACITY_BYTES)
            .without(Feature::Listener, "a cable has one end for either peer")
            .without(Feature::ManyLinks, "a cable carries one link at a time")
            .without(Feature::DropSeen, NO_NEWS)
            .without(Feature::DropIsError, NO_NEWS)
            .without(Feature::CutAfterBytes, "a memory link carries payloads, not bytes")
            .without(Feature::Refusal, "a cable takes what is sent, whoever is there")
            .without(Feature::Exhaustion, "a cable is never used up")
            .without(Feature::EarlyLimit, "a memory link hands payloads over, it reads none")
            .without(Feature::SendProgress, "a memory link takes a payload in one step")
            .without(Feature::RecvProgress, "a memory link gives a payload in one step")
    }

    async fn open(&self) -> io::Result<Medium> {
        let (listener, connector) = memory_listener(memory::config());
        let state = Arc::new(State::default());
        let network = memory::Network(connector.network().clone());
        let initiator = Initiator { inner: connector.source(), state: Arc::clone(&state) };
        let listener = Listener { inner: listener, state: Arc::clone(&state) };
        let acceptor = AcceptorSource::new(listener, AcceptorConfig::default());
        let faults = CableFaults { network, state };
        Ok(Medium::point_to_point(initiator, acceptor).with_faults(faults))
    }
}

/// What the ends of a cable have in common.
#[derive(Default)]
struct State {
    /// What nobody may see dropped.
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
    /// Whether the next payload of a direction is to be damaged: the initiator's, the acceptor's.
    damage: [AtomicBool; 2],
    /// How many times the cable has ended all links in order.
    ends: watch::Sender<u64>,
}

struct CableFaults {
    network: memory::Network,
    state: Arc<State>,
}

impl Faults for CableFaults {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        match how {
            Sever::Graceful => self.state.ends.send_modify(|ends| *ends += 1),
            Sever::Corrupted => {
                self.state.damage.iter().for_each(|damage| damage.store(true, Ordering::SeqCst));
            }
            how => self.network.sever(how).await?,
        }
        Ok(())
    }

    async fn restore(&mut self) -> io::Result<()> {
        self.state.damage.iter().for_each(|damage| damage.store(false, Ordering::SeqCst));
        self.network.restore().await
    }
}

struct Initiator {
    inner: MemorySource,
    state: Arc<State>,
}

impl LinkSource for Initiator {
    type Link = SplitLink<CheckedTx, CheckedRx>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        Ok(self.inner.next_link().await?.map_link(|link| checked(link, 0, &self.state)))
    }
}

struct Listener {
    inner: MemoryListener,
    state: Arc<State>,
}

impl LinkListener for Listener {
    type Link = SplitLink<CheckedTx, CheckedRx>;
    type Upgrade = Ready<io::Result<Self::Link>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let link = self.inner.accept().await?.await?;
        Ok(ready(Ok(checked(link, 1, &self.state))))
    }
}

/// A link whose payloads are followed by a sum, which the receiver checks.
fn checked(link: MemoryLink, side: usize, state: &Arc<State>) -> SplitLink<CheckedTx, CheckedRx> {
    let peer = link.peer();
    let (tx, rx) = link.split();
    let ends = state.ends.subscribe();
    let tx = CheckedTx { inner: Some(tx), state: Arc::clone(state), side, ends: ends.clone() };
    SplitLink::new(
        tx,
        CheckedRx { inner: Some(rx), state: Arc::clone(state), ends, dead: false },
        peer,
    )
}

fn sum(payload: &[u8]) -> u32 {
    payload.iter().fold(1, |sum, &byte| sum.rotate_left(5) ^ u32::from(byte).wrapping_mul(0x9e37))
}

struct CheckedTx {
    inner: Option<MemoryTx>,
    state: Arc<State>,
    side: usize,
    /// Changed when the cable has ended this link.
    ends: watch::Receiver<u64>,
}

impl CheckedTx {
    fn inner(&mut self) -> io::Result<&mut MemoryTx> {
        if self.ends.has_changed().unwrap() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(self.inner.as_mut().unwrap())
    }
}

impl LinkTx for CheckedTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        let mut payload = [head, &body[..]].concat();
        payload.extend(sum(&payload).to_le_bytes());
        let is_refused = payload.len() > memory::PAYLOAD_BYTES_MAX;
        if !is_refused && self.state.damage[self.side].swap(false, Ordering::SeqCst) {
            payload[0] ^= 0x10;
        }
        self.inner()?.send(b"", payload.into()).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.inner()?.flush().await
    }

    async fn close(mut self) -> io::Result<()> {
        self.inner()?;
        self.inner.take().unwrap().close().await
    }

    fn payload_bytes_max(&self) -> usize {
        memory::PAYLOAD_BYTES_MAX - SUM_BYTES
    }
}

impl Drop for CheckedTx {
    fn drop(&mut self) {
        self.inner.take().into_iter().for_each(|inner| self.state.keep(inner));
    }
}

struct CheckedRx {
    inner: Option<MemoryRx>,
    state: Arc<State>,
    ends: watch::Receiver<u64>,
    dead: bool,
}

impl LinkRx for CheckedRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        if self.dead {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut ends = self.ends.clone();
        let received = tokio::select! {
            biased;
            received = self.inner.as_mut().unwrap().recv() => received?,
            _ = ends.changed() => None,
        };
        let Some(mut payload) = received else { return Ok(None) };
        let found = payload.split_off(payload.len().saturating_sub(SUM_BYTES));
        if found != sum(&payload).to_le_bytes()[..] {
            self.dead = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(payload))
    }
}

impl Drop for CheckedRx {
    fn drop(&mut self) {
        self.inner.take().into_iter().for_each(|inner| self.state.keep(inner));
    }
}

impl State {
    fn keep(&self, half: impl Any + Send) {
        self.kept.lock().unwrap().push(Box::new(half));
    }
}

fn main() -> ExitCode {
    Suite::new(Cable).snapshot("tests/conformance_cable.snapshot").main()
}
