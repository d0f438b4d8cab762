//! A link on a line and its halves. They put frames down and pick payloads up; the line's task does
//! the rest, also when nobody polls a half.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rejoin_core::protocol::Role;
use rejoin_core::{Link, LinkRx, LinkTx, Peer, Progress};
use tokio::sync::Notify;

use super::config::CobsConfig;
use super::control::{Control, LinkId, payload_check};
use super::error::{CobsError, LinkEnd};
use super::framing::{self, Check, DELIMITER};

/// What the halves of one link share with the line's task.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the line's task.
    task: Arc<Notify>,
    /// Wakes the sending half.
    sender: Notify,
    /// Wakes the receiving half.
    receiver: Notify,
    pub(super) sent: Progress,
    pub(super) received: Progress,
    inbox_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Whole frames that the task has not taken yet.
    out: BytesMut,
    /// How many bytes the sending half has ever put down.
    queued: u64,
    /// How many of them the medium has.
    written: u64,
    inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    peer_closed: bool,
    sender_gone: bool,
    /// The last frame is among those put down.
    closing: bool,
    receiver_gone: bool,
    end: Option<LinkEnd>,
}

/// What a payload costs beside its bytes while it waits to be received.
const PAYLOAD_COST: usize = 64;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so what is behind the lock is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything that waits to be written.
    pub(super) fn take_output(&self) -> BytesMut {
        let out = std::mem::take(&mut self.lock().out);
        if !out.is_empty() {
            self.sender.notify_one();
        }
        out
    }

    /// Counts what the medium has taken.
    pub(super) fn written(&self, bytes: usize) {
        self.lock().written += bytes as u64;
        // After it: bytes that end a flush are no sign of life, as they may just fill a buffer.
        self.sent.add(bytes);
        self.sender.notify_one();
    }

    /// Puts a payload into the inbox; one that nobody will receive is dropped.
    pub(super) fn deliver(&self, payload: Bytes) {
        let mut state = self.lock();
        if !state.receiver_gone {
            state.inbox_bytes += payload.len() + PAYLOAD_COST;
            state.inbox.push_back(payload);
            self.receiver.notify_one();
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.lock().inbox_bytes < self.inbox_bytes_max
    }

    pub(super) fn peer_closed(&self) {
        self.lock().peer_closed = true;
        self.receiver.notify_one();
    }

    /// Ends the link: nothing more is taken from it or put into it.
    pub(super) fn end(&self, end: LinkEnd) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.out = BytesMut::new();
        self.sender.notify_one();
        self.receiver.notify_one();
    }

    /// Whether the link was let go of, and whether in good order: everything is written, the
    /// goodbye included.
    pub(super) fn left(&self) -> Option<bool> {
        let state = self.lock();
        if state.sender_gone && !state.closing {
            return Some(false);
        }
        let written = state.written == state.queued;
        (state.closing && written && state.receiver_gone && state.sender_gone).then_some(true)
    }
}

/// A link on a [`CobsLine`](super::CobsLine).
///
/// - Damage in either direction ends it at both ends, with a [`LinkEnd`] inside the error; so does
///   the next link on the line.
/// - [`close`](LinkTx::close) ends it in order, with a frame that says so.
/// - Dropping the sending half without a close is an abrupt death, of which the peer is told.
#[derive(Debug)]
pub struct CobsLink {
    tx: CobsTx,
    rx: CobsRx,
    peer: Peer,
}

impl CobsLink {
    pub(super) fn new(
        id: LinkId,
        role: Role,
        peer: Peer,
        task: Arc<Notify>,
        config: &CobsConfig,
    ) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            task,
            sender: Notify::new(),
            receiver: Notify::new(),
            sent: Progress::default(),
            received: Progress::default(),
            inbox_bytes_max: config.inbox_bytes_max.max(1),
        });
        let tx = CobsTx {
            shared: Arc::clone(&shared),
            id,
            role,
            check: payload_check(id, role),
            count: 0,
            batch: BytesMut::new(),
            batch_bytes_max: config.write_buffer_bytes,
            payload_bytes_max: config.payload_bytes_max,
            escapes: config.escape_flow_control,
        };
        let rx = CobsRx { shared: Arc::clone(&shared), limit: None, ended: false };
        (Self { tx, rx, peer }, shared)
    }
}

impl Link for CobsLink {
    type Tx = CobsTx;
    type Rx = CobsRx;

    fn split(self) -> (CobsTx, CobsRx) {
        (self.tx, self.rx)
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

/// The sending half of a [`CobsLink`].
#[derive(Debug)]
pub struct CobsTx {
    shared: Arc<Shared>,
    id: LinkId,
    role: Role,
    check: Check,
    /// How many payloads were sent.
    count: u32,
    /// Whole frames that were not put down yet.
    batch: BytesMut,
    batch_bytes_max: usize,
    payload_bytes_max: usize,
    escapes: bool,
}

impl CobsTx {
    /// Puts the batch down once the one before it was taken; gives how many bytes were put down by
    /// then.
    async fn put_down(&mut self) -> Result<u64, LinkEnd> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(end) = &state.end {
                    return Err(end.clone());
                }
                if self.batch.is_empty() {
                    return Ok(state.queued);
                }
                if state.out.is_empty() {
                    state.queued += self.batch.len() as u64;
                    state.out = std::mem::take(&mut self.batch);
                    self.shared.task.notify_one();
                    return Ok(state.queued);
                }
            }
            self.shared.sender.notified().await;
        }
    }

    async fn written(&mut self, queued: u64) -> Result<(), LinkEnd> {
        loop {
            {
                let state = self.shared.lock();
                if state.written >= queued {
                    return Ok(());
                }
                if let Some(end) = &state.end {
                    return Err(end.clone());
                }
            }
            self.shared.sender.notified().await;
        }
    }
}

impl LinkTx for CobsTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        let bytes = head.len().saturating_add(body.len());
        let bytes_max = self.payload_bytes_max;
        if bytes > bytes_max {
            return Err(CobsError::PayloadTooLarge { bytes, bytes_max }.into());
        }
        if let Some(end) = &self.shared.lock().end {
            return Err(end.clone().into());
        }
        if self.batch.is_empty() {
            // Whatever the line has made up since the last batch ends here.
            self.batch.extend_from_slice(&[DELIMITER]);
        }
        let check = self.check.and(&self.count.to_le_bytes());
        framing::encode(check, head, &body, self.escapes, &mut self.batch);
        self.count = self.count.wrapping_add(1);
        if self.batch.len() >= self.batch_bytes_max {
            self.put_down().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let queued = self.put_down().await?;
        Ok(self.written(queued).await?)
    }

    async fn close(mut self) -> io::Result<()> {
        let goodbye = Control::Close(self.id, self.count);
        goodbye.encode(self.role, self.escapes, &mut self.batch);
        let queued = self.put_down().await?;
        self.shared.lock().closing = true;
        Ok(self.written(queued).await?)
    }

    fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    fn progress(&self) -> Progress {
        self.shared.sent.clone()
    }
}

impl Drop for CobsTx {
    fn drop(&mut self) {
        self.shared.lock().sender_gone = true;
        self.shared.task.notify_one();
    }
}

/// The receiving half of a [`CobsLink`].
#[derive(Debug)]
pub struct CobsRx {
    shared: Arc<Shared>,
    limit: Option<usize>,
    /// Nothing more is to be given.
    ended: bool,
}

impl LinkRx for CobsRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            {
                let mut state = self.shared.lock();
                if self.ended {
                    let end = state.end.clone().unwrap_or(LinkEnd::Closed);
                    return Err(end.into());
                }
                if let Some(payload) = state.inbox.pop_front() {
                    let was_full = state.inbox_bytes >= self.shared.inbox_bytes_max;
                    state.inbox_bytes -= payload.len() + PAYLOAD_COST;
                    if was_full {
                        self.shared.task.notify_one();
                    }
                    let bytes_max = self.limit.unwrap_or(usize::MAX);
                    let bytes = payload.len();
                    if bytes > bytes_max {
                        self.ended = true;
                        return Err(CobsError::ReceivedTooLarge { bytes, bytes_max }.into());
                    }
                    return Ok(Some(payload));
                }
                if state.peer_closed {
                    self.ended = true;
                    return Ok(None);
                }
                if let Some(end) = &state.end {
                    self.ended = true;
                    return Err(end.clone().into());
                }
            }
            self.shared.receiver.notified().await;
        }
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.limit = bytes_max;
    }

    fn progress(&self) -> Progress {
        self.shared.received.clone()
    }
}

impl Drop for CobsRx {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver_gone = true;
        state.inbox = VecDeque::new();
        state.inbox_bytes = 0;
        self.shared.task.notify_one();
    }
}
