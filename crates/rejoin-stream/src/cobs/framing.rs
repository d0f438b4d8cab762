//! Frames on a line that may flip, lose and insert bytes: a frame is its bytes and their CRC-32 in
//! COBS, which has no zeros, and stands between zeros. Knows nothing of links; what a frame is and
//! which one in a row is said by the [`Check`] that its CRC begins with, and takes no room.
//!
//! # What damage can do
//!
//! After any damage the next zero puts the reader in step again: a frame that is whole and stands
//! between two zeros is found, whatever came before it. One that is not whole passes for another one
//! only if its CRC fits by chance, which is once in 2³² damaged frames.

use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

/// What stands between frames.
pub const DELIMITER: u8 = 0;

/// The bytes of a frame that are its CRC.
pub const CRC_BYTES: usize = 4;

/// Marks a byte that a line with software flow control would take for itself.
const ESCAPE: u8 = 0x7d;
const ESCAPED_BY: u8 = 0x20;
const XON: u8 = 0x11;
const XOFF: u8 = 0x13;

/// What the CRC of a frame covers before the frame's own bytes.
///
/// Two checks of the same origin that differ in the bytes which were [added](Self::and) last, four
/// of them at most, never fit the same frame: that is a property of CRCs, not a matter of odds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check(u32);

impl Check {
    /// A check that begins with `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(crc32fast::hash(bytes))
    }

    /// The same, with `bytes` added.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        Self(hasher.finalize())
    }
}

/// The most bytes that [`encode`] makes of `bytes` ones, without a delimiter.
#[must_use]
pub fn encoded_bytes_max(bytes: usize, escapes: bool) -> usize {
    let encoded = cobs::max_encoding_length(bytes + CRC_BYTES);
    if escapes { 2 * encoded } else { encoded }
}

/// Appends the frame of `head` and `body` to `out`, and a delimiter. Where `escapes` is set, it
/// has neither XON nor XOFF in it.
pub fn encode(check: Check, head: &[u8], body: &[u8], escapes: bool, out: &mut BytesMut) {
    let crc = check.and(head).and(body).0.to_le_bytes();
    let start = out.len();
    let bytes = head.len() + body.len() + crc.len();
    out.resize(start + cobs::max_encoding_length(bytes), 0);
    let mut encoder = cobs::CobsEncoder::new(&mut out[start..]);
    for part in [head, body, &crc] {
        encoder.push(part).expect("there is room for the longest encoding");
    }
    let end = start + encoder.finalize();
    out.truncate(end);
    if escapes && out[start..].iter().any(|&byte| is_escaped(byte)) {
        let plain = out.split_off(start);
        for &byte in &plain {
            if is_escaped(byte) {
                out.put_slice(&[ESCAPE, byte ^ ESCAPED_BY]);
            } else {
                out.put_u8(byte);
            }
        }
    }
    out.put_u8(DELIMITER);
}

fn is_escaped(byte: u8) -> bool {
    matches!(byte, XON | XOFF | ESCAPE)
}

/// What stood between two delimiters, decoded and not checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Invariant: never less than [`CRC_BYTES`].
    bytes: BytesMut,
    crc: u32,
}

impl Frame {
    /// Decodes what stood between two delimiters; `None` if that cannot have been a frame.
    #[must_use]
    pub fn decode(mut chunk: BytesMut) -> Option<Self> {
        let bytes = cobs::decode_in_place(&mut chunk).ok()?;
        chunk.truncate(bytes);
        let crc = chunk.last_chunk().map(|crc| u32::from_le_bytes(*crc))?;
        chunk.truncate(bytes - CRC_BYTES);
        Some(Self { bytes: chunk, crc })
    }

    /// Whether the frame was encoded with `check`.
    #[must_use]
    pub fn fits(&self, check: Check) -> bool {
        check.and(&self.bytes).0 == self.crc
    }

    /// What the frame holds, if it fits.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the frame holds, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// What a [`Deframer`] found between two delimiters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chunk {
    /// Something that may be a frame; never empty.
    Bytes(BytesMut),
    /// More bytes than any frame has. None of them was kept.
    Overlong,
}

/// Finds what stands between delimiters.
///
/// It holds as many bytes as the longest frame has, and no more, whatever comes.
#[derive(Debug)]
pub struct Deframer {
    partial: BytesMut,
    bytes_max: usize,
    escapes: bool,
    escape_pending: bool,
    overlong: bool,
}

/// What an idle [`Deframer`] keeps allocated at most, in bytes.
const IDLE_BYTES: usize = 4 << 10;

impl Deframer {
    /// Finds frames of up to `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize, escapes: bool) -> Self {
        Self {
            partial: BytesMut::new(),
            bytes_max: encoded_bytes_max(frame_bytes_max, false),
            escapes,
            escape_pending: false,
            overlong: false,
        }
    }

    /// Takes bytes from the front of `input` up to the end of the first chunk, or all if there is
    /// none in it.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Chunk> {
        loop {
            let end = input.iter().position(|&byte| byte == DELIMITER);
            let (bytes, rest) = match end {
                Some(end) => (&input[..end], &input[end + 1..]),
                None => (*input, &[][..]),
            };
            self.take(bytes);
            *input = rest;
            end?;
            if let Some(chunk) = self.finish() {
                return Some(chunk);
            }
        }
    }

    /// How many bytes of a chunk have come of which the end is not here.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.partial.len() + usize::from(self.overlong)
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.overlong || bytes.is_empty() {
            return;
        }
        if !self.escapes {
            if self.partial.len() + bytes.len() > self.bytes_max {
                return self.give_up();
            }
            self.partial.extend_from_slice(bytes);
            return;
        }
        for &byte in bytes {
            if self.partial.len() == self.bytes_max {
                return self.give_up();
            }
            match byte {
                // The line's own, which somebody on the way should have taken.
                XON | XOFF => {}
                ESCAPE => self.escape_pending = true,
                _ if std::mem::take(&mut self.escape_pending) => {
                    self.partial.put_u8(byte ^ ESCAPED_BY);
                }
                _ => self.partial.put_u8(byte),
            }
        }
    }

    fn give_up(&mut self) {
        self.overlong = true;
        self.partial = BytesMut::new();
    }

    fn finish(&mut self) -> Option<Chunk> {
        let half_escape = std::mem::take(&mut self.escape_pending);
        if std::mem::take(&mut self.overlong) {
            return Some(Chunk::Overlong);
        }
        if self.partial.is_empty() {
            // A lone escape is the rest of something.
            return half_escape.then_some(Chunk::Overlong);
        }
        let mut chunk = self.partial.split();
        if half_escape {
            // Not what was sent, so it must not decode.
            chunk.clear();
            return Some(Chunk::Overlong);
        }
        if self.partial.capacity() > IDLE_BYTES {
            self.partial = BytesMut::new();
        }
        Some(Chunk::Bytes(chunk))
    }
}
