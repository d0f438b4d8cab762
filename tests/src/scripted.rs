//! A peer of which every byte is written down by hand, over real TCP. It uses nothing of the
//! protocol's code, so it can say what no correct peer says.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Flags of a ClientHello.
pub mod flag {
    /// The key field holds a key.
    pub const KEY: u8 = 0x01;
    /// The number field holds the last number received.
    pub const LAST: u8 = 0x02;
    /// The extended profile is wished.
    pub const EXTENDED: u8 = 0x80;
}

/// Tags of frames.
pub mod tag {
    /// Data without an acknowledgement.
    pub const DATA: u8 = 0;
    /// Data with an acknowledgement.
    pub const DATA_WITH_ACK: u8 = 1;
    /// Settings.
    pub const SETTINGS: u8 = 2;
    /// An acknowledgement alone.
    pub const ACK: u8 = 3;
    /// A ping.
    pub const PING: u8 = 4;
    /// The answer to a ping.
    pub const PONG: u8 = 5;
    /// A close.
    pub const CLOSE: u8 = 6;
    /// The answer to a close.
    pub const CLOSE_ACK: u8 = 7;
    /// The sender ends soon.
    pub const GOING_AWAY: u8 = 8;
}

/// A key, or the nonce of a fresh hello.
pub type Key = [u8; 16];

/// The answer to a ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Accepted, with this key for the next time and the last number received.
    Accepted(Key, Option<u32>),
    /// Rejected, with the code of the reason.
    Rejected(u32),
}

/// One connection, with the peer's hand on it.
#[derive(Debug)]
pub struct Scripted {
    stream: TcpStream,
}

impl Scripted {
    /// Connects, and says nothing yet.
    ///
    /// # Errors
    ///
    /// When there is no listener.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn dial(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Connects, says `hello` and reads the answer.
    ///
    /// # Errors
    ///
    /// When the connection ends before the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn greet(address: SocketAddr, hello: &[u8]) -> io::Result<(Self, Answer)> {
        let mut peer = Self::dial(address).await?;
        peer.send(hello).await?;
        let answer = peer.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((peer, read_answer(&answer)))
    }

    /// Sends one payload.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    ///
    /// # Cancel safety
    ///
    /// None: a part of the payload may have been sent.
    pub async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        self.send_raw(&prefixed(payload)).await
    }

    /// Sends bytes, with no length before them.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    ///
    /// # Cancel safety
    ///
    /// None: some of them may have been sent.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next payload; `None` when the connection is at its end, one way or the other.
    ///
    /// # Cancel safety
    ///
    /// None: a part of the payload may have been read.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        let bytes = self.stream.read_u32_le().await.ok()?;
        let mut payload = vec![0; bytes as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(payload)
    }

    /// The next payload with this tag; skips all others.
    ///
    /// # Cancel safety
    ///
    /// None: others are lost.
    pub async fn recv_tag(&mut self, wanted: u8) -> Option<Vec<u8>> {
        loop {
            let payload = self.recv().await?;
            if tag_of(&payload) == Some(wanted) {
                return Some(payload);
            }
        }
    }

    /// Reads up to the end of the connection; gives how many payloads there were.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost.
    pub async fn until_end(&mut self) -> usize {
        let mut count = 0;
        while self.recv().await.is_some() {
            count += 1;
        }
        count
    }

    /// Vanishes with a reset instead of a close.
    pub fn reset(self) {
        // The connection ends either way when this fails.
        let _ = self.stream.set_zero_linger();
    }
}

/// `payload` as it travels.
#[must_use]
pub fn prefixed(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes(), payload].concat()
}

/// A ClientHello of these flags and fields.
#[must_use]
pub fn hello(flags: u8, key: Key, number: u32) -> Vec<u8> {
    [b"ROCH".as_slice(), &[flags], &key, &number.to_le_bytes()].concat()
}

/// A ClientHello for a new session of the extended profile.
#[must_use]
pub fn fresh(nonce: u32) -> Vec<u8> {
    let mut key = [0x5a; 16];
    key[..4].copy_from_slice(&nonce.to_le_bytes());
    hello(flag::EXTENDED, key, 0)
}

/// A ClientHello that goes on with the session of `key`.
#[must_use]
pub fn resume(key: Key, last: Option<u32>) -> Vec<u8> {
    let last_flag = if last.is_some() { flag::LAST } else { 0 };
    hello(flag::EXTENDED | flag::KEY | last_flag, key, last.unwrap_or(0))
}

/// A data frame.
#[must_use]
pub fn data(seq: u32, ack: Option<u32>, item: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    varint(&mut frame, seq.into());
    match ack {
        None => frame.push(tag::DATA),
        Some(ack) => {
            frame.push(tag::DATA_WITH_ACK);
            varint(&mut frame, ack.into());
        }
    }
    frame.extend(item);
    frame
}

/// A control frame with these integers as fields.
#[must_use]
pub fn control(seq: u32, tag: u8, fields: &[u64]) -> Vec<u8> {
    let mut frame = Vec::new();
    varint(&mut frame, seq.into());
    frame.push(tag);
    fields.iter().for_each(|&field| varint(&mut frame, field));
    frame
}

/// Settings: nothing acknowledged, this limit, and items of up to 1 MiB.
#[must_use]
pub fn settings(limit: u64) -> Vec<u8> {
    control(0, tag::SETTINGS, &[0, limit, 1 << 20, 1 << 20])
}

/// The tag of a frame.
#[must_use]
pub fn tag_of(frame: &[u8]) -> Option<u8> {
    let end = frame.iter().position(|byte| byte & 0x80 == 0)?;
    frame.get(end + 1).copied()
}

fn read_answer(payload: &[u8]) -> Answer {
    let key = payload.get(5..21).and_then(|key| key.try_into().ok()).unwrap_or_default();
    let number = payload.get(21..25).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    let number = u32::from_le_bytes(number);
    match payload.get(4).copied().unwrap_or(flag::KEY) {
        flags if flags & 0x01 != 0 => Answer::Rejected(number),
        flags => Answer::Accepted(key, (flags & flag::LAST != 0).then_some(number)),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
