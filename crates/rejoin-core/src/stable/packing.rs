//! Keeps what waits for the application about as large as it is counted.
//!
//! A link gives payloads out as parts of the blocks that it reads into, so one small item keeps a
//! whole block alive. Among other items of its kind that costs nothing, and no copy is better than
//! one. But a peer can fill the rest of each block with frames that leave nothing behind, and make
//! an inbox of small items hold many times its bound.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Items that came in one batch and have together less than this are copied side by side. What is
/// left where it is, is thus a good part of the blocks that it keeps alive.
const SHARED_BYTES_MIN: usize = 32 * 1024;

/// Moves the items from `first` on, which came in payloads of `carried` bytes, to memory of their
/// own where they keep much more alive than they are.
pub(super) fn pack(items: &mut VecDeque<Bytes>, first: usize, carried: usize) {
    if items.len() == first {
        return;
    }
    let bytes: usize = items.range(first..).map(Bytes::len).sum();
    if bytes == 0 || (bytes >= SHARED_BYTES_MIN && bytes >= carried / 2) {
        return;
    }
    if let Some(item) = items.get_mut(first).filter(|item| item.len() == bytes) {
        *item = Bytes::copy_from_slice(item);
        return;
    }
    let mut packed = BytesMut::with_capacity(bytes);
    for item in items.range_mut(first..).filter(|item| !item.is_empty()) {
        packed.extend_from_slice(item);
        *item = packed.split().freeze();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize) -> Bytes {
        Bytes::from(vec![7; bytes])
    }

    #[test]
    fn few_bytes_leave_their_block() {
        let block = block(64 << 10);
        let mut items =
            VecDeque::from([block.slice(..10), block.slice(10..10), block.slice(20..25)]);
        pack(&mut items, 0, 21);
        assert_eq!(items, [block.slice(..10), Bytes::new(), block.slice(20..25)]);
        let moved = |item: &Bytes| !block.as_ptr_range().contains(&item.as_ptr());
        assert!([0, 2].into_iter().all(|index| moved(&items[index])));
    }

    #[test]
    fn many_bytes_stay_where_they_are_unless_more_came_with_them() {
        let block = block(64 << 10);
        let whole = [block.slice(..20 << 10), block.slice(20 << 10..40 << 10)];
        let mut items = VecDeque::from(whole.clone());
        pack(&mut items, 0, 41 << 10);
        assert_eq!(items[1].as_ptr(), whole[1].as_ptr());
        pack(&mut items, 0, 200 << 10);
        assert_ne!(items[1].as_ptr(), whole[1].as_ptr());
        assert_eq!(items, whole);
    }

    #[test]
    fn what_was_there_before_stays() {
        let block = block(1 << 10);
        let mut items = VecDeque::from([block.slice(..10), block.slice(10..20)]);
        pack(&mut items, 1, 12);
        assert_eq!(items[0].as_ptr(), block.as_ptr());
        assert_ne!(items[1].as_ptr(), block[10..].as_ptr());
    }
}
