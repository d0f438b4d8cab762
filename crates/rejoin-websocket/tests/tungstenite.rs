//! Against tokio-tungstenite as it is, speaking the wire of docs/protocol.md by hand: a client and a
//! server of the base profile (BASE-1), and one of the extended profile that pings while the application
//! is idle.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use futures_util::{SinkExt, StreamExt};
use rejoin_websocket::{
    Link, LinkListener, LinkRx, LinkTx, Peer, Raw, Side, StableConduit, StableListener,
    WebSocketConfig, WebSocketLink, WebSocketSource,
};
use support::{listen, soon};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const KEY: [u8; 16] = [0x4b; 16];

/// A ClientHello, or a ServerHello, of the base profile with this last number received.
fn hello(magic: &[u8], flags: u8, key: [u8; 16], last: Option<u32>) -> Message {
    let flags = flags | if last.is_some() { 0x02 } else { 0 };
    let number = last.unwrap_or(0).to_le_bytes();
    Message::binary([magic, &[flags], &key, &number].concat())
}

async fn dial(url: &str) -> WebSocketStream<TcpStream> {
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

/// The next binary message.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Vec<u8> {
    loop {
        match soon(socket.next()).await.unwrap().unwrap() {
            Message::Binary(bytes) => return bytes.to_vec(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_of_the_base_profile_is_served_and_resumes() {
    let (listener, url) = listen().await;
    let mut sessions = StableListener::<Raw>::new(listener);
    let accept = tokio::spawn(async move { (sessions.accept().await.unwrap(), sessions) });

    let mut socket = dial(&url).await;
    socket.send(hello(b"ROCH", 0, [0; 16], None)).await.unwrap();
    let answer = next(&mut socket).await;
    assert_eq!((answer.len(), &answer[..5]), (25, &b"ROSH\0"[..]));
    socket.send(Message::binary(&b"\x00\x00one"[..])).await.unwrap();
    socket.send(Message::binary(&b"\x01\x00two"[..])).await.unwrap();
    let (conduit, _sessions) = soon(accept).await.unwrap();
    let (tx, mut rx) = conduit.split();
    for expected in ["one", "two"] {
        let item = soon(rx.recv()).await.unwrap().unwrap();
        assert_eq!(*item.get(), expected.as_bytes());
    }
    // It carries an acknowledgement of both.
    tx.send(&&b"answer"[..]).await.unwrap();
    assert_eq!(next(&mut socket).await, b"\x00\x01\x01answer");
    drop(socket);

    let mut socket = dial(&url).await;
    let key = answer[5..21].try_into().unwrap();
    socket.send(hello(b"ROCH", 1, key, None)).await.unwrap();
    let answer = next(&mut socket).await;
    assert_eq!((&answer[..5], &answer[21..]), (&b"ROSH\x02"[..], &1_u32.to_le_bytes()[..]));
    // What the first link carried was not acknowledged, so it comes again.
    assert_eq!(next(&mut socket).await, b"\x00\x01\x01answer");
    socket.send(Message::binary(&b"\x02\x01\x00three"[..])).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap().get(), b"three");
}

#[tokio::test]
async fn a_server_of_the_base_profile_is_called_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let accept = async || {
            let (stream, _) = soon(listener.accept()).await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let mut socket = accept().await;
        let asked = next(&mut socket).await;
        assert_eq!((asked.len(), &asked[..4]), (25, &b"ROCH"[..]));
        socket.send(hello(b"ROSH", 0, KEY, None)).await.unwrap();
        assert_eq!(next(&mut socket).await, b"\x00\x00first");
        drop(socket);

        let mut socket = accept().await;
        let asked = next(&mut socket).await;
        assert_eq!((&asked[..5], &asked[5..21]), (&b"ROCH\x01"[..], &KEY[..]));
        socket.send(hello(b"ROSH", 0, KEY, Some(0))).await.unwrap();
        assert_eq!(next(&mut socket).await, b"\x01\x00second");
        socket.send(Message::binary(&b"\x00\x01\x01reply"[..])).await.unwrap();
        // The end is a close, with the code of one in good order.
        loop {
            match soon(socket.next()).await.unwrap().unwrap() {
                Message::Close(frame) => return u16::from(frame.unwrap().code),
                Message::Binary(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let conduit = soon(StableConduit::<Raw>::connect(WebSocketSource::new(url))).await.unwrap();
    let (tx, mut rx) = conduit.split();
    tx.send(&&b"first"[..]).await.unwrap();
    tx.send(&&b"second"[..]).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap().get(), b"reply");
    soon(tx.close()).await.unwrap();
    assert_eq!(soon(server).await.unwrap(), 1000);
}

#[tokio::test]
async fn a_peer_that_pings_an_idle_conduit_hears_from_it() {
    let (listener, url) = listen().await;
    let mut sessions = StableListener::<Raw>::new(listener);
    let accept = tokio::spawn(async move { (sessions.accept().await.unwrap(), sessions) });
    let mut socket = dial(&url).await;
    socket.send(hello(b"ROCH", 0, [0; 16], None)).await.unwrap();
    next(&mut socket).await;
    let _held = soon(accept).await.unwrap();
    for n in 0..10_u8 {
        socket.send(Message::Ping(vec![n].into())).await.unwrap();
        let pong = soon(socket.next()).await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(vec![n].into()));
    }
}

#[tokio::test]
async fn links_and_tungstenite_understand_each_others_frames_and_closes() {
    let (mut listener, url) = listen().await;
    let accept = tokio::spawn(async move { listener.accept().await.unwrap().await.unwrap() });
    let mut socket = dial(&url).await;
    let (mut tx, mut rx) = soon(accept).await.unwrap().split();
    for bytes in [0_usize, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let payload: Vec<u8> = (0..bytes).map(|n| n.to_le_bytes()[0]).collect();
        let send = async {
            socket.send(Message::binary(payload.clone())).await.unwrap();
            next(&mut socket).await
        };
        let echo = async {
            let received = rx.recv().await.unwrap().unwrap();
            tx.send(&received[..bytes.min(9)], received.slice(bytes.min(9)..)).await.unwrap();
            tx.flush().await.unwrap();
        };
        let (echoed, ()) = soon(async { tokio::join!(send, echo) }).await;
        assert!(echoed == payload, "{bytes} bytes");
    }
    tx.close().await.unwrap();
    let Message::Close(Some(frame)) = soon(socket.next()).await.unwrap().unwrap() else { panic!() };
    assert_eq!(u16::from(frame.code), 1000);
    // Tungstenite's answer is in its buffer until it is driven on.
    let drive = async { while socket.next().await.is_some() {} };
    let received = soon(async {
        tokio::select! { received = rx.recv() => received, () = drive => panic!() }
    });
    assert_eq!(received.await.unwrap(), None);
}

#[tokio::test]
async fn a_websocket_stream_that_was_just_accepted_becomes_a_link() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accept = async {
        let (stream, peer) = listener.accept().await.unwrap();
        let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let config = WebSocketConfig::default();
        WebSocketLink::from_upgraded(socket.into_inner(), Side::Server, Peer::at(peer), &config)
    };
    let dial = async {
        let stream =
            TcpStream::connect(url.trim_start_matches("ws://").trim_end_matches('/')).await;
        let config = WebSocketConfig::default();
        WebSocketLink::connect(stream.unwrap(), &url, Peer::default(), &config).await.unwrap()
    };
    let (accepted, dialled) = soon(async { tokio::join!(accept, dial) }).await;
    let ((mut tx, _rx), (_tx, mut rx)) = (dialled.split(), accepted.split());
    tx.send(b"head", bytes::Bytes::from_static(b"body")).await.unwrap();
    tx.close().await.unwrap();
    assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "headbody");
    assert_eq!(soon(rx.recv()).await.unwrap(), None);
}
