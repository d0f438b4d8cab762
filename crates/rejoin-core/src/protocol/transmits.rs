//! What goes out on a link, a batch at a time: single payloads, and runs of items that lie side by
//! side in the log. A run has its memory in common; to share it item by item would cost more than to
//! copy small ones.

use std::ops::Range;
use std::slice;

use bytes::Bytes;

use crate::protocol::frame::Head;
use crate::protocol::send_log::Run;
use crate::protocol::seq::{PacketAck, PacketSeq};

/// The most payloads of a batch.
const PAYLOADS_MAX: usize = 1024;
/// A batch is not added to once its bodies have this many bytes.
const BYTES_MAX: usize = 256 * 1024;

/// One payload for the link: the concatenation of head and body.
#[derive(Debug)]
pub struct Transmit {
    /// The head of a data frame, or a control frame that is short.
    pub head: Head,
    /// The item, or a control frame that is not.
    pub body: Bytes,
}

/// Payloads for the link, in order.
#[derive(Debug)]
pub struct Transmits {
    pieces: Vec<Piece>,
    /// Where the items of all runs end, each in the bytes of its own.
    ends: Vec<u32>,
    payloads: usize,
    payloads_max: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Piece {
    Single(Transmit),
    Run(Run, Option<PacketAck>),
}

/// One of several payloads: `head`, and then that `part` of `bytes`.
#[derive(Debug)]
pub struct Payload<'a> {
    /// See [`Transmit::head`].
    pub head: &'a Head,
    /// Where the body lies.
    pub bytes: &'a Bytes,
    /// Which part of it is the body.
    pub part: Range<usize>,
}

impl Default for Transmits {
    fn default() -> Self {
        Self::at_most(PAYLOADS_MAX)
    }
}

impl Transmits {
    /// An empty batch that takes so many payloads, for a link that has room for no more.
    #[must_use]
    pub fn at_most(payloads_max: usize) -> Self {
        Self { pieces: Vec::new(), ends: Vec::new(), payloads: 0, payloads_max, bytes: 0 }
    }

    /// Whether it takes nothing more.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        self.payloads >= self.payloads_max || self.bytes >= BYTES_MAX
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds one payload.
    pub fn push(&mut self, transmit: Transmit) {
        self.payloads += 1;
        self.bytes += transmit.body.len();
        self.pieces.push(Piece::Single(transmit));
    }

    /// Adds an item to the run that is [pushed](Self::push_run) next: one of `bytes` bytes, which ends
    /// there.
    #[inline]
    pub(super) fn push_end(&mut self, end: u32, bytes: usize) {
        self.payloads += 1;
        self.bytes += bytes;
        self.ends.push(end);
    }

    /// Adds the run of the items whose ends were pushed, each of which acknowledges `ack`.
    #[inline]
    pub(super) fn push_run(&mut self, run: Run, ack: Option<PacketAck>) {
        self.pieces.push(Piece::Run(run, ack));
    }

    /// Takes everything out, and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.ends.clear();
        (self.payloads, self.bytes) = (0, 0);
    }

    /// The payloads, in order.
    #[must_use]
    pub fn payloads(&self) -> Payloads<'_> {
        Payloads { pieces: self.pieces.iter(), ends: self.ends.iter(), run: None }
    }
}

/// The payloads of a batch, in order.
#[derive(Debug)]
pub struct Payloads<'a> {
    pieces: slice::Iter<'a, Piece>,
    ends: slice::Iter<'a, u32>,
    run: Option<RestOfRun<'a>>,
}

/// What is left of a run.
#[derive(Debug)]
struct RestOfRun<'a> {
    /// Of the item that was given out last.
    head: Head,
    next: PacketSeq,
    ack: Option<PacketAck>,
    bytes: &'a Bytes,
    start: usize,
    items: usize,
}

impl<'a> Payloads<'a> {
    /// The next payload.
    #[expect(
        clippy::should_implement_trait,
        reason = "what it gives borrows from the head in here"
    )]
    #[inline]
    pub fn next(&mut self) -> Option<Payload<'_>> {
        if self.run.as_ref().is_none_or(|run| run.items == 0) {
            match self.pieces.next()? {
                Piece::Single(Transmit { head, body }) => {
                    return Some(Payload { head, bytes: body, part: 0..body.len() });
                }
                Piece::Run(run, ack) => self.run = Some(RestOfRun::new(run, *ack)),
            }
        }
        let (run, &end) = (self.run.as_mut()?, self.ends.next()?);
        Some(run.next(end as usize))
    }
}

impl<'a> RestOfRun<'a> {
    fn new(run: &'a Run, ack: Option<PacketAck>) -> Self {
        let (next, start, items) = (run.first.seq(), run.part.start, run.items);
        Self { head: Head::data(next, ack), next, ack, bytes: &run.bytes, start, items }
    }

    /// The next item, which ends there.
    #[inline]
    fn next(&mut self, end: usize) -> Payload<'_> {
        self.head.set_data(self.next, self.ack);
        self.next = PacketSeq(self.next.0.wrapping_add(1));
        self.items -= 1;
        let part = std::mem::replace(&mut self.start, end)..end;
        Payload { head: &self.head, bytes: self.bytes, part }
    }
}
