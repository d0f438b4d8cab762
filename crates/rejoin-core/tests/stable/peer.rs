//! A peer written down by hand: it puts bytes on a memory link and looks at bytes that come, and
//! uses nothing of the protocol's code, so that a mistake there is not made here as well.

use rejoin_core::{
    Link, LinkListener, LinkRx, LinkTx, MemoryConnector, MemoryLink, MemoryListener, MemoryRx,
    MemoryTx,
};

use crate::common::within;

pub(crate) const EXTENDED: u8 = 0x80;
const HAS_KEY: u8 = 0x01;
const HAS_LAST: u8 = 0x02;

/// One link, with the peer's hand on it.
pub(crate) struct Peer {
    tx: MemoryTx,
    rx: MemoryRx,
}

/// What the other side's hello says.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Hello {
    pub(crate) flags: u8,
    pub(crate) key: [u8; 16],
    pub(crate) number: u32,
}

impl Hello {
    pub(crate) fn last(&self) -> Option<u32> {
        (self.flags & HAS_LAST != 0).then_some(self.number)
    }

    pub(crate) fn resumes(&self) -> bool {
        self.flags & HAS_KEY != 0
    }
}

impl Peer {
    pub(crate) fn on(link: MemoryLink) -> Self {
        let (tx, rx) = link.split();
        Self { tx, rx }
    }

    pub(crate) async fn dial(connector: &MemoryConnector) -> Self {
        Self::on(connector.connect().await.unwrap())
    }

    pub(crate) async fn accept(listener: &mut MemoryListener) -> Self {
        Self::on(within(listener.accept()).await.unwrap().await.unwrap())
    }

    pub(crate) async fn send(&mut self, payload: &[u8]) {
        self.try_send(payload).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        self.tx.send(payload, bytes::Bytes::new()).await?;
        self.tx.flush().await
    }

    /// The next payload; `None` when the link is at its end, one way or the other.
    pub(crate) async fn recv(&mut self) -> Option<Vec<u8>> {
        within(self.rx.recv()).await.ok().flatten().map(Vec::from)
    }

    /// Sends a ClientHello, with a key and a last number where there are.
    pub(crate) async fn send_client_hello(
        &mut self,
        flags: u8,
        key: Option<[u8; 16]>,
        last: Option<u32>,
    ) {
        let key_flag = if key.is_some() { HAS_KEY } else { 0 };
        self.send(&hello(*b"ROCH", flags | key_flag, key.unwrap_or_default(), last)).await;
    }

    pub(crate) async fn send_server_hello(&mut self, flags: u8, key: [u8; 16], last: Option<u32>) {
        self.send(&hello(*b"ROSH", flags, key, last)).await;
    }

    pub(crate) async fn recv_client_hello(&mut self) -> Hello {
        read_hello(*b"ROCH", &self.recv().await.expect("a hello"))
    }

    pub(crate) async fn recv_server_hello(&mut self) -> Hello {
        read_hello(*b"ROSH", &self.recv().await.expect("a hello"))
    }

    /// Sends the settings of the extended profile: nothing received, and this much may come.
    pub(crate) async fn send_settings(&mut self, limit: u32) {
        let mut payload = vec![0, 2, 0];
        varint(&mut payload, limit);
        varint(&mut payload, 1 << 20);
        varint(&mut payload, 1 << 20);
        self.send(&payload).await;
    }

    pub(crate) async fn send_item(&mut self, seq: u32, ack: Option<u32>, item: &[u8]) {
        self.send(&frame(seq, ack, item)).await;
    }

    pub(crate) async fn close(self) {
        self.tx.close().await.unwrap();
    }
}

pub(crate) fn hello(magic: [u8; 4], flags: u8, key: [u8; 16], last: Option<u32>) -> Vec<u8> {
    let last_flag = if last.is_some() { HAS_LAST } else { 0 };
    let mut bytes = magic.to_vec();
    bytes.push(flags | last_flag);
    bytes.extend(key);
    bytes.extend(last.unwrap_or(0).to_le_bytes());
    bytes
}

#[track_caller]
fn read_hello(magic: [u8; 4], payload: &[u8]) -> Hello {
    assert_eq!(payload.len(), 25);
    assert_eq!(payload[..4], magic);
    Hello {
        flags: payload[4],
        key: payload[5..21].try_into().unwrap(),
        number: u32::from_le_bytes(payload[21..].try_into().unwrap()),
    }
}

/// A data frame.
pub(crate) fn frame(seq: u32, ack: Option<u32>, item: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(&mut bytes, seq);
    match ack {
        None => bytes.push(0),
        Some(ack) => {
            bytes.push(1);
            varint(&mut bytes, ack);
        }
    }
    bytes.extend(item);
    bytes
}

/// The number, acknowledgement and item of a data frame.
#[track_caller]
pub(crate) fn read_frame(mut payload: &[u8]) -> (u32, Option<u32>, Vec<u8>) {
    let seq = take_varint(&mut payload);
    let (&tag, mut rest) = payload.split_first().unwrap();
    let ack = match tag {
        0 => None,
        1 => Some(take_varint(&mut rest)),
        tag => panic!("tag {tag} is not the base profile's"),
    };
    (seq, ack, rest.to_vec())
}

fn varint(out: &mut Vec<u8>, mut value: u32) {
    while value > 127 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> u32 {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
