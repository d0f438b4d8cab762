//! Messages as a length and then the payload: the length is a `u32` in little-endian order and
//! counts the payload only. Has no checksum and no way to resynchronise, so it needs a medium
//! that delivers every byte or fails.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;
use rejoin_core::{Link, LinkRx, LinkTx, Peer, Progress};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::config::StreamConfig;
use crate::error::{StreamRecvError, StreamSendError};
use crate::read_buffer::ReadBuffer;
use crate::write_queue::{SLICES_MAX, WriteQueue};

const PREFIX_BYTES: usize = size_of::<u32>();

/// From this size on, a body is handed to a vectored write and not copied: a copy then costs more
/// than the writes of fewer bytes that come of it.
const SHARE_BYTES_MIN: usize = 8 << 10;

/// A link of length-prefixed messages over a stream.
#[derive(Debug)]
pub struct LengthPrefixedLink<R, W> {
    tx: LengthPrefixedTx<W>,
    rx: LengthPrefixedRx<R>,
    peer: Peer,
}

impl<R, W> LengthPrefixedLink<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// A link over the two halves of a stream to `peer`.
    pub fn new(reader: R, writer: W, peer: Peer, config: &StreamConfig) -> Self {
        Self {
            tx: LengthPrefixedTx::new(writer, config),
            rx: LengthPrefixedRx::new(reader, config),
            peer,
        }
    }
}

impl<S> LengthPrefixedLink<ReadHalf<S>, WriteHalf<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// A link over a stream to `peer` that cannot be taken apart itself.
    ///
    /// Its halves share the stream under a lock. Where a stream has owned halves of its own, as
    /// sockets do, [`new`](LengthPrefixedLink::new) with them is faster.
    pub fn from_stream(stream: S, peer: Peer, config: &StreamConfig) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self::new(reader, writer, peer, config)
    }
}

impl<R, W> Link for LengthPrefixedLink<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Tx = LengthPrefixedTx<W>;
    type Rx = LengthPrefixedRx<R>;

    fn split(self) -> (Self::Tx, Self::Rx) {
        (self.tx, self.rx)
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

/// The sending half of a [`LengthPrefixedLink`].
///
/// Small payloads are copied side by side and written together. The body of a large one is not
/// copied where the writer can write several slices at once.
#[derive(Debug)]
pub struct LengthPrefixedTx<W> {
    writer: W,
    queue: WriteQueue,
    /// Something was written or queued since the writer was last flushed.
    unflushed: bool,
    share_bytes_min: usize,
    queue_bytes_max: usize,
    payload_bytes_max: usize,
    progress: Progress,
}

impl<W: AsyncWrite + Unpin + Send + 'static> LengthPrefixedTx<W> {
    /// A sending half that writes to `writer`.
    pub fn new(writer: W, config: &StreamConfig) -> Self {
        // A writer without vectored writes would send each prefix on its own.
        let share_bytes_min = if writer.is_write_vectored() {
            SHARE_BYTES_MIN
        } else {
            config.write_buffer_bytes.max(SHARE_BYTES_MIN)
        };
        Self {
            writer,
            queue: WriteQueue::default(),
            unflushed: false,
            share_bytes_min,
            queue_bytes_max: config.write_buffer_bytes,
            payload_bytes_max: config.payload_bytes_max(),
            progress: Progress::default(),
        }
    }

    /// Writes until the queue is empty.
    async fn write_queued(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            let count = if let Some(bytes) = self.queue.as_single() {
                self.writer.write(bytes).await?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let filled = self.queue.fill(&mut slices);
                self.writer.write_vectored(&slices[..filled]).await?
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.progress.add(count);
            self.queue.advance(count);
        }
        self.queue.reset();
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> LinkTx for LengthPrefixedTx<W> {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        let part = 0..body.len();
        self.send_part(head, &body, part).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        let payload_bytes = head.len() + part.len();
        let prefix = match u32::try_from(payload_bytes) {
            Ok(prefix) if payload_bytes <= self.payload_bytes_max => prefix.to_le_bytes(),
            _ => {
                let (bytes, bytes_max) = (payload_bytes, self.payload_bytes_max);
                return Err(StreamSendError::PayloadTooLarge { bytes, bytes_max }.into());
            }
        };
        self.unflushed = true;
        if part.len() < self.share_bytes_min {
            self.queue.push_copy(prefix, head, &bytes[part]);
        } else {
            self.queue.push_shared(prefix, head, bytes.slice(part));
        }
        if self.queue.len() >= self.queue_bytes_max {
            self.write_queued().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.unflushed {
            self.write_queued().await?;
            self.writer.flush().await?;
            self.unflushed = false;
        }
        Ok(())
    }

    async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.writer.shutdown().await
    }

    fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

/// The receiving half of a [`LengthPrefixedLink`].
///
/// Payloads are slices of the blocks that were read, not copies. The peer's end of the stream
/// between two messages is its close; inside a message it is an error.
#[derive(Debug)]
pub struct LengthPrefixedRx<R> {
    reader: R,
    buffer: ReadBuffer,
    state: State,
    payload_bytes_max: usize,
    /// A limit set for the time being.
    limit: Option<usize>,
    progress: Progress,
}

/// Whether more can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Closed,
    Failed,
}

impl<R: AsyncRead + Unpin + Send + 'static> LengthPrefixedRx<R> {
    /// A receiving half that reads from `reader`.
    pub fn new(reader: R, config: &StreamConfig) -> Self {
        Self {
            reader,
            buffer: ReadBuffer::new(config.read_buffer_bytes),
            state: State::Open,
            payload_bytes_max: config.payload_bytes_max(),
            limit: None,
            progress: Progress::default(),
        }
    }

    /// The longest payload that may come now.
    fn payload_bytes_max(&self) -> usize {
        self.limit.unwrap_or(usize::MAX).min(self.payload_bytes_max)
    }

    /// How many payload bytes the message in front has, once its prefix is here.
    fn announced(&self) -> Result<Option<usize>, StreamRecvError> {
        let Some(prefix) = self.buffer.bytes().first_chunk() else { return Ok(None) };
        let bytes = u32::from_le_bytes(*prefix) as usize;
        let bytes_max = self.payload_bytes_max();
        if bytes > bytes_max {
            return Err(StreamRecvError::PayloadTooLarge { bytes, bytes_max });
        }
        Ok(Some(bytes))
    }

    /// Reads once; `false` means that the peer closed.
    async fn read(&mut self, announced: Option<usize>) -> io::Result<bool> {
        let message = PREFIX_BYTES + announced.unwrap_or(0);
        let Self { buffer, reader, .. } = self;
        let count = poll_fn(|cx| buffer.poll_fill(cx, reader, message)).await?;
        self.progress.add(count);
        if count > 0 {
            return Ok(true);
        }
        match self.buffer.bytes().len() {
            0 => Ok(false),
            received => Err(StreamRecvError::Truncated { received }.into()),
        }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> LinkRx for LengthPrefixedRx<R> {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        match self.state {
            State::Open => {}
            State::Closed => return Ok(None),
            State::Failed => return Err(StreamRecvError::Failed.into()),
        }
        loop {
            let announced = self.announced().inspect_err(|_| self.state = State::Failed)?;
            if let Some(bytes) = announced
                && self.buffer.bytes().len() >= PREFIX_BYTES + bytes
            {
                return Ok(Some(self.buffer.take(PREFIX_BYTES, bytes).freeze()));
            }
            match self.read(announced).await {
                Ok(true) => {}
                Ok(false) => {
                    self.state = State::Closed;
                    return Ok(None);
                }
                Err(error) => {
                    self.state = State::Failed;
                    return Err(error);
                }
            }
        }
    }

    fn recv_parts(&mut self, mut take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        if self.state != State::Open {
            return Bytes::new();
        }
        let bytes = self.buffer.bytes();
        let bytes_max = self.payload_bytes_max().min(SHARE_BYTES_MIN);
        let mut end = 0;
        while let Some((prefix, rest)) = bytes[end..].split_first_chunk() {
            let payload_bytes = u32::from_le_bytes(*prefix) as usize;
            let start = end + PREFIX_BYTES;
            if payload_bytes > bytes_max.min(rest.len()) || !take(start..start + payload_bytes) {
                break;
            }
            end = start + payload_bytes;
        }
        if end == 0 {
            return Bytes::new();
        }
        self.buffer.take_run(end).freeze()
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.limit = bytes_max;
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
