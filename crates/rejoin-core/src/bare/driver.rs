//! Moves messages between the handles of a bare conduit and its link.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::bare::{LinkLost, Shared};
use crate::link::{Link, LinkTx};
use crate::protocol::{Head, SendLog, Transmit, item_cost};
use crate::pump::{Reader, Writer};

/// Drives one bare conduit until both directions have ended or nobody holds it any more.
pub(super) struct Driver {
    shared: Arc<Shared>,
    reader: Option<Reader>,
    sending: Sending,
    /// Everything from the moment it is accepted until the link has taken it.
    log: SendLog,
    close_wanted: bool,
    abandoned: bool,
    inbox_cost: u64,
    payloads: Vec<Bytes>,
    items: VecDeque<Bytes>,
}

enum Sending {
    Open(Writer),
    Closing(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    Ended,
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
            payloads: Vec::new(),
            items: VecDeque::new(),
        }
    }

    fn take_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(requests) = self.shared.outbox.take(cx.waker()) else { return false };
        for batch in requests.batches {
            self.log.append(batch);
        }
        self.inbox_cost -= requests.consumed;
        self.close_wanted |= requests.close.is_some();
        self.abandoned |= requests.abandoned;
        true
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        if self.inbox_cost >= self.shared.inbox_bytes_max {
            return Ok(false);
        }
        let ended = reader.poll(cx, &mut self.payloads);
        let busy = !self.payloads.is_empty() || ended.is_ready();
        for payload in self.payloads.drain(..) {
            self.inbox_cost += item_cost(payload.len());
            self.items.push_back(payload);
        }
        if !self.items.is_empty() {
            self.shared.inbox.put(&mut self.items);
        }
        if let Poll::Ready(result) = ended {
            result?;
            self.reader = None;
            self.shared.inbox.end(true);
        }
        Ok(busy)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match &mut self.sending {
            Sending::Open(writer) => {
                if let Poll::Ready(result) = writer.poll(cx) {
                    result?;
                }
                if !writer.is_idle() {
                    return Ok(false);
                }
                self.log.acknowledge(self.log.written());
                self.shared.outbox.release(self.log.cost_acked(), self.log.take_spare());
                let log = &mut self.log;
                let next = || {
                    let (_, body) = log.write_next()?;
                    Some(Transmit { head: Head::default(), body })
                };
                if writer.fill(next) {
                    return Ok(true);
                }
                if !self.close_wanted && !self.abandoned {
                    return Ok(false);
                }
            }
            Sending::Closing(close) => {
                let Poll::Ready(result) = close.as_mut().poll(cx) else { return Ok(false) };
                result?;
                self.sending = Sending::Ended;
                self.shared.send_ended.send_replace(true);
                return Ok(true);
            }
            Sending::Ended => return Ok(false),
        }
        if let Sending::Open(writer) = std::mem::replace(&mut self.sending, Sending::Ended) {
            self.sending = Sending::Closing(Box::pin(writer.close()));
        }
        Ok(true)
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let taken = self.take_requests(cx);
        let read = self.read(cx)?;
        let written = self.write(cx)?;
        Ok(taken || read || written)
    }

    fn is_over(&self) -> bool {
        matches!(self.sending, Sending::Ended) && (self.reader.is_none() || self.abandoned)
    }

    fn end(&self, error: io::Error) {
        *self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(LinkLost(Arc::new(error)));
        self.shared.outbox.end();
        self.shared.inbox.end(false);
        self.shared.send_ended.send_replace(true);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        const TURNS_MAX: usize = 32;
        let driver = self.get_mut();
        for _ in 0..TURNS_MAX {
            match driver.turn(cx) {
                Err(error) => {
                    driver.end(error);
                    return Poll::Ready(());
                }
                Ok(_) if driver.is_over() => return Poll::Ready(()),
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    /// A driver that is dropped before its time was stopped with its runtime.
    fn drop(&mut self) {
        if !self.is_over() && self.shared.lost().is_none() {
            self.end(io::Error::other("the runtime of the conduit was stopped"));
        }
    }
}
