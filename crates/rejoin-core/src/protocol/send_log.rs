//! The send log: every item from the moment it is accepted until the peer acknowledges it.
//!
//! Three cursors move over the same bytes: *appended* when the application sends, *written* when a
//! link takes an item, *acknowledged* when the peer has it. A resume moves *written* back; nothing
//! is copied to replay. The log knows neither time nor links, and its bound is kept by whoever
//! appends.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::protocol::seq::Position;

/// What an item costs above its bytes, in the send log as in the peer's window: about what it
/// takes to keep track of it. Without it, empty items would be free and their number unbounded.
pub const ITEM_COST: u64 = 32;

/// The cost of an item of `bytes` bytes.
#[must_use]
#[inline]
pub const fn item_cost(bytes: usize) -> u64 {
    bytes as u64 + ITEM_COST
}

/// A run of items, encoded one after another into one buffer.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: BytesMut,
    /// Where each item ends in `bytes`.
    ends: Vec<u32>,
}

impl Batch {
    /// The buffer, for appending the encoding of one item; [`commit`](Self::commit) or
    /// [`rollback`](Self::rollback) says what becomes of what was appended.
    #[inline]
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// How many bytes were appended since the last commit.
    #[must_use]
    #[inline]
    pub fn uncommitted(&self) -> usize {
        self.bytes.len() - self.committed()
    }

    /// Makes what was appended since the last commit an item.
    ///
    /// # Panics
    ///
    /// When the batch has grown past 4 GiB.
    #[inline]
    pub fn commit(&mut self) {
        let end = u32::try_from(self.bytes.len()).expect("a batch is bounded by the send log");
        self.ends.push(end);
    }

    /// Discards what was appended since the last commit.
    #[inline]
    pub fn rollback(&mut self) {
        self.bytes.truncate(self.committed());
    }

    /// How many items the batch holds.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the batch holds no item.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes can be appended to the memory that the batch has.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// The bytes of all items together.
    #[must_use]
    #[inline]
    pub fn committed(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }
}

/// A batch in the log. Where its items end stands in the log, beside those of the other segments.
#[derive(Clone, Debug)]
struct Segment {
    first: u64,
    items: usize,
    /// The cost of all items of the session before this segment.
    cost_before: u64,
    bytes: Bytes,
}

impl Segment {
    fn end(&self) -> u64 {
        self.first + self.items as u64
    }
}

/// Items that lie side by side.
#[derive(Clone, Debug)]
pub struct Run {
    /// The number of the first one.
    pub first: Position,
    /// How many there are.
    pub items: usize,
    /// Where they lie, among others.
    pub bytes: Bytes,
    /// Which part of `bytes` is theirs.
    pub part: Range<usize>,
}

/// Where an item lies.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    segment: usize,
    /// Which one of its segment it is.
    index: usize,
    /// Where it begins in the bytes of its segment.
    offset: usize,
    /// Where its end stands in the ring.
    end_at: usize,
}

/// Items that wait to be written or acknowledged.
///
/// Invariant: `acked <= written <= appended` and `written <= sent`, all counted in items from the
/// first of the session.
#[derive(Clone, Debug, Default)]
pub struct SendLog {
    segments: VecDeque<Segment>,
    /// Where each item of all segments ends in the bytes of its own. One ring for all of them, so that
    /// a stream of items moves round it and allocates nothing.
    ends: VecDeque<u32>,
    /// The number of the session's first item.
    first: u64,
    acked: u64,
    written: u64,
    appended: u64,
    /// The highest that `written` has ever been: what some link has taken.
    sent: u64,
    cost_acked: u64,
    cost_written: u64,
    cost_appended: u64,
    cursor: Cursor,
    /// What `appended` was at the last trim.
    trimmed_at: u64,
}

impl SendLog {
    /// An empty log whose first item has the number `first`.
    #[must_use]
    pub fn starting_at(first: Position) -> Self {
        let first = first.get();
        Self {
            first,
            acked: first,
            written: first,
            appended: first,
            sent: first,
            ..Self::default()
        }
    }

    /// Takes the items out of `batch`, in order, and leaves it with what remains of its memory. What
    /// is not committed is discarded.
    pub fn append(&mut self, batch: &mut Batch) {
        batch.rollback();
        if batch.is_empty() {
            return;
        }
        let segment = Segment {
            first: self.appended,
            items: batch.ends.len(),
            cost_before: self.cost_appended,
            bytes: batch.bytes.split().freeze(),
        };
        self.ends.extend(&batch.ends);
        batch.ends.clear();
        self.appended = segment.end();
        self.cost_appended += segment.bytes.len() as u64 + segment.items as u64 * ITEM_COST;
        self.segments.push_back(segment);
        self.check();
    }

    /// The item at the *written* cursor, which then moves on; `None` when all is written.
    pub fn write_next(&mut self) -> Option<(Position, Bytes)> {
        let mut taken = false;
        let run = self.write_run(|_, _| !std::mem::replace(&mut taken, true))?;
        Some((run.first, run.bytes.slice(run.part)))
    }

    /// Moves the *written* cursor over items that lie side by side, each of which `take` is given to
    /// decide: where it ends in their bytes, and how many bytes it has. `None` when there are none.
    pub fn write_run(&mut self, mut take: impl FnMut(u32, usize) -> bool) -> Option<Run> {
        let segment = self.segments.get(self.cursor.segment)?;
        let Cursor { index, offset: start, end_at, .. } = self.cursor;
        let (mut items, mut offset) = (0, start);
        for &end in self.ends.range(end_at..end_at + segment.items - index) {
            if !take(end, end as usize - offset) {
                break;
            }
            items += 1;
            offset = end as usize;
        }
        if items == 0 {
            return None;
        }
        let first = Position::new(self.written);
        let run = Run { first, items, bytes: segment.bytes.clone(), part: start..offset };
        self.written += items as u64;
        self.cost_written += (offset - start) as u64 + items as u64 * ITEM_COST;
        self.sent = self.sent.max(self.written);
        self.cursor.index += items;
        self.cursor.offset = offset;
        self.cursor.end_at += items;
        if self.cursor.index == segment.items {
            let Cursor { segment, end_at, .. } = self.cursor;
            self.cursor = Cursor { segment: segment + 1, index: 0, offset: 0, end_at };
        }
        self.check();
        Some(run)
    }

    /// Drops the items before `count`, which the peer has acknowledged.
    ///
    /// # Panics
    ///
    /// When `count` lies before what is acknowledged or beyond what is written.
    pub fn acknowledge(&mut self, count: u64) {
        assert!(self.acked <= count && count <= self.written, "ack {count} outside the log");
        while let Some(segment) = self.segments.front().filter(|segment| segment.end() <= count) {
            // All of it is written, so the cursor is behind it.
            self.cursor.segment -= 1;
            self.cursor.end_at -= segment.items;
            self.ends.drain(..segment.items);
            self.segments.pop_front();
        }
        self.acked = count;
        self.cost_acked = self.cost_at(count);
        self.check();
    }

    /// Moves the *written* cursor to `count`, from where the link goes on.
    ///
    /// # Panics
    ///
    /// When `count` lies before what is acknowledged or beyond what was ever written.
    pub fn rewind(&mut self, count: u64) {
        assert!(self.acked <= count && count <= self.sent, "rewind to {count} outside the log");
        self.cost_written = self.cost_at(count);
        self.written = count;
        self.cursor = self.locate(count);
        self.check();
    }

    /// Gives memory back if the log was not used since the last time and holds nothing.
    pub fn trim(&mut self) {
        let was_used = std::mem::replace(&mut self.trimmed_at, self.appended) != self.appended;
        if !was_used && self.segments.is_empty() {
            (self.segments, self.ends) = (VecDeque::new(), VecDeque::new());
        }
    }

    /// Empties the log and gives out what was not acknowledged, oldest first.
    pub fn take_unacknowledged(&mut self) -> Vec<(Position, Bytes)> {
        if self.acked < self.written {
            self.rewind(self.acked);
        }
        let items = std::iter::from_fn(|| self.write_next()).collect();
        (self.segments, self.ends) = (VecDeque::new(), VecDeque::new());
        (self.acked, self.written, self.sent) = (self.appended, self.appended, self.appended);
        (self.cost_acked, self.cost_written) = (self.cost_appended, self.cost_appended);
        self.cursor = Cursor::default();
        items
    }

    /// The number of the session's first item.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many items the peer has acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// How many items the current link has taken or need not take.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many items there are.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// How many items some link has taken.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The cost of all items that were acknowledged, from the first of the session.
    #[must_use]
    pub fn cost_acked(&self) -> u64 {
        self.cost_acked
    }

    /// The cost of all items before the *written* cursor, from the first of the session.
    #[must_use]
    pub fn cost_written(&self) -> u64 {
        self.cost_written
    }

    /// The cost of the items that are retained.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost_appended - self.cost_acked
    }

    /// Whether the current link has taken everything.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.written == self.appended
    }

    /// Whether everything was acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.acked == self.appended
    }

    fn cost_at(&self, count: u64) -> u64 {
        let Cursor { segment, index, offset, .. } = self.locate(count);
        let Some(found) = self.segments.get(segment) else { return self.cost_appended };
        found.cost_before + offset as u64 + index as u64 * ITEM_COST
    }

    fn locate(&self, count: u64) -> Cursor {
        let segment = self.segments.partition_point(|segment| segment.end() <= count);
        // The ring begins with the items of the first segment.
        let first = self.segments.front().map_or(count, |front| front.first);
        let end_at = in_memory(count - first);
        let index = self.segments.get(segment).map_or(0, |found| in_memory(count - found.first));
        let offset = if index == 0 { 0 } else { self.ends[end_at - 1] as usize };
        Cursor { segment, index, offset, end_at }
    }

    fn check(&self) {
        debug_assert!(self.acked <= self.written && self.written <= self.appended);
        debug_assert!(self.written <= self.sent && self.sent <= self.appended);
        debug_assert!(self.cost_acked <= self.cost_written);
        debug_assert!(self.cost_written <= self.cost_appended);
    }
}

/// An index into what is in memory.
fn in_memory(index: u64) -> usize {
    usize::try_from(index).expect("an index in memory")
}
