//! What comes in: frames, judged by their heads before their payloads are waited for, and messages
//! put together from them. Answers nothing itself; what has to be answered is given to the caller.

use std::fmt;
use std::io::{self, Cursor};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use rejoin_core::Progress;
use rejoin_stream::ReadBuffer;
use tokio::io::AsyncRead;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::config::WebSocketConfig;
use crate::error::WebSocketRecvError;
use crate::frame::{CONTROL_BYTES_MAX, Mask, Side};

/// No message can be larger than this, whatever the limit, and no size that is computed from one that
/// passes can overflow.
const MESSAGE_BYTES_MAX: usize = isize::MAX as usize / 2;

/// What a peer says.
#[derive(Debug)]
pub(crate) enum Said {
    /// A whole binary message.
    Message(Bytes),
    /// Something to be answered with the same bytes.
    Ping(BytesMut),
    /// The last word, with its code and the reason, if it has any.
    Close(Option<(u16, String)>),
}

/// Reads frames from a stream.
pub(crate) struct FrameReader {
    io: Box<dyn AsyncRead + Send + Unpin>,
    buffer: ReadBuffer,
    /// The size of the frame in front, once it is known; else 0.
    frame: usize,
    /// The beginning of a message that comes in several frames.
    partial: Option<BytesMut>,
    side: Side,
    bytes_max: usize,
    /// A limit set for the time being.
    limit: Option<usize>,
    progress: Progress,
}

impl FrameReader {
    /// A reader for `side`'s end of `io`, of which `read` came before.
    pub(crate) fn new(
        io: Box<dyn AsyncRead + Send + Unpin>,
        read: BytesMut,
        side: Side,
        config: &WebSocketConfig,
    ) -> Self {
        Self {
            io,
            buffer: ReadBuffer::with_received(config.read_buffer_bytes, read),
            frame: 0,
            partial: None,
            side,
            bytes_max: config.message_bytes_max.min(MESSAGE_BYTES_MAX),
            limit: None,
            progress: Progress::default(),
        }
    }

    /// Takes everything out, so that another can go on reading.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            io: std::mem::replace(&mut self.io, Box::new(tokio::io::empty())),
            buffer: std::mem::replace(&mut self.buffer, ReadBuffer::new(0)),
            partial: self.partial.take(),
            progress: self.progress.clone(),
            ..*self
        }
    }

    pub(crate) fn limit(&mut self, bytes_max: Option<usize>) {
        self.limit = bytes_max;
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The next thing said, if all of it is here.
    pub(crate) fn next(&mut self) -> Result<Option<Said>, WebSocketRecvError> {
        loop {
            let mut cursor = Cursor::new(self.buffer.bytes());
            // The only thing that it finds wrong is an opcode.
            let parsed =
                FrameHeader::parse(&mut cursor).map_err(|_| violation("unknown opcode"))?;
            let Some((header, len)) = parsed else {
                self.frame = 0;
                return Ok(None);
            };
            let head = usize::try_from(cursor.position()).unwrap_or_default();
            let len = self.judge(&header, len)?;
            self.frame = head + len;
            if self.buffer.bytes().len() < self.frame {
                return Ok(None);
            }
            let mut payload = self.buffer.take(head, len);
            if let Some(key) = header.mask {
                Mask::new(key).apply(&mut payload);
            }
            match header.opcode {
                OpCode::Control(Control::Ping) => return Ok(Some(Said::Ping(payload))),
                OpCode::Control(Control::Close) => return close(&payload).map(Some),
                OpCode::Control(_) => {}
                OpCode::Data(_) => {
                    let message = match self.partial.take() {
                        None => payload,
                        Some(mut message) => {
                            message.extend_from_slice(&payload);
                            message
                        }
                    };
                    if header.is_final {
                        return Ok(Some(Said::Message(message.freeze())));
                    }
                    self.partial = Some(message);
                }
            }
        }
    }

    /// Whether a frame with this head may come now, with a payload of `len` bytes; gives `len` back.
    fn judge(&self, header: &FrameHeader, len: u64) -> Result<usize, WebSocketRecvError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("reserved bits without an extension"));
        }
        match (self.side, header.mask) {
            (Side::Server, None) => return Err(violation("a client's frame without a mask")),
            (Side::Client, Some(_)) => return Err(violation("a server's frame with a mask")),
            _ => {}
        }
        let bytes_max = match header.opcode {
            OpCode::Control(_) if !header.is_final => {
                return Err(violation("a control frame in parts"));
            }
            OpCode::Control(_) if len > CONTROL_BYTES_MAX as u64 => {
                return Err(violation("a long control frame"));
            }
            OpCode::Control(_) => CONTROL_BYTES_MAX,
            OpCode::Data(Data::Text) => return Err(WebSocketRecvError::Text),
            OpCode::Data(Data::Continue) if self.partial.is_none() => {
                return Err(violation("a part of no message"));
            }
            OpCode::Data(Data::Continue) => self.bytes_max(),
            OpCode::Data(_) if self.partial.is_some() => {
                return Err(violation("a message within another"));
            }
            OpCode::Data(_) => self.bytes_max(),
        };
        let had = match header.opcode {
            OpCode::Data(_) => self.partial.as_ref().map_or(0, BytesMut::len),
            OpCode::Control(_) => 0,
        };
        let bytes = len.saturating_add(had as u64);
        if bytes > bytes_max as u64 {
            return Err(WebSocketRecvError::PayloadTooLarge { bytes, bytes_max });
        }
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn bytes_max(&self) -> usize {
        self.limit.unwrap_or(usize::MAX).min(self.bytes_max)
    }

    /// Reads once; `false` means that the stream is at its end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // Of a head that is not all there, at least one more byte has to come.
        let frame = self.frame.max(self.buffer.bytes().len() + 1);
        let count = ready!(self.buffer.poll_fill(cx, &mut *self.io, frame))?;
        self.progress.add(count);
        Poll::Ready(Ok(count > 0))
    }

    /// How many bytes of a message are here.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.buffer.bytes().len() + self.partial.as_ref().map_or(0, BytesMut::len)
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, bytes_max, limit, .. } = self;
        f.debug_struct("FrameReader")
            .field("side", side)
            .field("bytes_max", bytes_max)
            .field("limit", limit)
            .finish_non_exhaustive()
    }
}

fn violation(violation: &'static str) -> WebSocketRecvError {
    WebSocketRecvError::Protocol { violation }
}

fn close(payload: &[u8]) -> Result<Said, WebSocketRecvError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Said::Close(None)),
            _ => Err(violation("half a close code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    // The others are not for the wire (RFC 6455, section 7.4).
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(violation("a close code that nobody may send"));
    }
    let Ok(reason) = std::str::from_utf8(reason) else {
        return Err(violation("a reason that is not UTF-8"));
    };
    Ok(Said::Close(Some((code, reason.escape_debug().collect()))))
}
