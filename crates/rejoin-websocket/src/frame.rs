//! What goes out: frame headers, masks, control frames. The grammar of a header is tungstenite's;
//! knows neither when to write nor whom to.

use std::io;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Which side of a WebSocket this is. Only a client masks what it sends, and the server insists on
/// that (RFC 6455, section 5.3). It has nothing to do with who begins a session's handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The side that asked for the upgrade.
    Client,
    /// The side that granted it.
    Server,
}

/// The longest payload of a control frame.
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Writes the heads of frames, with a fresh mask for each where this side masks.
#[derive(Debug)]
pub(crate) struct Encoder {
    masks: Option<Masks>,
}

impl Encoder {
    pub(crate) fn new(side: Side) -> Self {
        Self { masks: (side == Side::Client).then(Masks::default) }
    }

    /// Whether what follows a head has to be masked.
    pub(crate) fn masks(&self) -> bool {
        self.masks.is_some()
    }

    /// Appends the head of the one frame of a binary message of `len` bytes; gives the mask for
    /// those.
    pub(crate) fn message(&mut self, out: &mut Vec<u8>, len: usize) -> io::Result<Option<Mask>> {
        self.head(out, OpCode::Data(Data::Binary), len)
    }

    /// Appends a control frame of at most [`CONTROL_BYTES_MAX`] bytes.
    pub(crate) fn control(
        &mut self,
        out: &mut Vec<u8>,
        control: Control,
        payload: &[u8],
    ) -> io::Result<()> {
        debug_assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame is short");
        let mask = self.head(out, OpCode::Control(control), payload.len())?;
        append(out, payload, &mut { mask });
        Ok(())
    }

    fn head(&mut self, out: &mut Vec<u8>, opcode: OpCode, len: usize) -> io::Result<Option<Mask>> {
        let mask = self.masks.as_mut().map(Masks::next).transpose()?;
        let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
        header.format(len as u64, out).map_err(io::Error::other)?;
        Ok(mask.map(Mask::new))
    }
}

/// Appends `bytes`, masked where there is a mask.
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8], mask: &mut Option<Mask>) {
    let start = out.len();
    out.extend_from_slice(bytes);
    if let Some(mask) = mask {
        mask.apply(&mut out[start..]);
    }
}

/// The mask of one frame, and how far it has been applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    /// The four bytes, beginning with the one that is due.
    key: [u8; 4],
}

impl Mask {
    pub(crate) fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Masks, or unmasks, the next bytes of the frame.
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        self.key.rotate_left(rest.len() % 4);
    }
}

/// Random masks, fetched from the system many at a time: one call for each message would cost more
/// than the message.
#[derive(Debug)]
struct Masks {
    block: [u8; Self::BYTES],
    used: usize,
}

impl Masks {
    const BYTES: usize = 256;

    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.used == Self::BYTES {
            getrandom::fill(&mut self.block).map_err(io::Error::other)?;
            self.used = 0;
        }
        let key = self.block[self.used..].first_chunk().copied().unwrap_or_default();
        self.used += 4;
        Ok(key)
    }
}

impl Default for Masks {
    fn default() -> Self {
        Self { block: [0; Self::BYTES], used: Self::BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_goes_on_where_it_was_left() {
        let bytes: Vec<u8> = (0..100).collect();
        let expected: Vec<u8> =
            bytes.iter().zip([7, 77, 177, 250].iter().cycle()).map(|(a, b)| a ^ b).collect();
        for cut in 0..=bytes.len() {
            let mut masked = bytes.clone();
            let mut mask = Mask::new([7, 77, 177, 250]);
            let (head, tail) = masked.split_at_mut(cut);
            mask.apply(head);
            mask.apply(tail);
            assert_eq!(masked, expected, "cut at {cut}");
        }
    }

    #[test]
    fn masks_differ_and_never_run_out() {
        let mut masks = Masks::default();
        let many: std::collections::HashSet<_> = (0..1000).map(|_| masks.next().unwrap()).collect();
        assert!(many.len() > 990, "{} of 1000 differ", many.len());
    }

    #[test]
    fn only_a_client_masks() {
        for (side, head) in [(Side::Client, 0x81), (Side::Server, 0x01)] {
            let mut out = Vec::new();
            Encoder::new(side).control(&mut out, Control::Ping, b"x").unwrap();
            assert_eq!(out[..2], [0x89, head]);
            assert_eq!(out.len(), if side == Side::Client { 7 } else { 3 });
        }
    }
}
