//! Where handles write items: the batch that is being filled, those that are full, and the memory
//! under them.
//!
//! Batches are cut from blocks one after another, so that a batch takes as much memory as it has
//! bytes, however few those are.

use bytes::BytesMut;

use crate::blocks::BlockPool;
use crate::protocol::Batch;

/// The size of a block for a stream of items. A batch that has grown to as much is full.
const BLOCK_BYTES: usize = 64 * 1024;
/// The size of the first block: most conduits say little at a time.
const FIRST_BLOCK_BYTES: usize = 1024;
/// Items up to this size that come in a row get blocks that are used again, like smaller ones. A
/// system that is asked for such memory again and again clears it each time.
const LARGE_BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Less room than this is not worth an attempt to encode an item into it.
const ROOM_MIN: usize = 256;

/// The batches that the driver has yet to take.
#[derive(Debug)]
pub(super) struct Filling {
    batch: Batch,
    full: Vec<Batch>,
    /// Empty, for the room that they have to note where items end.
    spares: Vec<Batch>,
    /// Where the present block ends, and how large it is.
    block_end: usize,
    block_bytes: usize,
    blocks: BlockPool,
    /// Blocks for one large item each, of the size that the last of them had.
    large_blocks: BlockPool,
    /// How large the last item was, and the one before.
    item_bytes: usize,
    previous_item_bytes: usize,
    /// Whether an item was committed since the last trim.
    busy: bool,
}

impl Filling {
    pub(super) fn new() -> Self {
        Self {
            batch: Batch::default(),
            full: Vec::new(),
            spares: Vec::new(),
            block_end: 0,
            block_bytes: 0,
            blocks: BlockPool::new(BLOCK_BYTES),
            large_blocks: BlockPool::new(2 * BLOCK_BYTES),
            item_bytes: 0,
            previous_item_bytes: 0,
            busy: false,
        }
    }

    /// The batch to append one item to, with room for it if it is about as large as the last one.
    /// What a failed attempt has left there is gone.
    #[inline]
    pub(super) fn batch(&mut self) -> &mut Batch {
        self.batch.rollback();
        if self.item_bytes > BLOCK_BYTES / 2 {
            // Large items have their memory to themselves, as much as they need.
            self.large_block();
        } else if self.batch.room() < self.item_bytes.max(ROOM_MIN)
            || self.block_bytes > BLOCK_BYTES
        {
            self.next_block();
        }
        &mut self.batch
    }

    /// How large the last item was.
    #[inline]
    pub(super) fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// Makes what was appended an item.
    #[inline]
    pub(super) fn commit(&mut self) {
        self.previous_item_bytes = self.item_bytes;
        self.item_bytes = self.batch.uncommitted();
        self.busy = true;
        if self.block_bytes > BLOCK_BYTES && self.item_bytes < self.block_bytes / 2 {
            self.leave_large_block();
        }
        self.batch.commit();
        if self.batch.committed() >= BLOCK_BYTES {
            self.next_block();
        }
    }

    /// Discards what was appended.
    pub(super) fn rollback(&mut self) {
        self.batch.rollback();
        if self.batch.is_empty() && self.batch.room() > BLOCK_BYTES {
            // Grown for an item that was refused.
            self.batch = Batch::default();
            self.block_end = 0;
        }
    }

    /// Whether there is no item.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.full.is_empty()
    }

    /// Gives the items to `take`, batch by batch; gives whether there were any.
    pub(super) fn take(&mut self, mut take: impl FnMut(&mut Batch)) -> bool {
        if self.is_empty() {
            return false;
        }
        for mut batch in self.full.drain(..) {
            take(&mut batch);
            *batch.buffer() = BytesMut::new();
            self.spares.push(batch);
        }
        if !self.batch.is_empty() {
            take(&mut self.batch);
        }
        true
    }

    /// Gives memory back that was not needed since the last time; gives whether there is more to
    /// give back if it is not needed until the next time, either.
    pub(super) fn trim(&mut self) -> bool {
        let busy = std::mem::take(&mut self.busy);
        // Full batches wait where there is no link, and no new item comes where there is no room.
        if !busy && self.is_empty() {
            self.batch = Batch::default();
            (self.block_end, self.block_bytes) = (0, 0);
            (self.full, self.spares) = (Vec::new(), Vec::new());
            (self.item_bytes, self.previous_item_bytes) = (0, 0);
        }
        let more = [self.blocks.trim(), self.large_blocks.trim(), busy];
        more.contains(&true)
    }

    /// Goes on with an empty batch in another block, or in the same one if nobody uses it any more.
    fn next_block(&mut self) {
        let mut used = self.finish_batch();
        let fits = self.block_bytes <= BLOCK_BYTES && self.is_block(&used);
        if fits && used.try_reclaim(self.block_bytes) {
            *self.batch.buffer() = used;
            return;
        }
        self.put(used);
        self.block_bytes = (2 * self.block_bytes).clamp(FIRST_BLOCK_BYTES, BLOCK_BYTES);
        let next = if self.block_bytes == BLOCK_BYTES {
            self.blocks.take()
        } else {
            BytesMut::with_capacity(self.block_bytes)
        };
        self.block_end = end(&next);
        *self.batch.buffer() = next;
    }

    /// Goes on with an empty batch for a large item, in a block if it is not the first of its size.
    #[inline(never)]
    fn large_block(&mut self) {
        let used = self.finish_batch();
        self.put(used);
        let bytes = self.item_bytes.next_power_of_two();
        let is_row = self.previous_item_bytes.next_power_of_two() == bytes;
        if !is_row || bytes > LARGE_BLOCK_BYTES_MAX {
            return;
        }
        let next = if bytes == BLOCK_BYTES {
            self.blocks.take()
        } else {
            if self.large_blocks.block_bytes() != bytes {
                self.large_blocks = BlockPool::new(bytes);
            }
            self.large_blocks.take()
        };
        (self.block_end, self.block_bytes) = (end(&next), bytes);
        *self.batch.buffer() = next;
    }

    /// Gives a large block back in which there is nothing but one item, not committed yet, that is not
    /// large after all.
    #[cold]
    fn leave_large_block(&mut self) {
        let bytes = self.batch.buffer();
        if self.block_end == end(bytes) {
            let own = BytesMut::from(&bytes[..]);
            let used = std::mem::replace(bytes, own);
            self.put(used);
        }
    }

    /// Puts the batch aside if it holds anything; gives the memory behind it.
    fn finish_batch(&mut self) -> BytesMut {
        if self.batch.is_empty() {
            return std::mem::take(self.batch.buffer());
        }
        let bytes = self.batch.committed();
        let rest = self.batch.buffer().split_off(bytes);
        let next = self.spares.pop().unwrap_or_default();
        self.full.push(std::mem::replace(&mut self.batch, next));
        rest
    }

    /// Keeps a block, if it is one of those that are kept.
    fn put(&mut self, used: BytesMut) {
        if !self.is_block(&used) {
            return;
        }
        if self.block_bytes == BLOCK_BYTES {
            self.blocks.put(used);
        } else if self.block_bytes == self.large_blocks.block_bytes() {
            self.large_blocks.put(used);
        }
        self.block_end = 0;
    }

    fn is_block(&self, memory: &BytesMut) -> bool {
        end(memory) == self.block_end
    }
}

/// Where the memory of `block` ends, by which it is known again: an item that does not fit makes the
/// buffer grow elsewhere.
fn end(block: &BytesMut) -> usize {
    block.as_ptr() as usize + block.capacity()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SendLog;

    fn append(filling: &mut Filling, len: usize) {
        let bytes = filling.batch().buffer();
        bytes.resize(bytes.len() + len, 7);
        filling.commit();
    }

    fn take(filling: &mut Filling, log: &mut SendLog) {
        filling.take(|batch| log.append(batch));
    }

    fn acknowledge(log: &mut SendLog, count: u64) {
        while log.write_next().is_some() {}
        log.acknowledge(log.acked() + count);
    }

    /// How much memory stands behind what is being filled.
    fn held(filling: &mut Filling) -> usize {
        filling.batch.room()
    }

    #[test]
    fn items_come_out_as_they_went_in_whatever_their_size() {
        let (mut filling, mut log) = (Filling::new(), SendLog::default());
        let lens = [0, 10, 0, 2_000, 70_000, 64, 64, 40_000, 40_000, 1, 200_000, 0, 5];
        for round in 0..20_u8 {
            for (number, &len) in (0_u8..).zip(&lens) {
                let bytes = filling.batch().buffer();
                bytes.resize(bytes.len() + len, round + number);
                if number % 3 == 1 {
                    filling.rollback();
                    let bytes = filling.batch().buffer();
                    bytes.resize(bytes.len() + len, round + number);
                }
                filling.commit();
                if (round + number).is_multiple_of(4) {
                    take(&mut filling, &mut log);
                }
            }
        }
        take(&mut filling, &mut log);
        for round in 0..20_u8 {
            for (number, &len) in (0_u8..).zip(&lens) {
                let (_, item) = log.write_next().expect("all were taken");
                assert_eq!(item, vec![round + number; len], "{number} of round {round}");
            }
        }
        assert!(log.write_next().is_none() && filling.is_empty());
    }

    #[test]
    fn a_stream_uses_the_same_blocks_again() {
        let (mut filling, mut log) = (Filling::new(), SendLog::default());
        let mut blocks = std::collections::HashSet::new();
        for number in 0..200_000 {
            append(&mut filling, 64);
            if number % 3 == 0 {
                take(&mut filling, &mut log);
            }
            if number > 5_000 {
                if number == 50_000 {
                    blocks.clear();
                }
                blocks.insert(filling.block_end);
                acknowledge(&mut log, 1);
            }
        }
        assert!(blocks.len() < 10, "{} blocks", blocks.len());
    }

    #[test]
    fn few_bytes_take_little_memory_and_none_in_the_end() {
        let (mut filling, mut log) = (Filling::new(), SendLog::default());
        for _ in 0..1_000 {
            append(&mut filling, 64);
            take(&mut filling, &mut log);
            acknowledge(&mut log, 1);
        }
        assert!(held(&mut filling) <= FIRST_BLOCK_BYTES, "all in the first block");
        assert!(filling.trim(), "it was in use until now");
        assert!(!filling.trim());
        assert_eq!(held(&mut filling), 0);
    }

    /// Nobody has taken them, as there was no link for longer than it takes to trim twice.
    #[test]
    fn full_batches_are_not_memory_to_give_back() {
        let (mut filling, mut log) = (Filling::new(), SendLog::default());
        append(&mut filling, 10);
        append(&mut filling, BLOCK_BYTES);
        assert!(filling.batch.is_empty() && !filling.is_empty(), "the last batch is full, too");
        filling.trim();
        filling.trim();
        take(&mut filling, &mut log);
        assert_eq!(log.appended(), 2);
    }

    #[test]
    fn a_stream_of_large_items_uses_the_same_blocks_again() {
        for len in [BLOCK_BYTES / 2 + 1, BLOCK_BYTES, BLOCK_BYTES + 1, LARGE_BLOCK_BYTES_MAX] {
            let (mut filling, mut log) = (Filling::new(), SendLog::default());
            let mut blocks = std::collections::HashSet::new();
            for number in 0..200_u64 {
                append(&mut filling, len);
                take(&mut filling, &mut log);
                if number >= 10 {
                    blocks.insert(log.write_next().expect("one is new").1.as_ptr());
                    log.acknowledge(number - 5);
                } else {
                    assert!(log.write_next().is_some());
                }
            }
            assert!(blocks.len() < 10, "{} blocks for {len}", blocks.len());
            while log.write_next().is_some() {}
            log.acknowledge(log.appended());
            while filling.trim() {}
            append(&mut filling, 10);
            append(&mut filling, 10);
            assert!(held(&mut filling) <= BLOCK_BYTES, "{len}");
        }
    }

    #[test]
    fn memory_for_a_large_item_is_not_kept() {
        let (mut filling, mut log) = (Filling::new(), SendLog::default());
        append(&mut filling, 1 << 20);
        take(&mut filling, &mut log);
        acknowledge(&mut log, 1);
        append(&mut filling, 10);
        assert!(held(&mut filling) <= BLOCK_BYTES);
        filling.batch().buffer().resize(2 << 20, 0);
        filling.rollback();
        assert!(held(&mut filling) <= 3 << 20, "the items before it are still there");
        take(&mut filling, &mut log);
        filling.batch().buffer().resize(2 << 20, 0);
        filling.rollback();
        assert!(held(&mut filling) <= BLOCK_BYTES, "refused");
    }

    /// It would keep all of the block until it is acknowledged.
    #[test]
    fn a_small_item_after_large_ones_gets_no_large_block() {
        let (mut filling, mut log) = (Filling::new(), SendLog::default());
        for _ in 0..3 {
            append(&mut filling, LARGE_BLOCK_BYTES_MAX / 2 + 1);
            append(&mut filling, LARGE_BLOCK_BYTES_MAX / 2 + 1);
            append(&mut filling, 1);
            assert!(held(&mut filling) <= BLOCK_BYTES, "{}", held(&mut filling));
            take(&mut filling, &mut log);
        }
        for len in [LARGE_BLOCK_BYTES_MAX / 2 + 1, LARGE_BLOCK_BYTES_MAX / 2 + 1, 1].repeat(3) {
            assert_eq!(log.write_next().expect("all were taken").1, vec![7; len]);
        }
    }
}
