//! A memory link and its halves. Whether they belong to a network is not their business.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::task::coop::cooperative;

use super::MemoryConfig;
use super::channel::{Channel, cost};
use crate::link::{Link, LinkRx, LinkTx, Peer};

/// How many bytes a sending half holds back until a flush, unless the capacity is smaller.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Short payloads share blocks of this size, which are used again once all in them are gone.
const BLOCK_BYTES: usize = 16 * 1024;
/// The longest payload that is put into a shared block; longer ones get their own memory, so that
/// one that is kept pins few bytes beside its own.
const BLOCK_PAYLOAD_BYTES_MAX: usize = 1024;

/// Two ends of a link within this process.
#[must_use]
pub fn memory_link_pair(config: MemoryConfig) -> (MemoryLink, MemoryLink) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let peer = Peer::at(format_args!("memory:{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let there = Arc::new(Channel::new(config.capacity_bytes));
    let back = Arc::new(Channel::new(config.capacity_bytes));
    let near = MemoryLink::new(Arc::clone(&there), Arc::clone(&back), config, peer.clone());
    (near, MemoryLink::new(back, there, config, peer))
}

/// One end of a link within this process.
///
/// - [`close`](LinkTx::close) ends it in order: the peer receives everything that was sent, then
///   `None`.
/// - Dropping a half without a close is an abrupt death. The peer receives what was flushed, then
///   [`io::ErrorKind::ConnectionReset`]; its sends fail with [`io::ErrorKind::BrokenPipe`] when the
///   receiving half is the one that is gone. What was sent and not flushed is lost.
/// - Both ends have the address `memory:N`, with the same number, unique in the process.
#[derive(Debug)]
pub struct MemoryLink {
    tx: MemoryTx,
    rx: MemoryRx,
    peer: Peer,
}

impl MemoryLink {
    fn new(sends: Arc<Channel>, receives: Arc<Channel>, config: MemoryConfig, peer: Peer) -> Self {
        let tx = MemoryTx {
            channel: sends,
            batch: VecDeque::new(),
            batch_bytes: 0,
            batch_bytes_max: config.capacity_bytes.min(BATCH_BYTES_MAX),
            payload_bytes_max: config.payload_bytes_max,
            block: BytesMut::new(),
        };
        Self { tx, rx: MemoryRx { channel: receives }, peer }
    }

    /// Both directions, for whoever is to cut them.
    pub(super) fn channels(&self) -> [&Arc<Channel>; 2] {
        [&self.tx.channel, &self.rx.channel]
    }
}

impl Link for MemoryLink {
    type Tx = MemoryTx;
    type Rx = MemoryRx;

    fn split(self) -> (MemoryTx, MemoryRx) {
        (self.tx, self.rx)
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

/// The sending half of a [`MemoryLink`].
///
/// Payloads are handed over in batches, with one lock and one wake-up for each: on a flush, and when
/// 64 KiB or the capacity are reached. A payload with an empty head is passed on without a copy.
#[derive(Debug)]
pub struct MemoryTx {
    channel: Arc<Channel>,
    batch: VecDeque<Bytes>,
    /// Invariant: the sum of the costs in `batch`, except while a hand-over is under way.
    batch_bytes: usize,
    batch_bytes_max: usize,
    payload_bytes_max: usize,
    block: BytesMut,
}

impl MemoryTx {
    /// `head` and `body` as one payload of `len` bytes.
    fn join(&mut self, head: &[u8], body: Bytes, len: usize) -> Bytes {
        if head.is_empty() {
            return body;
        }
        let mut own = BytesMut::new();
        let target = if len <= BLOCK_PAYLOAD_BYTES_MAX { &mut self.block } else { &mut own };
        if target.capacity() < len {
            target.reserve(if len <= BLOCK_PAYLOAD_BYTES_MAX { BLOCK_BYTES } else { len });
        }
        target.put_slice(head);
        target.put_slice(&body);
        target.split().freeze()
    }
}

impl LinkTx for MemoryTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        let len = head.len().saturating_add(body.len());
        if len > self.payload_bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the payload has {len} bytes, the link takes at most {}",
                    self.payload_bytes_max
                ),
            ));
        }
        if self.batch_bytes.saturating_add(cost(len)) > self.batch_bytes_max {
            self.flush().await?;
        }
        let payload = self.join(head, body, len);
        self.batch_bytes += cost(len);
        self.batch.push_back(payload);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        cooperative(poll_fn(|cx| self.channel.poll_push(cx, &mut self.batch))).await?;
        self.batch_bytes = 0;
        Ok(())
    }

    async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.channel.close()
    }

    fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        self.channel.drop_sender();
    }
}

/// The receiving half of a [`MemoryLink`].
#[derive(Debug)]
pub struct MemoryRx {
    channel: Arc<Channel>,
}

impl LinkRx for MemoryRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        cooperative(poll_fn(|cx| self.channel.poll_pop(cx))).await
    }
}

impl Drop for MemoryRx {
    fn drop(&mut self) {
        self.channel.drop_receiver();
    }
}
