//! What the tests share: waiting without sleeping, links, and a peer of which every byte is written
//! by hand. Uses no WebSocket library, so that it can say what no correct peer says.

#![allow(dead_code, unreachable_pub)]

use std::io;
use std::time::Duration;

use rejoin_websocket::{
    Attachment, Link, LinkListener, LinkSource, Peer, Side, WebSocketConfig, WebSocketError,
    WebSocketLink, WebSocketLinkListener, WebSocketLinkRx, WebSocketLinkTx, WebSocketSource,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub type Halves = (WebSocketLinkTx, WebSocketLinkRx);

/// Only a test that fails waits for this long.
const SOON: Duration = Duration::from_secs(60);

/// Waits for `future`, which a test that works does not wait long for.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(SOON, future).await {
            Ok(output) => output,
            Err(_) => panic!("hangs at {caller}"),
        }
    }
}

/// Polls `future` once.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    use std::pin::Pin;
    use std::task::Poll;
    std::future::poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A listener and the URL of it.
pub async fn listen() -> (WebSocketLinkListener, String) {
    let listener = WebSocketLinkListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// Dials and accepts; what the two sides say.
pub async fn dial_and_accept(
    source: &mut WebSocketSource,
    listener: &mut WebSocketLinkListener,
) -> (io::Result<WebSocketLink>, io::Result<WebSocketLink>) {
    let dial = async { source.next_link().await.map(Attachment::into_link) };
    let accept = async { listener.accept().await.unwrap().await };
    soon(async { tokio::join!(dial, accept) }).await
}

/// Both ends of a link over TCP.
pub async fn pair(config: WebSocketConfig) -> (Halves, Halves) {
    let (listener, url) = listen().await;
    let mut listener = listener.with_config(config.clone());
    let mut source = WebSocketSource::new(url).with_config(config);
    let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
    (dialled.unwrap().split(), accepted.unwrap().split())
}

pub fn websocket_error(error: &io::Error) -> &WebSocketError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

/// Opcodes.
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The last frame of a message.
pub const FIN: u8 = 0x80;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// One end of a WebSocket, with the test's hand on it.
pub struct Scripted {
    pub stream: DuplexStream,
    side: Side,
}

/// A scripted peer of `side`, and the link at the other end. `room` is how many bytes fit between
/// them in each direction.
pub fn scripted(side: Side, room: usize, config: &WebSocketConfig) -> (Scripted, Halves) {
    let (near, far) = tokio::io::duplex(room);
    let other = if side == Side::Client { Side::Server } else { Side::Client };
    let link = WebSocketLink::from_upgraded(far, other, Peer::at("a test"), config);
    (Scripted { stream: near, side }, link.split())
}

impl Scripted {
    pub fn new(stream: DuplexStream, side: Side) -> Self {
        Self { stream, side }
    }

    /// Sends a frame whose first byte is `first`.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let frame = self.frame(first, payload);
        self.send_raw(&frame).await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    pub fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        let masked = self.side == Side::Client;
        let mut frame = head(first, payload.len() as u64, masked);
        let mask = if masked { MASK } else { [0; 4] };
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// The next frame: its first byte, and the payload.
    pub async fn recv(&mut self) -> (u8, Vec<u8>) {
        soon(self.try_recv()).await.unwrap()
    }

    pub async fn try_recv(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let (first, second) = (self.stream.read_u8().await?, self.stream.read_u8().await?);
        let len = match second & 0x7f {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            len => u64::from(len),
        };
        assert_eq!(second & 0x80 != 0, self.side == Side::Server, "only a client masks");
        let mut mask = [0; 4];
        if self.side == Side::Server {
            self.stream.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok((first, payload))
    }

    /// The next frame, which must be a close: its code.
    pub async fn recv_close(&mut self) -> u16 {
        let (first, payload) = self.recv().await;
        assert_eq!(first, FIN | CLOSE, "{payload:?}");
        u16::from_be_bytes(payload[..2].try_into().unwrap())
    }
}

/// The head of a frame, with the scripted mask where there is one.
pub fn head(first: u8, len: u64, masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut head = match len {
        0..126 => vec![first, bit | u8::try_from(len).unwrap()],
        126..0x1_0000 => {
            [&[first, bit | 126], &u16::try_from(len).unwrap().to_be_bytes()[..]].concat()
        }
        _ => [&[first, bit | 127], &len.to_be_bytes()[..]].concat(),
    };
    if masked {
        head.extend(MASK);
    }
    head
}

/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(600);
