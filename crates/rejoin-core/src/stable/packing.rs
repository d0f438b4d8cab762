//! Keeps what waits for the application about as large as it is counted.
//!
//! A link gives payloads out as parts of the blocks that it reads into, so one small item keeps a
//! whole block alive. Among other items of its kind that costs nothing, and no copy is better than
//! one. But a peer can fill the rest of each block with frames that leave nothing behind, and make
//! an inbox of small items hold many times its bound.

use crate::handover::Runs;

/// Items that came in one batch and have together less than this are copied side by side. What is
/// left where it is, is thus a good part of the blocks that it keeps alive.
const SHARED_BYTES_MIN: usize = 32 * 1024;

/// Moves items with so many bytes together, which came in payloads of `carried` bytes, to memory of
/// their own where they keep much more alive than they are.
pub(super) fn pack(items: &mut Runs, bytes: usize, carried: usize) {
    if !items.is_empty() && (bytes < SHARED_BYTES_MIN || bytes < carried / 2) {
        items.gather(bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::handover::Taken;

    fn packed(block: &Bytes, parts: [std::ops::Range<usize>; 3], carried: usize) -> Vec<Bytes> {
        let mut items = Runs::default();
        let bytes = parts.iter().map(std::ops::Range::len).sum();
        parts.iter().for_each(|part| items.push_part(part.clone()));
        items.push_run(block.clone());
        pack(&mut items, bytes, carried);
        let packed: Vec<_> = std::iter::from_fn(|| items.pop().map(Taken::into_bytes)).collect();
        assert_eq!(packed, parts.map(|part| block.slice(part)));
        packed
    }

    #[test]
    fn few_bytes_leave_their_block() {
        let block = Bytes::from(vec![7; 64 << 10]);
        let items = packed(&block, [0..10, 10..10, 20..25], 21);
        assert!(items.iter().all(|item| !block.as_ptr_range().contains(&item.as_ptr())));
        let nothing = packed(&block, [1..1, 2..2, 3..3], 21);
        assert!(block.is_unique() && nothing.len() == 3);
    }

    #[test]
    fn many_bytes_stay_where_they_are_unless_more_came_with_them() {
        let block = Bytes::from(vec![7; 64 << 10]);
        let parts = || [0..20 << 10, 20 << 10..40 << 10, 5..6];
        assert_eq!(packed(&block, parts(), 41 << 10)[1].as_ptr(), block[20 << 10..].as_ptr());
        assert_ne!(packed(&block, parts(), 200 << 10)[1].as_ptr(), block[20 << 10..].as_ptr());
    }
}
