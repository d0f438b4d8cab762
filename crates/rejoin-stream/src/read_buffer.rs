//! Where received bytes wait: a block that messages are split off from without a copy. Decides how
//! large a block is and when it is given back; knows no framing beyond "the message in front has
//! so many bytes".

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use rejoin_core::BlockPool;

/// The size of a block on a link that says little, and the most that is kept while nothing is
/// buffered.
const QUIET_BLOCK_BYTES: usize = 4 << 10;

/// After how many small reads in a row a link counts as one that says little.
const QUIET_READS: u8 = 8;

/// Less room than this is not worth a read; fewer bytes than this are cheap to copy elsewhere.
const WORTHWHILE_BYTES: usize = 1 << 10;

/// Room for the beginning of the next message behind a large one, so that its length is known
/// before memory for it is chosen. Without it, a row of large messages would be cut by blocks of
/// the wrong size, and each copied again.
const LOOKAHEAD_BYTES: usize = WORTHWHILE_BYTES;

/// How much of a large message is read before whoever waits for it gets to see how much there is:
/// it may want no more for now.
const RUN_BYTES: usize = 128 << 10;

/// Received bytes in order, and room for more: what a framing reads into and splits its messages off
/// from.
///
/// A framing looks at [`bytes`](Self::bytes), and either [takes](Self::take) the message in front or
/// [reads](Self::poll_fill) on. Messages are parts of blocks and not copies; a block is used again when
/// nobody has a part of it any more. How much memory that is stands at
/// [`StreamConfig`](crate::StreamConfig), whose `read_buffer_bytes` is the size of a block.
///
/// ```
/// use std::future::poll_fn;
///
/// use rejoin_stream::ReadBuffer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// // Each message is its length, one byte, and so many bytes.
/// let mut stream = &b"\x05hello\x05world"[..];
/// let mut buffer = ReadBuffer::new(64 << 10);
/// let mut messages = Vec::new();
/// while messages.len() < 2 {
///     let size = 1 + buffer.bytes().first().map_or(0, |len| usize::from(*len));
///     if buffer.bytes().len() < size {
///         poll_fn(|cx| buffer.poll_fill(cx, &mut stream, size)).await?;
///     } else {
///         messages.push(buffer.take(1, size - 1));
///     }
/// }
/// assert_eq!(messages, [&b"hello"[..], b"world"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReadBuffer {
    /// What was received and not yet taken; its spare capacity takes the next read.
    block: BytesMut,
    /// The size of the allocation that `block` is the end of.
    block_bytes: usize,
    /// The size of the next block: `QUIET_BLOCK_BYTES` or `block_bytes_max`.
    next_block_bytes: usize,
    block_bytes_max: usize,
    /// `block` is for one message that no ordinary block can hold. It grows with what arrives.
    large: bool,
    /// How large the last message was, if a block of twice the usual size could hold it and no
    /// ordinary one. The next may be as large, and is not copied again if it is read to such a
    /// block from its beginning.
    last_large: usize,
    /// How much was read of a large message without a pause.
    run_bytes: usize,
    quiet_reads: u8,
    /// Whether nothing has come since there was nothing to read.
    waits: bool,
    used: BlockPool,
    /// Blocks of twice the usual size, each for one message that an ordinary block cannot hold.
    used_large: BlockPool,
}

impl ReadBuffer {
    /// A buffer that reads up to `block_bytes_max` bytes at once, at least 4 KiB. Allocates nothing
    /// yet.
    #[must_use]
    pub fn new(block_bytes_max: usize) -> Self {
        let block_bytes_max = block_bytes_max.max(QUIET_BLOCK_BYTES);
        Self {
            block: BytesMut::new(),
            block_bytes: 0,
            next_block_bytes: QUIET_BLOCK_BYTES,
            block_bytes_max,
            large: false,
            last_large: 0,
            run_bytes: 0,
            quiet_reads: 0,
            waits: false,
            used: BlockPool::new(block_bytes_max),
            used_large: BlockPool::new(2 * block_bytes_max),
        }
    }

    /// The same, with what was read from the stream before there was a buffer.
    #[must_use]
    pub fn with_received(block_bytes_max: usize, received: BytesMut) -> Self {
        Self { block: received, ..Self::new(block_bytes_max) }
    }

    /// What was received and not yet taken.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.block
    }

    /// Takes the message in front, `prefix` bytes and then a payload of `len`; gives the payload.
    ///
    /// # Panics
    ///
    /// When that is more than was received.
    #[inline]
    pub fn take(&mut self, prefix: usize, len: usize) -> BytesMut {
        let is_large = prefix + len > self.block_bytes_max - LOOKAHEAD_BYTES;
        let fits = prefix + len <= self.used_large.block_bytes() - LOOKAHEAD_BYTES;
        self.last_large = if is_large && fits { prefix + len } else { 0 };
        if self.large && !is_large {
            return self.take_unexpected(prefix, len);
        }
        if len == 0 {
            // Shares nothing, so it keeps no block alive.
            self.block.advance(prefix);
            return BytesMut::new();
        }
        let mut payload = self.block.split_to(prefix + len);
        payload.advance(prefix);
        if self.large {
            // The next message must not keep this one's memory alive.
            self.large = false;
            self.run_bytes = 0;
            let bytes = if self.block.is_empty() { 0 } else { QUIET_BLOCK_BYTES };
            self.move_to(BytesMut::with_capacity(bytes));
        }
        payload
    }

    /// Takes the `len` bytes in front: messages that lie side by side, each of which an ordinary block
    /// can hold. Gives them as they came.
    ///
    /// # Panics
    ///
    /// When that is more than was received.
    pub fn take_run(&mut self, len: usize) -> BytesMut {
        if len == 0 {
            return BytesMut::new();
        }
        self.last_large = 0;
        if self.large { self.take_unexpected(0, len) } else { self.block.split_to(len) }
    }

    /// Takes a message for which there is a much larger block than it needs.
    #[cold]
    fn take_unexpected(&mut self, prefix: usize, len: usize) -> BytesMut {
        let payload = BytesMut::from(&self.block[prefix..prefix + len]);
        self.block.advance(prefix + len);
        self.large = false;
        self.run_bytes = 0;
        let next = self.used.take();
        self.move_to(next);
        payload
    }

    /// Reads once from `io`, with room for a message of `message` bytes in front as far as it can be
    /// had without trusting that so many will come. Gives how much was read; 0 is the end of `io`.
    ///
    /// `message` is more than what is here: as many bytes as are known to belong to the message, with
    /// what tells its length.
    ///
    /// Pauses once for every 128 KiB of a large message, also when more is there at once, so that
    /// whoever waits for it sees how much there is and can decide to read on later.
    ///
    /// # Errors
    ///
    /// Those of `io`.
    pub fn poll_fill<R>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut R,
        message: usize,
    ) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        if self.run_bytes >= RUN_BYTES {
            self.run_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.make_room(message);
        let room = self.room(message).min(RUN_BYTES);
        let polled = pin!(io.read_buf(&mut (&mut self.block).limit(room))).poll(cx);
        match &polled {
            Poll::Ready(Ok(count)) => {
                self.adapt(*count, room);
                self.run_bytes += if self.large { *count } else { 0 };
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.run_bytes = 0;
                self.give_back();
            }
        }
        polled
    }

    /// How much may be read now. Behind a large message only as much as is copied when it is taken.
    #[inline]
    fn room(&self, message: usize) -> usize {
        let end = if self.large {
            message.max(self.last_large).saturating_add(LOOKAHEAD_BYTES)
        } else {
            usize::MAX
        };
        self.block.capacity().min(end) - self.block.len()
    }

    #[inline]
    fn make_room(&mut self, message: usize) {
        let have = self.block.len();
        debug_assert!(have < message, "a message that is complete is taken, not read on");
        let room = self.block.capacity() - have;
        let fits = message <= self.block.capacity();
        if self.large {
            if room == 0 {
                let bytes = self.large_block_bytes(message);
                self.block.reserve(bytes - have);
                self.block_bytes = self.block.capacity();
            }
        } else if have == 0 && self.last_large > 0 {
            let next = self.used_large.take();
            self.move_to(next);
            self.large = true;
        } else if !fits || (room < WORTHWHILE_BYTES && have < WORTHWHILE_BYTES) {
            let bytes = self.next_block_bytes;
            if message > self.block_bytes_max - LOOKAHEAD_BYTES {
                let next = if message <= self.used_large.block_bytes() - LOOKAHEAD_BYTES {
                    self.used_large.take()
                } else {
                    BytesMut::with_capacity(self.large_block_bytes(message))
                };
                self.move_to(next);
                self.large = true;
            } else if message > bytes - LOOKAHEAD_BYTES {
                self.renew(self.block_bytes_max);
            } else {
                self.renew(bytes);
            }
        }
    }

    /// Goes on with a block of `bytes`: the present one, if nobody else has a part of it.
    fn renew(&mut self, bytes: usize) {
        if self.block_bytes >= bytes && self.block.try_reclaim(bytes - self.block.len()) {
            return;
        }
        let next = if bytes < self.block_bytes_max {
            BytesMut::with_capacity(bytes)
        } else {
            self.used.take()
        };
        self.move_to(next);
    }

    /// Goes on with an empty block.
    fn move_to(&mut self, mut next: BytesMut) {
        let bytes = next.capacity();
        next.extend_from_slice(&self.block);
        let previous = std::mem::replace(&mut self.block, next);
        self.retire(previous);
        self.block_bytes = bytes;
    }

    /// How large a block may be now for a message of `message` bytes, which is more than has come.
    ///
    /// A peer gets about as much memory as it has sent bytes. The result is the whole size halved
    /// often enough, so that doubling it whenever it is full ends at the whole size.
    fn large_block_bytes(&self, message: usize) -> usize {
        let have = self.block.len();
        let limit = have + have.max(2 * self.block_bytes_max);
        let mut bytes = message.saturating_add(LOOKAHEAD_BYTES);
        while bytes > limit {
            bytes = bytes.div_ceil(2);
        }
        bytes
    }

    /// Learns from a read that gave `count` bytes where `room` was.
    #[inline]
    fn adapt(&mut self, count: usize, room: usize) {
        self.waits = false;
        if count == room {
            self.next_block_bytes = self.block_bytes_max;
            self.quiet_reads = 0;
        } else if count > QUIET_BLOCK_BYTES / 2 {
            self.quiet_reads = 0;
        } else if self.next_block_bytes > QUIET_BLOCK_BYTES {
            self.quiet_reads += 1;
            if self.quiet_reads == QUIET_READS {
                self.quiet_reads = 0;
                self.next_block_bytes = QUIET_BLOCK_BYTES;
            }
        }
    }

    /// Keeps only a small block while there is nothing to read: most links wait most of the time.
    ///
    /// Not at once where much came just before: its rest takes what comes next. A stream that is read
    /// as fast as it comes would leave block after block half full.
    #[inline]
    fn give_back(&mut self) {
        let waited = std::mem::replace(&mut self.waits, true);
        let came_much = self.next_block_bytes > QUIET_BLOCK_BYTES && self.quiet_reads == 0;
        let has_room = self.block.capacity() >= QUIET_BLOCK_BYTES && !self.large;
        let goes_on = came_much && has_room && !waited;
        if self.block.is_empty() && self.block_bytes > QUIET_BLOCK_BYTES && !goes_on {
            let block = std::mem::take(&mut self.block);
            self.retire(block);
            self.block_bytes = 0;
            self.large = false;
        }
        self.used.trim_at_times();
        self.used_large.trim_at_times();
    }

    /// Is done with a block that was the present one. One of the usual sizes may be used again.
    fn retire(&mut self, block: BytesMut) {
        if self.block_bytes == self.block_bytes_max {
            self.used.put(block);
        } else if self.block_bytes == self.used_large.block_bytes() {
            self.used_large.put(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 64 << 10;

    /// As if the peer had sent `bytes`: reads as long as the message in front is incomplete.
    /// Gives what was not read.
    fn feed(buffer: &mut ReadBuffer, message: usize, mut bytes: usize) -> usize {
        while bytes > 0 && buffer.bytes().len() < message {
            buffer.make_room(message);
            let room = buffer.room(message);
            let count = bytes.min(room);
            buffer.block.extend_from_slice(&vec![7; count]);
            buffer.adapt(count, room);
            bytes -= count;
        }
        bytes
    }

    /// A buffer that has seen a full block.
    fn busy() -> ReadBuffer {
        let mut buffer = ReadBuffer::new(BLOCK);
        feed(&mut buffer, 4, BLOCK);
        buffer.take(0, QUIET_BLOCK_BYTES);
        buffer
    }

    #[test]
    fn an_announced_message_gets_memory_as_it_comes() {
        let mut buffer = ReadBuffer::new(BLOCK);
        let message = 16 << 20;
        feed(&mut buffer, 4, 4);
        while buffer.bytes().len() < message {
            buffer.make_room(message);
            let have = buffer.bytes().len();
            assert!(buffer.block_bytes <= have + have.max(2 * BLOCK) + 1, "after {have} bytes");
            feed(&mut buffer, message, 10_000.min(message - have));
        }
        assert!(buffer.block_bytes <= message + LOOKAHEAD_BYTES, "nothing over the whole size");
        assert_eq!(buffer.take(4, message - 4).len(), message - 4);
        assert_eq!(buffer.block_bytes, 0);
    }

    #[test]
    fn what_follows_a_large_message_does_not_keep_it_alive() {
        let mut buffer = ReadBuffer::new(BLOCK);
        feed(&mut buffer, 4, 4);
        feed(&mut buffer, 300_000, 300_000 - 4 + 100);
        let large = buffer.take(4, 300_000 - 4);
        assert_eq!(buffer.bytes().len(), 100);
        assert!(large.freeze().is_unique(), "the rest has a block of its own");
        assert_eq!(buffer.block_bytes, QUIET_BLOCK_BYTES);
    }

    #[test]
    fn a_row_of_large_messages_is_not_copied_again() {
        let mut buffer = ReadBuffer::new(BLOCK);
        let message = BLOCK + 9;
        feed(&mut buffer, 4, 4);
        for _ in 0..5 {
            // As much is there as any read takes.
            feed(&mut buffer, message, 10 * BLOCK);
            let start = buffer.bytes().as_ptr();
            let payload = buffer.take(4, message - 4);
            assert_eq!(payload.as_ptr(), start.wrapping_add(4), "in place");
            assert_eq!(buffer.bytes().len(), LOOKAHEAD_BYTES);
        }
    }

    #[test]
    fn large_messages_that_come_one_by_one_use_the_same_blocks_and_are_not_copied() {
        let mut buffer = ReadBuffer::new(BLOCK);
        let message = BLOCK + 9;
        let mut blocks = std::collections::HashSet::new();
        for round in 0..20 {
            feed(&mut buffer, 4, message);
            let have = buffer.bytes().len();
            assert!(have == message || round == 0, "known to be large before it is read");
            feed(&mut buffer, message, message - have);
            let start = buffer.bytes().as_ptr();
            let payload = buffer.take(4, message - 4);
            assert_eq!(payload.as_ptr(), start.wrapping_add(4), "in place");
            buffer.give_back();
            if round > 0 {
                blocks.insert(start);
            }
        }
        assert!(blocks.len() <= 2, "{} blocks", blocks.len());
    }

    #[test]
    fn a_small_message_after_large_ones_keeps_no_large_block() {
        let mut buffer = ReadBuffer::new(BLOCK);
        let message = BLOCK + 9;
        feed(&mut buffer, 4, 4);
        feed(&mut buffer, message, message - 4);
        drop(buffer.take(4, message - 4));
        feed(&mut buffer, 4, message);
        assert!(buffer.large && buffer.bytes().len() == message);
        let small = buffer.take(4, 10);
        assert!(small.freeze().is_unique() && !buffer.large);
        assert_eq!((buffer.bytes().len(), buffer.block_bytes), (message - 14, BLOCK));
        assert_eq!(buffer.take(4, 10).len(), 10);
    }

    #[test]
    fn small_messages_share_a_block_and_reuse_it() {
        let mut buffer = busy();
        let mut blocks = std::collections::HashSet::new();
        for _ in 0..10_000 {
            if buffer.bytes().len() < 68 {
                feed(&mut buffer, 68, 5_000);
            }
            drop(buffer.take(4, 64));
            blocks.insert(buffer.block.as_ptr() as usize / BLOCK);
        }
        assert!(buffer.block_bytes == BLOCK && blocks.len() <= 5, "{} blocks", blocks.len());
    }

    #[test]
    fn a_waiting_link_keeps_little() {
        let mut buffer = busy();
        feed(&mut buffer, 4, BLOCK);
        buffer.take(0, buffer.bytes().len());
        assert_eq!(buffer.block_bytes, BLOCK);
        buffer.give_back();
        assert_eq!(buffer.block_bytes, 0);
        for _ in 0..QUIET_READS {
            feed(&mut buffer, 4, 10);
            buffer.take(0, 10);
        }
        buffer.give_back();
        feed(&mut buffer, 4, 10);
        assert_eq!(buffer.block_bytes, QUIET_BLOCK_BYTES);
    }

    #[test]
    fn a_stream_goes_on_in_the_block_that_it_has() {
        let mut buffer = busy();
        feed(&mut buffer, 4, BLOCK / 2);
        drop(buffer.take(0, BLOCK / 2));
        let rest = buffer.block.as_ptr();
        buffer.give_back();
        feed(&mut buffer, 4, BLOCK / 4);
        assert_eq!(buffer.take(0, BLOCK / 4).as_ptr(), rest);
        buffer.give_back();
        buffer.give_back();
        assert_eq!(buffer.block_bytes, 0, "a link that waits again has had time for more");
    }

    #[test]
    fn an_empty_payload_keeps_no_block() {
        let mut buffer = ReadBuffer::new(BLOCK);
        feed(&mut buffer, 4, 4);
        let payload = buffer.take(4, 0);
        assert!(payload.is_empty());
        assert!(buffer.block.try_reclaim(QUIET_BLOCK_BYTES), "the block is the buffer's alone");
    }
    #[test]
    fn a_run_of_small_messages_after_large_ones_keeps_no_large_block() {
        let mut buffer = ReadBuffer::new(BLOCK);
        let message = BLOCK + 9;
        for taken in [68, 680, message] {
            feed(&mut buffer, 4, 4);
            feed(&mut buffer, message, message - 4);
            drop(buffer.take(4, message - 4));
            // As large as the last one, as it seems.
            feed(&mut buffer, 4, message);
            assert!(buffer.large && buffer.bytes().len() == message);
            let run = buffer.take_run(taken);
            assert_eq!(run.len(), taken);
            assert!(run.freeze().is_unique() && !buffer.large);
            assert_eq!((buffer.bytes().len(), buffer.block_bytes), (message - taken, BLOCK));
            buffer.take_run(message - taken);
            feed(&mut buffer, 4, 68);
            assert!(!buffer.large, "what follows is small for all that is known");
            buffer.take_run(68);
        }
    }

    #[test]
    fn a_run_is_taken_in_place_and_the_block_behind_it_is_read_on() {
        let mut buffer = busy();
        feed(&mut buffer, 4, BLOCK);
        let (start, have) = (buffer.bytes().as_ptr(), buffer.bytes().len());
        let block = buffer.block_bytes;
        let run = buffer.take_run(have - 10);
        assert_eq!((run.as_ptr(), run.len()), (start, have - 10));
        assert_eq!(buffer.bytes().as_ptr(), start.wrapping_add(have - 10));
        assert!(buffer.take_run(0).is_empty());
        assert_eq!((buffer.bytes().len(), buffer.block_bytes), (10, block));
        assert_eq!(buffer.take_run(10).len(), 10);
        assert!(buffer.bytes().is_empty());
    }
}
