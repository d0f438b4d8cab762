//! Moves messages between the handles of a bare conduit and its link.
//!
//! The two directions end independently of each other. The link is not given up when it takes
//! nothing more, as what the peer has sent before may still be in it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use crate::bare::{LinkLost, SendEnd, Shared};
use crate::handover::{Items, Runs};
use crate::link::{Link, LinkTx};
use crate::protocol::{Head, SendLog, Transmit, Transmits, item_cost};
use crate::pump::{Reader, Writer};

/// How many turns the driver takes before it lets other tasks run.
const TURNS_MAX: usize = 32;

/// Drives one bare conduit until both directions have ended or nobody holds it any more.
pub(super) struct Driver {
    shared: Arc<Shared>,
    /// Absent once the peer has closed its direction.
    reader: Option<Reader>,
    sending: Sending,
    /// Everything from the moment it is accepted until the link has taken it.
    log: SendLog,
    close_wanted: bool,
    /// Nobody has a handle any more.
    abandoned: bool,
    /// The cost of what was received and not consumed.
    inbox_cost: u64,
    /// Runs while the link is only waited for to end.
    linger: Option<Pin<Box<Sleep>>>,
    received: Runs,
}

enum Sending {
    Open(Writer),
    Closing(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    Closed,
    /// The link takes nothing any more.
    Failed(LinkLost),
}

impl Driver {
    pub(super) fn new(link: impl Link, shared: Arc<Shared>) -> Self {
        let (tx, rx) = link.split();
        shared.outbox.limit_items(tx.payload_bytes_max());
        Self {
            shared,
            reader: Some(Reader::new(rx)),
            sending: Sending::Open(Writer::new(tx)),
            log: SendLog::default(),
            close_wanted: false,
            abandoned: false,
            inbox_cost: 0,
            linger: None,
            received: Runs::default(),
        }
    }

    /// Takes one turn; gives whether it changed anything.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let taken = self.take_requests();
        let read = self.read(cx);
        let written = match self.write(cx) {
            Ok(written) => written,
            Err(error) => {
                self.fail_sending(error);
                true
            }
        };
        taken || read || written
    }

    fn take_requests(&mut self) -> bool {
        let Some(requests) = self.shared.outbox.take() else { return false };
        self.inbox_cost -= requests.consumed;
        self.close_wanted |= requests.close.is_some();
        self.abandoned |= requests.abandoned;
        true
    }

    /// Reads what the link has at hand, as far as there is room for it.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        if self.abandoned {
            // Two ends that both wait for the other to read would wait for ever.
            self.inbox_cost = 0;
        }
        let room = self.shared.inbox_bytes_max.saturating_sub(self.inbox_cost);
        if room == 0 {
            return false;
        }
        reader.limit(room);
        let ended = reader.poll(cx, &mut self.received);
        let busy = !self.received.is_empty() || ended.is_ready();
        if self.abandoned {
            self.received.clear();
        } else {
            self.inbox_cost += self.received.lens().map(item_cost).sum::<u64>();
            self.shared.inbox.put(&mut self.received);
        }
        match ended {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                self.reader = None;
                self.shared.inbox.end(true);
            }
            Poll::Ready(Err(error)) => {
                self.reader = None;
                self.fail_sending(error);
                self.shared.inbox.end(false);
            }
        }
        busy
    }

    /// Writes what the handles have put down, as far as the link takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match &mut self.sending {
            Sending::Open(writer) => {
                if let Poll::Ready(result) = writer.poll(cx) {
                    result?;
                }
                if !writer.is_idle() {
                    return Ok(false);
                }
                if self.log.acked() < self.log.written() {
                    self.log.acknowledge(self.log.written());
                    self.shared.outbox.release(self.log.cost_acked());
                }
                let log = &mut self.log;
                if log.written() == log.appended() {
                    self.shared.outbox.take_items(|batch| log.append(batch));
                }
                let fill = |batch: &mut Transmits| {
                    while !batch.is_full()
                        && let Some((_, body)) = log.write_next()
                    {
                        batch.push(Transmit { head: Head::default(), body });
                    }
                };
                if writer.fill(fill) {
                    return Ok(true);
                }
                if !self.close_wanted && !self.abandoned {
                    return Ok(false);
                }
            }
            Sending::Closing(close) => {
                let Poll::Ready(result) = close.as_mut().poll(cx) else { return Ok(false) };
                result?;
                self.sending = Sending::Closed;
                self.shared.end_sending(SendEnd::Closed);
                return Ok(true);
            }
            Sending::Closed | Sending::Failed(_) => return Ok(false),
        }
        if let Sending::Open(writer) = std::mem::replace(&mut self.sending, Sending::Closed) {
            self.sending = Sending::Closing(Box::pin(writer.close()));
        }
        Ok(true)
    }

    /// The link is dead as far as sending goes.
    fn fail_sending(&mut self, error: io::Error) {
        let lost = LinkLost(Arc::new(error));
        self.shared.end_sending(SendEnd::Lost(lost.clone()));
        self.sending = Sending::Failed(lost);
        self.log = SendLog::default();
    }

    /// Whether the time is up in which the link should have ended by itself.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> bool {
        let failed = matches!(self.sending, Sending::Failed(_));
        let inbox_full = self.inbox_cost >= self.shared.inbox_bytes_max;
        if !self.abandoned && (!failed || inbox_full) {
            self.linger = None;
            return false;
        }
        let linger = self.shared.linger;
        let timer = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(linger)));
        timer.as_mut().poll(cx).is_ready()
    }

    /// What it makes of items that come while it sleeps.
    fn items(&self) -> Items {
        match &self.sending {
            Sending::Open(writer) if writer.is_idle() => Items::Wanted,
            _ => Items::Later,
        }
    }

    fn is_over(&self) -> bool {
        let sending_over = matches!(self.sending, Sending::Closed | Sending::Failed(_));
        sending_over && (self.reader.is_none() || self.abandoned)
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        // First, as a peer that never stops sending leaves no other moment for it.
        if driver.abandoned && driver.poll_linger(cx) {
            return Poll::Ready(());
        }
        for _ in 0..TURNS_MAX {
            let busy = driver.turn(cx);
            if driver.is_over() {
                return Poll::Ready(());
            }
            if busy && !driver.abandoned {
                driver.linger = None;
            }
            if busy || !driver.shared.outbox.sleep(cx.waker(), driver.items()) {
                continue;
            }
            if driver.poll_linger(cx) {
                let lost = match &driver.sending {
                    Sending::Failed(lost) => lost.clone(),
                    _ => LinkLost(Arc::new(io::ErrorKind::TimedOut.into())),
                };
                driver.shared.end(lost);
                return Poll::Ready(());
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    /// A driver that is dropped before its time was stopped with its runtime.
    fn drop(&mut self) {
        if !self.is_over() {
            let error = io::Error::other("the task that drives the conduit was stopped");
            self.shared.end(LinkLost(Arc::new(error)));
        }
    }
}
