//! What a link has received, a batch at a time. Payloads that came side by side have their memory in
//! common.

use std::ops::Range;

use bytes::Bytes;

/// Payloads from the link, in order.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pieces: Vec<Piece>,
    /// Where the payloads of all pieces lie, each in the bytes of its own.
    parts: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Where its payloads end among the parts.
    parts_end: usize,
}

impl Arrived {
    /// How many payloads there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds one payload.
    pub(super) fn push(&mut self, payload: Bytes) {
        self.push_part(0..payload.len());
        self.push_run(payload);
    }

    /// Adds a payload, which is that part of what is [pushed](Self::push_run) next.
    #[inline]
    pub(super) fn push_part(&mut self, part: Range<usize>) {
        self.parts.push(part);
    }

    /// Adds that of which parts were pushed, if there were any.
    pub(super) fn push_run(&mut self, bytes: Bytes) {
        let parts_end = self.parts.len();
        if self.pieces.last().map_or(0, |last| last.parts_end) < parts_end {
            self.pieces.push(Piece { bytes, parts_end });
        }
    }

    /// Takes everything out, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.parts.clear();
    }

    /// The payloads, each as that part of some bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let mut start = 0;
        self.pieces.iter().flat_map(move |Piece { bytes, parts_end }| {
            let parts = &self.parts[start..*parts_end];
            start = *parts_end;
            parts.iter().map(move |part| (bytes, part.clone()))
        })
    }
}
