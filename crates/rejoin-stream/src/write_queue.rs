//! What the sending half has queued: small pieces copied side by side into one buffer, large
//! bodies kept as they came. Knows neither framing nor when to write; it only holds bytes in order
//! and hands them out as slices.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// How many slices one vectored write takes.
pub(crate) const SLICES_MAX: usize = 16;

/// The most that an idle queue keeps allocated, in bytes.
const IDLE_BYTES: usize = 2 << 10;

/// After how many small batches in a row a large buffer is given back. More than one, so that a
/// link which alternates between small and large batches does not allocate for each large one.
const QUIET_BATCHES: u8 = 4;

/// Bytes in order, some copied, some shared.
///
/// Invariant: `written <= body.at` for every body; the `at`s never decrease;
/// `detached_bytes` is the sum of what remains of the bodies.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    /// Everything copied since the queue was last empty.
    copied: Vec<u8>,
    /// How much of `copied` is written.
    written: usize,
    /// The bodies that were not copied.
    detached: VecDeque<Detached>,
    detached_bytes: usize,
    quiet_batches: u8,
}

/// A body that comes after the first `at` bytes of the copied ones.
#[derive(Debug)]
struct Detached {
    at: usize,
    body: Bytes,
}

impl WriteQueue {
    /// Queues a copy of `prefix`, `head` and `body`.
    #[inline]
    pub(crate) fn push_copy(&mut self, prefix: [u8; 4], head: &[u8], body: &[u8]) {
        self.copied.reserve(prefix.len() + head.len() + body.len());
        self.copied.extend_from_slice(&prefix);
        self.copied.extend_from_slice(head);
        self.copied.extend_from_slice(body);
    }

    /// Queues a copy of `prefix` and `head`, then `body` itself.
    pub(crate) fn push_shared(&mut self, prefix: [u8; 4], head: &[u8], body: Bytes) {
        self.push_copy(prefix, head, &[]);
        self.detached_bytes += body.len();
        self.detached.push_back(Detached { at: self.copied.len(), body });
    }

    /// Takes the first `count` bytes out.
    #[inline]
    pub(crate) fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.len(), "more was written than was queued");
        loop {
            let end = self.detached.front().map_or(self.copied.len(), |next| next.at);
            let piece = count.min(end - self.written);
            self.written += piece;
            count -= piece;
            if count == 0 {
                return;
            }
            let Some(next) = self.detached.front_mut() else { return };
            let piece = count.min(next.body.len());
            next.body.advance(piece);
            self.detached_bytes -= piece;
            count -= piece;
            if next.body.is_empty() {
                self.detached.pop_front();
            }
        }
    }

    /// Makes an empty queue ready for the next batch, and gives memory back after a few small ones.
    #[inline]
    pub(crate) fn reset(&mut self) {
        debug_assert!(self.is_empty(), "something queued would be lost");
        let batch = self.copied.len();
        self.copied.clear();
        self.detached.clear();
        self.written = 0;
        if self.copied.capacity() <= IDLE_BYTES {
            return;
        }
        self.quiet_batches = if batch <= IDLE_BYTES { self.quiet_batches + 1 } else { 0 };
        if self.quiet_batches >= QUIET_BATCHES {
            self.quiet_batches = 0;
            self.copied = Vec::new();
            self.detached = VecDeque::new();
        }
    }

    /// How many bytes are queued.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.copied.len() - self.written + self.detached_bytes
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The queued bytes, where they all were copied.
    #[inline]
    pub(crate) fn as_single(&self) -> Option<&[u8]> {
        self.detached.is_empty().then(|| &self.copied[self.written..])
    }

    /// Fills `slices` from the front of the queue; gives how many were filled.
    pub(crate) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let ends = self.detached.iter().map(|next| (next.at, &next.body[..]));
        let mut from = self.written;
        let mut filled = 0;
        for (end, body) in ends.chain([(self.copied.len(), &[][..])]) {
            for piece in [&self.copied[from..end], body] {
                if piece.is_empty() {
                    continue;
                }
                if filled == SLICES_MAX {
                    return filled;
                }
                slices[filled] = IoSlice::new(piece);
                filled += 1;
            }
            from = end;
        }
        filled
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.copied.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything out, at most `step` bytes at a time.
    fn drain(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = queue.fill(&mut slices);
            let before = out.len();
            for slice in &slices[..filled] {
                let room = step - (out.len() - before);
                out.extend_from_slice(&slice[..room.min(slice.len())]);
            }
            let written = out.len() - before;
            assert!(written > 0, "a queue that is not empty gives something to write");
            queue.advance(written);
        }
        queue.reset();
        out
    }

    #[test]
    fn bytes_come_out_in_the_order_they_went_in_whatever_a_write_takes() {
        for step in 1..40 {
            let mut queue = WriteQueue::default();
            let mut expected = Vec::new();
            for n in 0..30_u8 {
                let body = vec![n; usize::from(n % 4) * 3];
                expected.extend_from_slice(&[n, 0, 0, 0, 7, 8]);
                expected.extend_from_slice(&body);
                if n % 3 == 0 {
                    queue.push_copy([n, 0, 0, 0], &[7, 8], &body);
                } else {
                    queue.push_shared([n, 0, 0, 0], &[7, 8], body.into());
                }
            }
            assert_eq!(queue.len(), expected.len());
            assert_eq!(drain(&mut queue, step), expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_shared_body_is_not_copied() {
        let body = Bytes::from(vec![1; 100_000]);
        let mut queue = WriteQueue::default();
        queue.push_shared([0; 4], &[], body.clone());
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        assert_eq!(queue.fill(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), body.as_ptr());
        assert!(queue.capacity() < IDLE_BYTES);
    }

    #[test]
    fn small_batches_give_the_buffer_back() {
        let mut queue = WriteQueue::default();
        queue.push_copy([0; 4], &[], &[0; 60_000]);
        drain(&mut queue, usize::MAX);
        assert!(queue.capacity() >= 60_000, "kept for the next large batch");
        for _ in 0..QUIET_BATCHES {
            queue.push_copy([0; 4], &[], &[0; 10]);
            drain(&mut queue, usize::MAX);
        }
        assert!(queue.capacity() <= IDLE_BYTES);
    }
}
