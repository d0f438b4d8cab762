//! Where received bytes wait: a block that payloads are split off from without a copy. Decides how
//! large a block is and when it is given back; knows nothing of frames beyond "the one in front has
//! so many bytes".

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of a block on a link that says little, and the most that is kept while nothing is
/// buffered.
const QUIET_BLOCK_BYTES: usize = 4 << 10;

/// Less room than this is not worth a read, unless it takes the rest of the frame in front. It is
/// also the room behind a large frame, so that the length of the next one is known early.
const WORTHWHILE_BYTES: usize = 1 << 10;

/// After how many small reads in a row a link counts as one that says little.
const QUIET_READS: u8 = 8;

/// Received bytes in order, and room for more.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    block: BytesMut,
    next_block_bytes: usize,
    block_bytes_max: usize,
    /// `block` is an allocation of its own for a frame that no ordinary block can hold; it grows with
    /// what arrives.
    large: bool,
    quiet_reads: u8,
}

impl ReadBuffer {
    /// A buffer that reads up to `block_bytes_max` at once, with what has been `read` before.
    pub(crate) fn new(block_bytes_max: usize, read: BytesMut) -> Self {
        Self {
            block: read,
            next_block_bytes: QUIET_BLOCK_BYTES,
            block_bytes_max: block_bytes_max.max(QUIET_BLOCK_BYTES),
            large: false,
            quiet_reads: 0,
        }
    }

    /// What was received and not yet taken.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.block
    }

    /// Takes the frame in front, a head of `head` bytes and then `len`; gives the latter.
    pub(crate) fn take(&mut self, head: usize, len: usize) -> BytesMut {
        self.block.advance(head);
        if len == 0 {
            // Shares nothing, so it keeps no block alive.
            return BytesMut::new();
        }
        let payload = self.block.split_to(len);
        if std::mem::take(&mut self.large) {
            // The next frame must not keep this one's memory alive.
            self.move_to(if self.block.is_empty() { 0 } else { QUIET_BLOCK_BYTES });
        }
        payload
    }

    /// Reads once from `io`, with room for a frame of `frame` bytes in front, as far as it can be
    /// had without trusting that so many will come. Gives how much was read.
    pub(crate) fn poll_fill<R>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut R,
        frame: usize,
    ) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        self.make_room(frame);
        let room = self.block.capacity() - self.block.len();
        let polled = pin!(io.read_buf(&mut self.block)).poll(cx);
        match &polled {
            Poll::Ready(Ok(count)) => self.adapt(*count, room),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.give_back(),
        }
        polled
    }

    fn make_room(&mut self, frame: usize) {
        let have = self.block.len();
        debug_assert!(frame == 0 || have < frame, "a frame that is complete is taken, not read on");
        let capacity = self.block.capacity();
        let room = capacity - have;
        if self.large {
            if room == 0 {
                self.move_to(self.large_block_bytes(frame));
            }
            return;
        }
        let enough = if frame > capacity {
            false
        } else {
            room >= WORTHWHILE_BYTES || (frame > 0 && room > 0)
        };
        if enough {
            return;
        }
        let bytes = if frame + WORTHWHILE_BYTES > self.block_bytes_max {
            self.large = true;
            self.large_block_bytes(frame)
        } else if frame + WORTHWHILE_BYTES > self.next_block_bytes {
            self.block_bytes_max
        } else {
            self.next_block_bytes
        };
        // The present block is as good, if nobody else has a part of it.
        if self.large || !self.block.try_reclaim(bytes - have) {
            self.move_to(bytes);
        }
    }

    /// Goes on with a fresh block.
    fn move_to(&mut self, bytes: usize) {
        let mut block = BytesMut::with_capacity(bytes);
        block.extend_from_slice(&self.block);
        self.block = block;
    }

    /// How large a block may be now for a frame of `frame` bytes, which is more than has come.
    ///
    /// A peer gets about as much memory as it has sent bytes. The result is the whole size halved
    /// often enough, so that doubling it whenever it is full ends at the whole size.
    fn large_block_bytes(&self, frame: usize) -> usize {
        let have = self.block.len();
        let limit = have + have.max(2 * self.block_bytes_max);
        let mut bytes = frame.saturating_add(WORTHWHILE_BYTES);
        while bytes > limit {
            bytes = bytes.div_ceil(2);
        }
        bytes
    }

    /// Learns from a read that gave `count` bytes where `room` was.
    fn adapt(&mut self, count: usize, room: usize) {
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
    fn give_back(&mut self) {
        if self.block.is_empty() && self.block.capacity() > QUIET_BLOCK_BYTES {
            self.block = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 64 << 10;

    /// As if the peer had sent `bytes`: reads as long as the frame in front is incomplete. Gives
    /// what was not read.
    fn feed(buffer: &mut ReadBuffer, frame: usize, mut bytes: usize) -> usize {
        while bytes > 0 && buffer.bytes().len() < frame {
            buffer.make_room(frame);
            let room = buffer.block.capacity() - buffer.block.len();
            let count = bytes.min(room);
            buffer.block.extend_from_slice(&vec![7; count]);
            buffer.adapt(count, room);
            bytes -= count;
        }
        bytes
    }

    #[test]
    fn an_announced_frame_gets_memory_as_it_comes() {
        let mut buffer = ReadBuffer::new(BLOCK, BytesMut::new());
        let frame = 16 << 20;
        feed(&mut buffer, 10, 10);
        while buffer.bytes().len() < frame {
            buffer.make_room(frame);
            let (have, capacity) = (buffer.bytes().len(), buffer.block.capacity());
            assert!(capacity <= have + have.max(2 * BLOCK) + 1, "{capacity} after {have} bytes");
            feed(&mut buffer, frame, 10_000.min(frame - have));
        }
        assert!(buffer.block.capacity() <= frame + WORTHWHILE_BYTES, "nothing over the whole size");
        assert_eq!(buffer.take(10, frame - 10).len(), frame - 10);
        assert_eq!(buffer.block.capacity(), 0);
    }

    #[test]
    fn a_row_of_large_frames_is_read_in_place_and_none_keeps_another_alive() {
        let mut buffer = ReadBuffer::new(BLOCK, BytesMut::new());
        let frame = BLOCK + 9;
        feed(&mut buffer, 10, 10);
        for _ in 0..5 {
            feed(&mut buffer, frame, 10 * BLOCK);
            let start = buffer.bytes().as_ptr();
            let payload = buffer.take(10, frame - 10);
            assert_eq!(payload.as_ptr(), start.wrapping_add(10), "in place");
            assert!(payload.freeze().is_unique(), "the rest has a block of its own");
            assert_eq!(buffer.bytes().len(), WORTHWHILE_BYTES);
        }
    }

    #[test]
    fn small_frames_share_a_block_and_reuse_it() {
        let mut buffer = ReadBuffer::new(BLOCK, BytesMut::new());
        let mut blocks = std::collections::HashSet::new();
        for _ in 0..10_000 {
            if buffer.bytes().len() < 70 {
                feed(&mut buffer, 70, 5_000);
            }
            drop(buffer.take(6, 64));
            blocks.insert(buffer.block.as_ptr() as usize / BLOCK);
        }
        assert!(blocks.len() <= 6, "{} blocks", blocks.len());
    }

    #[test]
    fn a_waiting_link_keeps_little() {
        let mut buffer = ReadBuffer::new(BLOCK, BytesMut::new());
        feed(&mut buffer, BLOCK / 2, BLOCK / 2);
        buffer.take(0, BLOCK / 2);
        buffer.give_back();
        assert_eq!(buffer.block.capacity(), 0);
        for _ in 0..=QUIET_READS {
            feed(&mut buffer, 10, 10);
            buffer.take(0, 10);
        }
        buffer.give_back();
        feed(&mut buffer, 10, 10);
        assert!(buffer.block.capacity() <= QUIET_BLOCK_BYTES);
    }
}
