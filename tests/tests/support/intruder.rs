//! Peers that are not ours, and a listener for them to call.

use std::net::SocketAddr;
use std::time::Duration;

use rejoin_tcp::protocol::ClientHello;
use rejoin_tcp::{ListenerConfig, StableListener, TcpLinkListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a handshake with [`listen`]'s listener may take.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);

/// Only a test that fails waits for this long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("it happens soon")
}

pub(crate) async fn listen() -> (SocketAddr, StableListener<String>) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.expect("the system has a port");
    let address = listener.local_addr().expect("a listener has an address");
    let mut config = ListenerConfig::default();
    config.conduit.handshake_deadline = DEADLINE;
    config.conduit.outage_max = DEADLINE;
    (address, StableListener::with_config(listener, config).expect("the settings make sense"))
}

/// What a stranger sends.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "each test file has a use for some of them")]
pub(crate) enum Intruder {
    Http,
    /// The beginning of a TLS 1.3 hello.
    Tls,
    /// Bytes without a meaning.
    Noise,
    Nothing,
    /// Closes at once.
    Gone,
    /// 4 GiB − 1 bytes are to follow.
    HugeLength,
    /// As much is announced as the link takes, and little of it sent.
    LargeLength,
    /// As long as a hello, and none.
    NoHello,
    /// The first bytes of a hello.
    HalfHello,
    /// A hello for a new session with this nonce, and garbage.
    HelloThenGarbage(u8),
}

impl Intruder {
    /// Says its piece and waits for the end of the connection. Gives the answer.
    pub(crate) async fn intrude(self, address: SocketAddr) -> Vec<u8> {
        let mut stream = soon(TcpStream::connect(address)).await.expect("there is a listener");
        // Both may fail where the server is done with this peer already.
        let _ = stream.write_all(&self.bytes()).await;
        if let Self::Gone = self {
            return Vec::new();
        }
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        answer
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Http => b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n".to_vec(),
            Self::Tls => vec![
                0x16, 0x03, 0x01, 0x00, 0xc8, 0x01, 0x00, 0x00, 0xc4, 0x03, 0x03, 0x5f, 0x1c, 0x3a,
            ],
            Self::Noise => vec![0x9c, 0x51, 0x00, 0x00, 0x2f, 0xe8, 0x07, 0x33, 0xb4, 0x6d, 0xd0],
            Self::Nothing | Self::Gone => Vec::new(),
            Self::HugeLength => vec![0xff; 4],
            Self::LargeLength => prefixed(16 << 20, b"little"),
            Self::NoHello => prefixed(25, &[0xa5; 25]),
            Self::HalfHello => prefixed(25, &ClientHello::fresh().encode()[..10]),
            Self::HelloThenGarbage(nonce) => {
                let mut hello = ClientHello::fresh().encode();
                // The flag of the extended profile, and the nonce that belongs to it.
                hello[4] |= 0x80;
                hello[5..21].fill(nonce);
                let mut bytes = prefixed(25, &hello);
                bytes.extend(prefixed(40, &[0xff; 40]));
                bytes
            }
        }
    }
}

fn prefixed(len: u32, payload: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes(), payload].concat()
}
