//! Blocks of memory that parts are given out of, between two uses. A stream of messages thus uses the
//! same memory again and again, however many wait for their reader and whichever threads it runs
//! on, and what goes quiet gives it back. Knows neither what is in a block nor when that comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

/// How often it is decided which blocks are worth keeping.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// The most blocks that are waited for. Messages that are kept for long, or given back in an order
/// of their own, would otherwise gather more and more of them.
const IN_USE_MAX: usize = 128;

/// Blocks of one size, of which parts were given out, and which are filled again once nobody has any
/// of them.
///
/// Invariant: after a [`trim`](Self::trim) there are no more that nobody uses than were taken since
/// the one before.
#[derive(Debug)]
pub struct BlockPool {
    block_bytes: usize,
    /// In the order in which they were filled, which is about that in which they become free.
    in_use: VecDeque<BytesMut>,
    /// The one used last is at the end, and the first to be filled again: the caches know it.
    free: Vec<BytesMut>,
    /// How many were taken since the last trim, and when that was.
    taken: usize,
    trimmed_at: Option<Instant>,
}

impl BlockPool {
    /// A pool of blocks of `block_bytes` bytes each. Allocates nothing yet.
    #[must_use]
    pub fn new(block_bytes: usize) -> Self {
        Self { block_bytes, in_use: VecDeque::new(), free: Vec::new(), taken: 0, trimmed_at: None }
    }

    /// How large its blocks are.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// An empty block.
    pub fn take(&mut self) -> BytesMut {
        self.taken += 1;
        self.collect();
        self.free.pop().unwrap_or_else(|| BytesMut::with_capacity(self.block_bytes))
    }

    /// Keeps a block, which must be of the pool's size, as it was taken from here. What is left in it
    /// is discarded; the parts that were split off stay with those who have them.
    pub fn put(&mut self, mut block: BytesMut) {
        block.clear();
        if block.capacity() >= self.block_bytes || reclaim(&mut block) {
            self.free.push(block);
            return;
        }
        if self.in_use.len() == IN_USE_MAX {
            self.in_use.pop_front();
        }
        self.in_use.push_back(block);
    }

    /// Gives blocks back that were not needed since the last time; gives whether some are kept.
    pub fn trim(&mut self) -> bool {
        if !self.free.is_empty() || !self.in_use.is_empty() {
            self.collect_all();
            let unneeded = self.free.len().saturating_sub(std::mem::take(&mut self.taken));
            self.free.drain(..unneeded);
        }
        !self.free.is_empty() || !self.in_use.is_empty()
    }

    /// [Trims](Self::trim), unless that was done within the last second.
    pub fn trim_at_times(&mut self) {
        if self.free.is_empty() && self.in_use.is_empty() {
            return;
        }
        let now = Instant::now();
        if now.duration_since(*self.trimmed_at.get_or_insert(now)) >= TRIM_INTERVAL {
            self.trimmed_at = Some(now);
            self.trim();
        }
    }

    /// Finds blocks that have become free: usually the first, and all where that is not enough.
    fn collect(&mut self) {
        while let Some(mut block) = self.in_use.pop_front() {
            if !reclaim(&mut block) {
                self.in_use.push_front(block);
                break;
            }
            self.free.push(block);
        }
        if self.free.is_empty() {
            self.collect_all();
        }
    }

    fn collect_all(&mut self) {
        let free = &mut self.free;
        self.in_use.retain_mut(|block| {
            let is_free = reclaim(block);
            if is_free {
                free.push(std::mem::take(block));
            }
            !is_free
        });
    }
}

/// Makes an empty block of its whole size again, unless somebody has a part of it.
fn reclaim(block: &mut BytesMut) -> bool {
    // More than what is left of it, and so all or nothing.
    block.try_reclaim(block.capacity() + 1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const BLOCK: usize = 64 << 10;

    /// Takes a block, fills it, and gives out what it was filled with.
    fn fill(blocks: &mut BlockPool) -> Bytes {
        let mut block = blocks.take();
        assert!(block.is_empty() && block.capacity() >= BLOCK);
        block.resize(BLOCK, 7);
        let bytes = block.split_to(BLOCK - 10).freeze();
        blocks.put(block);
        bytes
    }

    #[test]
    fn a_stream_uses_the_same_blocks_again() {
        let mut blocks = BlockPool::new(BLOCK);
        let mut waiting: VecDeque<_> = (0..20).map(|_| fill(&mut blocks)).collect();
        let known: Vec<_> = waiting.iter().map(|bytes| bytes.as_ptr()).collect();
        for _ in 0..1_000 {
            waiting.pop_front();
            waiting.push_back(fill(&mut blocks));
            assert!(known.contains(&waiting[19].as_ptr()));
        }
    }

    #[test]
    fn a_message_that_is_kept_does_not_keep_the_others() {
        let mut blocks = BlockPool::new(BLOCK);
        let kept = [fill(&mut blocks), fill(&mut blocks), fill(&mut blocks)];
        for _ in 0..10 * IN_USE_MAX {
            drop(fill(&mut blocks));
            assert!(blocks.in_use.len() + blocks.free.len() <= IN_USE_MAX);
        }
        assert!(blocks.in_use.len() + blocks.free.len() < 5, "the same one again and again");
        assert!(kept.iter().flatten().all(|&byte| byte == 7), "and were not written to");
    }

    #[test]
    fn what_is_not_needed_any_more_is_given_back() {
        let mut blocks = BlockPool::new(BLOCK);
        let waiting: Vec<_> = (0..20).map(|_| fill(&mut blocks)).collect();
        drop(waiting);
        blocks.trim();
        assert_eq!(blocks.free.len(), 20, "all were needed just now");
        drop((fill(&mut blocks), fill(&mut blocks)));
        blocks.trim();
        assert_eq!(blocks.free.len(), 2);
        blocks.trim();
        assert!(blocks.free.is_empty() && blocks.in_use.is_empty());
    }
}
