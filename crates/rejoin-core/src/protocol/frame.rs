//! Frames: what travels on a link after the handshake.
//!
//! One link payload is one frame. A data frame is `seq ‖ tag ‖ [ack] ‖ item`; a control frame,
//! known to the extended profile only, is `seq ‖ tag ‖ fields` and takes no number. This module
//! reads and writes them and keeps no state.

use bytes::Bytes;

use crate::protocol::error::FrameError;
use crate::protocol::hello::Profile;
use crate::protocol::seq::{
    PacketAck, PacketSeq, VARINT_U32_MAX, VARINT_U64_MAX, put_varint, take_varint_u32,
    take_varint_u64,
};

/// The most bytes that a data frame has before its item.
pub const FRAME_HEAD_MAX: usize = VARINT_U32_MAX + 1 + VARINT_U32_MAX;

/// The most bytes of a frame that need no memory of their own: an acknowledgement that stands alone is
/// no longer. So is everything else that a session says again and again.
const INLINE_MAX: usize = VARINT_U32_MAX + 1 + (1 + VARINT_U32_MAX) + VARINT_U64_MAX;

/// The longest reason of a close, in bytes of UTF-8.
pub const CLOSE_REASON_MAX: usize = 256;

mod tag {
    pub(super) const DATA: u8 = 0;
    pub(super) const DATA_WITH_ACK: u8 = 1;
    pub(super) const SETTINGS: u8 = 2;
    pub(super) const ACK: u8 = 3;
    pub(super) const PING: u8 = 4;
    pub(super) const PONG: u8 = 5;
    pub(super) const CLOSE: u8 = 6;
    pub(super) const CLOSE_ACK: u8 = 7;
    pub(super) const GOING_AWAY: u8 = 8;
}

/// One frame, as received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// An item of the application.
    Data {
        /// The item's number.
        seq: PacketSeq,
        /// What the sender has received, where it has received anything.
        ack: Option<PacketAck>,
        /// The item's encoding.
        item: Bytes,
    },
    /// A frame of the protocol's own.
    Control {
        /// The number that the sender's next data frame on this link has.
        seq: PacketSeq,
        /// What it says.
        control: Control,
    },
}

/// What a control frame says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// The sender's settings, the first frame on every link.
    Settings(Settings),
    /// An acknowledgement that stands alone.
    Ack(AckState),
    /// Asks for a pong with the same token.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
    /// No data follows this frame, on this link or any other.
    Close(CloseReason),
    /// The close and everything before it was received.
    CloseAck,
    /// The sender will end soon and takes no new sessions.
    GoingAway {
        /// When to try again, in milliseconds from now.
        retry_after_ms: u64,
    },
}

/// What the receiving side has and how much more it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckState {
    /// The last item acknowledged, where there is one.
    pub ack: Option<PacketAck>,
    /// The cost of all items, from the first of the session, that the sender of this may be sent.
    /// Never decreases.
    pub limit: u64,
}

/// What one side tells the other at the beginning of each link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where its receiving side stands.
    pub state: AckState,
    /// The largest item that it takes, in bytes.
    pub item_bytes_max: u32,
    /// The size of its send log in bytes, by which the peer decides how often to acknowledge.
    pub send_log_bytes: u64,
}

/// Why a side closed the session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CloseReason {
    code: u32,
    text: String,
}

impl CloseReason {
    /// A reason with a number and a text of the application's choice. A text of more than
    /// [`CLOSE_REASON_MAX`] bytes is cut at a character.
    #[must_use]
    pub fn new(code: u32, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let mut len = text.len().min(CLOSE_REASON_MAX);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        text.truncate(len);
        Self { code, text }
    }

    /// The number; 0 unless the application chose another.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The text, of at most [`CLOSE_REASON_MAX`] bytes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Frame {
    /// Reads a frame of `profile` from one link payload; the item shares the payload's memory.
    ///
    /// # Errors
    ///
    /// When the payload is not a frame of the profile.
    pub fn decode(profile: Profile, mut payload: Bytes) -> Result<Self, FrameError> {
        Ok(match FrameHead::decode(profile, &payload)? {
            FrameHead::Data { seq, ack, len } => {
                Self::Data { seq, ack, item: payload.split_off(len) }
            }
            FrameHead::Control { seq, control } => Self::Control { seq, control },
        })
    }
}

/// A frame but for the bytes of its item.
#[derive(Debug)]
pub(super) enum FrameHead {
    Data {
        seq: PacketSeq,
        ack: Option<PacketAck>,
        /// How many bytes come before the item.
        len: usize,
    },
    Control {
        seq: PacketSeq,
        control: Control,
    },
}

impl FrameHead {
    /// Reads the beginning of a data frame, or a control frame.
    #[inline]
    pub(super) fn decode(profile: Profile, payload: &[u8]) -> Result<Self, FrameError> {
        let mut rest = payload;
        let seq = PacketSeq(take_varint_u32(&mut rest)?);
        let tag = take_u8(&mut rest)?;
        let ack = match (tag, profile) {
            (tag::DATA, _) => None,
            (tag::DATA_WITH_ACK, _) => Some(take_ack(&mut rest)?),
            (tag::SETTINGS.., Profile::Extended) => {
                let control = Control::decode(tag, &mut rest)?;
                return if rest.is_empty() {
                    Ok(Self::Control { seq, control })
                } else {
                    Err(FrameError::TrailingBytes)
                };
            }
            (tag, Profile::Base) => return Err(FrameError::UnknownTag { tag }),
        };
        Ok(Self::Data { seq, ack, len: payload.len() - rest.len() })
    }
}

impl Control {
    /// The frame as one link payload; `seq` is the number of the next data frame on the link.
    #[must_use]
    pub fn encode(&self, seq: PacketSeq) -> Bytes {
        let mut out = Vec::with_capacity(40);
        self.put(seq, &mut out);
        out.into()
    }

    /// The frame as the head and the body of one link payload; only what is said once on a link has
    /// a body.
    pub(super) fn encode_parts(&self, seq: PacketSeq) -> (Head, Bytes) {
        match self {
            Self::Settings(_) | Self::Close(_) => (Head::default(), self.encode(seq)),
            Self::Ack(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::CloseAck
            | Self::GoingAway { .. } => {
                let mut head = Head::default();
                self.put(seq, &mut head);
                (head, Bytes::new())
            }
        }
    }

    fn put(&self, seq: PacketSeq, out: &mut impl Extend<u8>) {
        put_varint(out, seq.0.into());
        match self {
            Self::Settings(settings) => {
                out.extend([tag::SETTINGS]);
                settings.state.put(out);
                put_varint(out, settings.item_bytes_max.into());
                put_varint(out, settings.send_log_bytes);
            }
            Self::Ack(state) => {
                out.extend([tag::ACK]);
                state.put(out);
            }
            Self::Ping(token) => {
                out.extend([tag::PING]);
                put_varint(out, *token);
            }
            Self::Pong(token) => {
                out.extend([tag::PONG]);
                put_varint(out, *token);
            }
            Self::Close(reason) => {
                out.extend([tag::CLOSE]);
                put_varint(out, reason.code.into());
                put_varint(out, reason.text.len() as u64);
                out.extend(reason.text.bytes());
            }
            Self::CloseAck => out.extend([tag::CLOSE_ACK]),
            Self::GoingAway { retry_after_ms } => {
                out.extend([tag::GOING_AWAY]);
                put_varint(out, *retry_after_ms);
            }
        }
    }

    #[inline(never)]
    fn decode(tag: u8, rest: &mut &[u8]) -> Result<Self, FrameError> {
        Ok(match tag {
            tag::SETTINGS => Self::Settings(Settings {
                state: AckState::take(rest)?,
                item_bytes_max: take_varint_u32(rest)?,
                send_log_bytes: take_varint_u64(rest)?,
            }),
            tag::ACK => Self::Ack(AckState::take(rest)?),
            tag::PING => Self::Ping(take_varint_u64(rest)?),
            tag::PONG => Self::Pong(take_varint_u64(rest)?),
            tag::CLOSE => Self::Close(CloseReason::take(rest)?),
            tag::CLOSE_ACK => Self::CloseAck,
            tag::GOING_AWAY => Self::GoingAway { retry_after_ms: take_varint_u64(rest)? },
            tag => return Err(FrameError::UnknownTag { tag }),
        })
    }
}

impl AckState {
    fn put(self, out: &mut impl Extend<u8>) {
        match self.ack {
            None => out.extend([0]),
            Some(ack) => {
                out.extend([1]);
                put_varint(out, ack.max_delivered.0.into());
            }
        }
        put_varint(out, self.limit);
    }

    fn take(rest: &mut &[u8]) -> Result<Self, FrameError> {
        let ack = match take_u8(rest)? {
            0 => None,
            1 => Some(take_ack(rest)?),
            tag => return Err(FrameError::UnknownTag { tag }),
        };
        Ok(Self { ack, limit: take_varint_u64(rest)? })
    }
}

impl CloseReason {
    fn take(rest: &mut &[u8]) -> Result<Self, FrameError> {
        let code = take_varint_u32(rest)?;
        let len = take_varint_u32(rest)? as usize;
        if len > CLOSE_REASON_MAX {
            return Err(FrameError::Reason);
        }
        let (text, after) = rest.split_at_checked(len).ok_or(FrameError::Truncated)?;
        *rest = after;
        let text = std::str::from_utf8(text).map_err(|_| FrameError::Reason)?;
        Ok(Self { code, text: text.to_owned() })
    }
}

/// The head of a data frame or a short control frame, kept inline so that writing one allocates
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    bytes: [u8; INLINE_MAX],
    len: u8,
}

impl Head {
    /// The head of the data frame with this number and acknowledgement.
    #[must_use]
    #[inline]
    pub fn data(seq: PacketSeq, ack: Option<PacketAck>) -> Self {
        let mut head = Self::default();
        put_varint(&mut head, seq.0.into());
        match ack {
            None => head.extend([tag::DATA]),
            Some(ack) => {
                head.extend([tag::DATA_WITH_ACK]);
                put_varint(&mut head, ack.max_delivered.0.into());
            }
        }
        head
    }

    /// Makes the head of a data frame that of the next one, or leaves it if it is that already.
    #[inline]
    pub(super) fn set_data(&mut self, seq: PacketSeq, ack: Option<PacketAck>) {
        let [low, ..] = seq.0.to_le_bytes();
        if low & 0x7f == 0 {
            *self = Self::data(seq, ack);
        } else {
            // The other bits are those of the frame before, and stand in the bytes behind.
            self.bytes[0] = (self.bytes[0] & 0x80) | (low & 0x7f);
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Extend<u8> for Head {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            self.bytes[usize::from(self.len)] = byte;
            self.len += 1;
        }
    }
}

#[inline]
fn take_u8(rest: &mut &[u8]) -> Result<u8, FrameError> {
    let (&byte, after) = rest.split_first().ok_or(FrameError::Truncated)?;
    *rest = after;
    Ok(byte)
}

#[inline]
fn take_ack(rest: &mut &[u8]) -> Result<PacketAck, FrameError> {
    Ok(PacketAck { max_delivered: PacketSeq(take_varint_u32(rest)?) })
}
