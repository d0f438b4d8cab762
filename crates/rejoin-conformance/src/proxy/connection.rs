//! One forwarded connection. Its faults and its counters live in one [`State`] behind one lock,
//! and bytes are written to a socket under that lock: that is what makes cuts exact to the byte.

use std::convert::Infallible;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::messages::Messages;
use super::report::Ledger;
use super::socket::Socket;
use super::{Direction, Fault, Shape, Shared};

/// The most bytes that are read at once.
const READ_BYTES_MAX: usize = 16 * 1024;
/// How many reads may wait for delivery, in each direction.
const QUEUE_LEN: usize = 16;
/// What is gathered is not added to from here on.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// How often bytes pass when their rate is limited, at least about.
const PACES_PER_SECOND: u32 = 100;
const PACE: Duration = Duration::from_millis(1000 / PACES_PER_SECOND as u64);

/// A cut to come.
#[derive(Debug)]
pub(super) struct Trigger {
    /// How many bytes are still to be forwarded before.
    pub(super) bytes: u64,
    pub(super) fault: Fault,
    pub(super) ledger: Arc<Ledger>,
}

/// A connection between a client and the server.
#[derive(Debug, Default)]
pub(super) struct Connection {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    silence: Option<Silence>,
    /// An end that is still to be done.
    end: Option<End>,
    ended: bool,
    /// By [`Direction`].
    flows: [Flow; 2],
    last_forwarded: Option<Instant>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Flow {
    forwarded_bytes: u64,
    trigger: Option<Trigger>,
    /// A half-close that is still to be done.
    closing: Option<Arc<Ledger>>,
    closed: bool,
    messages: Messages,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    until: Option<Instant>,
}

/// How a connection ends. The ledger learns that the fault was done by being dropped.
#[derive(Debug)]
enum End {
    Fin(Arc<Ledger>),
    Reset(Option<Arc<Ledger>>),
    /// Both ends have closed their direction.
    Closed,
}

/// What one read gave, and when to pass it on; nothing read is the end of the stream.
struct Piece {
    due: Instant,
    bytes: io::Result<Vec<u8>>,
}

impl Connection {
    pub(super) fn apply(&self, fault: Fault, ledger: &Arc<Ledger>) {
        self.state.send_modify(|state| state.apply(fault, ledger));
    }

    pub(super) fn arm(&self, direction: Direction, trigger: Trigger) {
        self.state.send_modify(|state| {
            if trigger.bytes == 0 {
                state.apply(trigger.fault, &trigger.ledger);
            } else if !state.flows[direction as usize].closed {
                state.flows[direction as usize].trigger = Some(trigger);
            }
        });
    }

    pub(super) fn disarm(&self) {
        self.state.send_modify(|state| {
            for flow in &mut state.flows {
                flow.trigger = None;
            }
        });
    }

    pub(super) fn release(&self) {
        self.state.send_modify(|state| state.silence = None);
    }

    /// Forwards until the connection ends, and ends it on both sides.
    pub(super) async fn forward(&self, client: Socket, server: Socket, shared: &Shared) -> Ended {
        client.send_at_once();
        server.send_at_once();
        let end = {
            let both = async {
                tokio::try_join!(
                    self.pump(Direction::ToServer, &client, &server, shared),
                    self.pump(Direction::ToClient, &server, &client, shared),
                )
            };
            tokio::select! {
                biased;
                end = self.take(|state| state.end.take()) => end,
                // A reset by one end is passed on to the other.
                done = both => done.map_or(End::Reset(None), |_| End::Closed),
            }
        };
        self.state.send_modify(|state| state.ended = true);
        match end {
            End::Closed => Ended { lingering: None, _ledger: None },
            End::Reset(ledger) => {
                if shared.tears_messages.load(Ordering::Relaxed) {
                    self.tear(Direction::ToServer, &server);
                    self.tear(Direction::ToClient, &client);
                }
                client.reset();
                server.reset();
                Ended { lingering: None, _ledger: ledger }
            }
            End::Fin(ledger) => {
                client.shut_down();
                server.shut_down();
                Ended { lingering: Some((client, server)), _ledger: Some(ledger) }
            }
        }
    }

    /// Begins a message that is never to end, unless one is under way already.
    fn tear(&self, direction: Direction, to: &Socket) {
        let state = self.state.borrow();
        let flow = &state.flows[direction as usize];
        if flow.messages.is_between_two() && !flow.closed {
            // Where the socket is full, or nobody is left to see it, there is nothing to be done.
            let _ = to.try_write(&[0]);
        }
    }

    /// Carries one direction until its end.
    async fn pump(
        &self,
        direction: Direction,
        from: &Socket,
        to: &Socket,
        shared: &Shared,
    ) -> io::Result<()> {
        let half_close = tokio::select! {
            biased;
            ledger = self.take(|state| state.flows[direction as usize].closing.take()) => Some(ledger),
            done = self.relay(direction, from, to, shared) => done.map(|()| None)?,
        };
        to.shut_down();
        self.state.send_modify(|state| {
            let flow = &mut state.flows[direction as usize];
            flow.closed = true;
            flow.trigger = None;
        });
        if half_close.is_some() {
            drop(half_close);
            while !read(from).await?.is_empty() {}
        }
        Ok(())
    }

    /// Reads ahead by a bounded queue, so that latency does not cost throughput.
    async fn relay(
        &self,
        direction: Direction,
        from: &Socket,
        to: &Socket,
        shared: &Shared,
    ) -> io::Result<()> {
        let (queue, pieces) = mpsc::channel(QUEUE_LEN);
        tokio::select! {
            done = self.deliver(direction, pieces, to, shared) => done,
            never = collect(from, queue, shared) => match never {},
        }
    }

    async fn deliver(
        &self,
        direction: Direction,
        mut pieces: mpsc::Receiver<Piece>,
        to: &Socket,
        shared: &Shared,
    ) -> io::Result<()> {
        let mut paced_until = Instant::now();
        while let Some(Piece { due, bytes }) = pieces.recv().await {
            sleep_until(due).await;
            // Also an end and a reset wait for a silence to pass.
            self.flowing(direction).await;
            let mut bytes = bytes?;
            let coalesce = shared.shape.borrow().coalesce;
            let gathered = gather(&mut bytes, &mut pieces, coalesce).await;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                sleep_until(paced_until).await;
                self.flowing(direction).await;
                to.writable().await?;
                let Shape { write_bytes_max, bytes_per_second, .. } = *shared.shape.borrow();
                let quantum = bytes_per_second.map(quantum);
                let bytes_max = write_bytes_max.into_iter().chain(quantum).min();
                let written = self.write(direction, rest, bytes_max, to, shared)?;
                rest = &rest[written..];
                if let Some(rate) = bytes_per_second {
                    let time = Duration::from_secs_f64(written as f64 / f64::from(rate.get()));
                    // Lateness of up to a pause is made up for.
                    paced_until = paced_until.max(Instant::now() - PACE) + time;
                }
                if bytes_max.is_some() {
                    // Gives the reader a chance to see the pieces one by one.
                    tokio::task::yield_now().await;
                }
            }
            gathered?;
        }
        Ok(())
    }

    /// Writes as much of `bytes` as the faults and the socket allow now, and counts it.
    fn write(
        &self,
        direction: Direction,
        bytes: &[u8],
        bytes_max: Option<NonZeroUsize>,
        to: &Socket,
        shared: &Shared,
    ) -> io::Result<usize> {
        let mut outcome = Ok(0);
        self.state.send_if_modified(|state| {
            if !state.is_flowing(direction) {
                return false;
            }
            let trigger = state.flows[direction as usize].trigger.as_ref();
            let allowed =
                trigger.map_or(usize::MAX, |t| usize::try_from(t.bytes).unwrap_or(usize::MAX));
            let len = bytes.len().min(allowed).min(bytes_max.map_or(usize::MAX, NonZeroUsize::get));
            let written = match to.try_write(&bytes[..len]) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    outcome = Err(error);
                    return false;
                }
            };
            outcome = Ok(written);
            state.flows[direction as usize].messages.pass(&bytes[..written]);
            shared.stats.send_modify(|stats| {
                let traffic = stats.traffic(direction);
                traffic.bytes += written as u64;
                traffic.writes += 1;
            });
            state.count(direction, written as u64)
        });
        outcome
    }

    /// Waits until nothing stops this direction.
    async fn flowing(&self, direction: Direction) {
        let mut state = self.state.subscribe();
        loop {
            let until = {
                let state = state.borrow_and_update();
                if state.is_flowing(direction) {
                    return;
                }
                state.silence.and_then(|silence| silence.until)
            };
            let Some(until) = until else {
                // It cannot be closed: `self` holds the sender.
                let _ = state.changed().await;
                continue;
            };
            if timeout_at(until, state.changed()).await.is_err() {
                self.state.send_modify(|state| {
                    state.silence.take_if(|silence| silence.until == Some(until));
                });
            }
        }
    }

    /// Waits until `take` finds something in the state, and takes it out.
    async fn take<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changes = self.state.subscribe();
        loop {
            changes.mark_unchanged();
            let mut taken = None;
            self.state.send_if_modified(|state| {
                taken = take(state);
                false
            });
            if let Some(taken) = taken {
                return taken;
            }
            // It cannot be closed: `self` holds the sender.
            let _ = changes.changed().await;
        }
    }
}

impl State {
    /// Does `fault`, unless there is nothing left to do it to.
    fn apply(&mut self, fault: Fault, ledger: &Arc<Ledger>) {
        let gone = match fault {
            Fault::HalfClose(direction) => self.flows[direction as usize].closed,
            Fault::Fin | Fault::Reset | Fault::Silence { .. } => false,
        };
        if gone || self.ended {
            return;
        }
        let [to_server, to_client] = &self.flows;
        let idle = self.last_forwarded.map(|last| last.elapsed());
        ledger.record(to_server.forwarded_bytes, to_client.forwarded_bytes, idle);
        self.silence = None;
        let ledger = || Arc::clone(ledger);
        match fault {
            Fault::Fin => self.end_by(End::Fin(ledger())),
            Fault::Reset => self.end_by(End::Reset(Some(ledger()))),
            Fault::Silence { lasting } => {
                // One too long for the clock is one without an end.
                let until = lasting.and_then(|lasting| Instant::now().checked_add(lasting));
                self.silence = Some(Silence { until });
            }
            Fault::HalfClose(direction) => {
                let flow = &mut self.flows[direction as usize];
                flow.closed = true;
                flow.trigger = None;
                flow.closing = Some(ledger());
            }
        }
    }

    fn end_by(&mut self, end: End) {
        self.end = Some(end);
        self.ended = true;
    }

    /// Counts bytes that were forwarded, and does the cut that they bring about, if any.
    fn count(&mut self, direction: Direction, bytes: u64) -> bool {
        self.last_forwarded = Some(Instant::now());
        let flow = &mut self.flows[direction as usize];
        flow.forwarded_bytes += bytes;
        if let Some(trigger) = &mut flow.trigger {
            trigger.bytes -= bytes;
        }
        let Some(due) = flow.trigger.take_if(|trigger| trigger.bytes == 0) else { return false };
        self.apply(due.fault, &due.ledger);
        true
    }

    fn is_flowing(&self, direction: Direction) -> bool {
        self.silence.is_none() && !self.ended && !self.flows[direction as usize].closed
    }
}

/// A connection that has ended, as far as its two ends can see.
///
/// Its ledger is dropped after whatever else belonged to the connection.
pub(super) struct Ended {
    lingering: Option<(Socket, Socket)>,
    _ledger: Option<Arc<Ledger>>,
}

impl Ended {
    /// Throws away what the two ends still send, until they close too: closing a socket with
    /// unread bytes would make a reset out of an orderly end.
    pub(super) async fn linger(self) {
        let Self { lingering, _ledger: ledger } = self;
        drop(ledger);
        if let Some((client, server)) = lingering {
            tokio::join!(discard(&client), discard(&server));
        }
    }
}

/// Adds to `bytes` what comes within `time`. An error waits for what came before it.
async fn gather(
    bytes: &mut Vec<u8>,
    pieces: &mut mpsc::Receiver<Piece>,
    time: Duration,
) -> io::Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    let until = Instant::now() + time;
    while !bytes.is_empty() && bytes.len() < GATHERED_BYTES_MAX {
        let Ok(Some(piece)) = timeout_at(until, pieces.recv()).await else { break };
        sleep_until(piece.due).await;
        let more = piece.bytes?;
        if more.is_empty() {
            break;
        }
        bytes.extend(more);
    }
    Ok(())
}

/// What may be written at once at this rate, so that the bytes come evenly.
fn quantum(bytes_per_second: NonZeroU32) -> NonZeroUsize {
    let bytes = bytes_per_second.get() / PACES_PER_SECOND;
    NonZeroUsize::MIN.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Reads pieces into `queue` until the stream ends or fails, and then leaves the rest to whoever
/// takes them out.
async fn collect(from: &Socket, queue: mpsc::Sender<Piece>, shared: &Shared) -> Infallible {
    let mut goes_on = true;
    while goes_on {
        let bytes = read(from).await;
        goes_on = bytes.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        let due = Instant::now() + shared.shape.borrow().latency;
        goes_on &= queue.send(Piece { due, bytes }).await.is_ok();
    }
    drop(queue);
    std::future::pending().await
}

async fn discard(from: &Socket) {
    while read(from).await.is_ok_and(|bytes| !bytes.is_empty()) {}
}

/// Reads what there is; nothing at the end of the stream.
async fn read(from: &Socket) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; READ_BYTES_MAX];
    loop {
        from.readable().await?;
        match from.try_read(&mut bytes) {
            Ok(len) => {
                bytes.truncate(len);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
