//! What a peer may say, and what it is told when it says something else: pings, closes, parts, text,
//! damage, announcements over the limit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;

use bytes::Bytes;
use rejoin_websocket::{LinkRx, LinkTx, Side, WebSocketConfig, WebSocketRecvError};
use support::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, head, poll_once, scripted, soon,
};

#[tokio::test]
async fn a_ping_on_an_idle_link_is_answered() {
    for side in [Side::Client, Side::Server] {
        let (mut peer, (tx, mut rx)) = scripted(side, 1000, &WebSocketConfig::default());
        // The sending half has a task of its own, which does nothing at all.
        let idle = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(tx);
        });
        let receiving = tokio::spawn(async move { rx.recv().await });
        for n in 0..20_u8 {
            let payload = vec![n; usize::from(n) * 6];
            peer.send(FIN | PING, &payload).await;
            assert_eq!(peer.recv().await, (FIN | PONG, payload));
        }
        peer.send(FIN | BINARY, b"message").await;
        assert_eq!(soon(receiving).await.unwrap().unwrap().unwrap(), "message");
        idle.abort();
    }
}

#[tokio::test]
async fn an_answer_does_not_stay_in_a_buffer_of_the_stream() {
    use rejoin_websocket::{Link, Peer, WebSocketLink};
    let (near, far) = tokio::io::duplex(1000);
    let far = tokio::io::BufStream::new(far);
    let config = WebSocketConfig::default();
    let (_tx, mut rx) =
        WebSocketLink::from_upgraded(far, Side::Server, Peer::default(), &config).split();
    let mut peer = support::Scripted::new(near, Side::Client);
    let receiving = tokio::spawn(async move { rx.recv().await });
    peer.send(FIN | PING, b"ping").await;
    assert_eq!(peer.recv().await, (FIN | PONG, b"ping".to_vec()));
    peer.send(FIN | TEXT, b"text").await;
    assert_eq!(peer.recv_close().await, 1003);
    assert!(soon(receiving).await.unwrap().is_err());
}

#[tokio::test]
async fn a_ping_over_tcp_is_answered_while_both_tasks_wait() {
    use rejoin_websocket::{Link, LinkListener};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut listener, url) = support::listen().await;
    let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let mut raw = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // The ping comes with the request, before the upgrade is granted.
    let ping =
        [&head(FIN | PING, 4, true)[..], &[0x11 ^ b'p', 0x22 ^ b'i', 0x33 ^ b'n', 0x44 ^ b'g']];
    raw.write_all(&[request.as_bytes(), &ping.concat()].concat()).await.unwrap();
    let link = soon(async { listener.accept().await.unwrap().await }).await.unwrap();
    let (_tx, mut rx) = link.split();
    let _receiving = tokio::spawn(async move { rx.recv().await });
    let mut answer = vec![0; 1000];
    let mut len = 0;
    while !answer[..len].ends_with(&[FIN | PONG, 4, b'p', b'i', b'n', b'g']) {
        let count = soon(raw.read(&mut answer[len..])).await.unwrap();
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&answer[..len]));
        len += count;
    }
    let head = String::from_utf8_lossy(&answer[..len]).into_owned();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // RFC 6455, section 1.3.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}

#[tokio::test]
async fn a_ping_that_comes_while_the_sending_half_waits_is_answered_behind_its_message() {
    let (mut peer, (mut tx, mut rx)) = scripted(Side::Client, 64, &WebSocketConfig::default());
    let mut sending = Box::pin(async {
        tx.send(&[], Bytes::from(vec![1; 100_000])).await?;
        tx.flush().await
    });
    assert!(poll_once(&mut sending).await.is_none());
    peer.send(FIN | PING, b"first").await;
    let mut receiving = Box::pin(rx.recv());
    assert!(poll_once(&mut receiving).await.is_none());
    peer.send(FIN | PING, b"latest").await;
    assert!(poll_once(&mut receiving).await.is_none());
    let read = async { (peer.recv().await, peer.recv().await) };
    let (sent, (message, pong)) = soon(async { tokio::join!(sending, read) }).await;
    sent.unwrap();
    assert_eq!(message, (FIN | BINARY, vec![1; 100_000]));
    assert_eq!(pong, (FIN | PONG, b"latest".to_vec()));
}

#[tokio::test]
async fn a_flood_of_pings_takes_no_memory_and_stops_nothing() {
    let (mut peer, (_tx, mut rx)) = scripted(Side::Client, 1 << 20, &WebSocketConfig::default());
    // The peer reads none of the answers, for which there is not enough room.
    let pings = peer.frame(FIN | PING, &[7; 125]).repeat(8000);
    let (mut near, far) = (peer.frame(FIN | BINARY, b"behind"), pings);
    let mut all = far.clone();
    all.append(&mut near);
    let write = async { peer.send_raw(&all).await };
    let ((), received) = soon(async { tokio::join!(write, rx.recv()) }).await;
    assert_eq!(received.unwrap().unwrap(), "behind");
}

/// The peer says something after each ping, so that the link looks at each ping for itself, and reads
/// nothing until it has sent them all.
#[tokio::test]
async fn pings_one_by_one_of_a_peer_that_does_not_read_take_no_memory() {
    const PINGS: usize = 2000;
    let (mut peer, (_tx, mut rx)) = scripted(Side::Client, 300, &WebSocketConfig::default());
    let mut receiving = Box::pin(rx.recv());
    for n in 0..PINGS {
        peer.send(FIN | PING, &n.to_be_bytes()).await;
        assert!(poll_once(&mut receiving).await.is_none());
    }
    let answers = async {
        let mut count = 0;
        loop {
            let (first, payload) = peer.recv().await;
            assert_eq!(first, FIN | PONG);
            count += 1;
            if payload == (PINGS - 1).to_be_bytes() {
                break count;
            }
        }
    };
    let count = tokio::select! {
        count = answers => count,
        received = receiving => panic!("{received:?}"),
    };
    // Those that fit between the two, one that is half written, and the latest.
    assert!(count < 40, "{count} answers were kept");
}

#[tokio::test]
async fn a_message_may_come_in_parts_with_control_frames_between_them() {
    let (mut peer, (_tx, mut rx)) = scripted(Side::Client, 10_000, &WebSocketConfig::default());
    peer.send(BINARY, b"one ").await;
    peer.send(FIN | PING, b"?").await;
    peer.send(CONTINUATION, b"").await;
    peer.send(CONTINUATION, b"two ").await;
    peer.send(FIN | PONG, b"!").await;
    peer.send(FIN, b"three").await;
    peer.send(FIN | BINARY, b"").await;
    assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "one two three");
    assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "");
    assert_eq!(peer.recv().await, (FIN | PONG, b"?".to_vec()));
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let (mut peer, (_tx, mut rx)) = scripted(Side::Client, 1, &WebSocketConfig::default());
    let bytes = [peer.frame(FIN | BINARY, &[3; 200]), peer.frame(FIN | BINARY, b"x")].concat();
    let write = async { peer.send_raw(&bytes).await };
    let read = async { (rx.recv().await, rx.recv().await) };
    let ((), (first, second)) = soon(async { tokio::join!(write, read) }).await;
    assert_eq!(first.unwrap().unwrap()[..], [3; 200]);
    assert_eq!(second.unwrap().unwrap(), "x");
}

/// What a link says after the peer has sent `bytes`, and the code that the peer is told.
async fn check_dead(side: Side, bytes: &[u8], expected: WebSocketRecvError, code: u16) {
    let config = WebSocketConfig { message_bytes_max: 1000, ..WebSocketConfig::default() };
    let (mut peer, (mut tx, mut rx)) = scripted(side, 10_000, &config);
    peer.send_raw(bytes).await;
    let error = soon(rx.recv()).await.unwrap_err();
    assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&expected), "{bytes:?}");
    assert_eq!(peer.recv_close().await, code, "{expected}");
    // Nothing more comes, and nothing more can be sent.
    peer.send(FIN | BINARY, b"late").await;
    assert_eq!(soon(rx.recv()).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
    tx.send(b"x", Bytes::new()).await.unwrap();
    assert_eq!(soon(tx.flush()).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn text_is_refused() {
    let text = head(FIN | TEXT, 5, true);
    check_dead(Side::Client, &text, WebSocketRecvError::Text, 1003).await;
    let part = head(TEXT, 5, false);
    check_dead(Side::Server, &part, WebSocketRecvError::Text, 1003).await;
}

#[tokio::test]
async fn an_announcement_over_the_limit_is_refused_before_the_message_comes() {
    let too_large = |bytes| WebSocketRecvError::PayloadTooLarge { bytes, bytes_max: 1000 };
    for bytes in [1001, 0xffff, u64::from(u32::MAX), u64::MAX] {
        check_dead(Side::Client, &head(FIN | BINARY, bytes, true), too_large(bytes), 1009).await;
        check_dead(Side::Server, &head(BINARY, bytes, false), too_large(bytes), 1009).await;
    }
    let parts = [head(BINARY, 600, true), vec![0; 600], head(FIN, 401, true)].concat();
    check_dead(Side::Client, &parts, too_large(1001), 1009).await;
}

#[tokio::test]
async fn what_breaks_the_protocol_is_refused() {
    let broken = |violation| WebSocketRecvError::Protocol { violation };
    let masked = |first, len| head(first, len, true);
    for (bytes, violation) in [
        (masked(FIN | 0x40 | BINARY, 1), "reserved bits without an extension"),
        (head(FIN | BINARY, 1, false), "a client's frame without a mask"),
        (masked(PING, 1), "a control frame in parts"),
        (masked(FIN | PING, 126), "a long control frame"),
        (masked(FIN, 1), "a part of no message"),
        (masked(FIN | 3, 1), "unknown opcode"),
        (masked(FIN | 11, 1), "unknown opcode"),
        ([masked(BINARY, 0), masked(FIN | BINARY, 1)].concat(), "a message within another"),
        ([masked(FIN | CLOSE, 1), vec![0]].concat(), "half a close code"),
        ([masked(FIN | CLOSE, 2), vec![0x11, 0x22]].concat(), "a close code that nobody may send"),
        (
            [masked(FIN | CLOSE, 3), vec![0x11 ^ 3, 0x22 ^ 0xe8, 0xff]].concat(),
            "a reason that is not UTF-8",
        ),
    ] {
        check_dead(Side::Client, &bytes, broken(violation), 1002).await;
    }
    let masked = head(FIN | BINARY, 1, true);
    check_dead(Side::Server, &masked, broken("a server's frame with a mask"), 1002).await;
}

#[tokio::test]
async fn the_code_of_a_close_decides_whether_it_is_one() {
    let config = WebSocketConfig::default();
    for payload in [vec![], vec![3, 0xe8], vec![3, 0xe9], [&[3, 0xe8], &b"bye"[..]].concat()] {
        let (mut peer, (_tx, mut rx)) = scripted(Side::Client, 1000, &config);
        peer.send(FIN | BINARY, b"last").await;
        peer.send(FIN | CLOSE, &payload).await;
        assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "last");
        assert_eq!(soon(rx.recv()).await.unwrap(), None, "{payload:?}");
    }
    for code in [1002_u16, 1003, 1008, 1009, 1011, 1012, 4000] {
        let (mut peer, (_tx, mut rx)) = scripted(Side::Client, 1000, &config);
        peer.send(FIN | CLOSE, &[&code.to_be_bytes(), &b"so\n"[..]].concat()).await;
        let error = soon(rx.recv()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(error.to_string(), format!("the peer closed the link with code {code}: so\\n"));
        assert_eq!(peer.recv_close().await, code);
    }
}

#[tokio::test]
async fn an_end_without_a_close_is_an_error() {
    for (bytes, received) in [(0, 0), (1, 1), (9, 9)] {
        let (mut peer, (_tx, mut rx)) = scripted(Side::Server, 1000, &WebSocketConfig::default());
        let frame = peer.frame(FIN | BINARY, b"message!");
        peer.send_raw(&frame[..bytes]).await;
        drop(peer);
        let error = soon(rx.recv()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let expected = WebSocketRecvError::EndOfStream { received };
        assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&expected));
    }
}

/// Who sets no limit is told of a frame that cannot be, and does not compute with its length.
#[tokio::test]
async fn a_length_beyond_all_memory_is_refused_without_a_limit() {
    use rejoin_websocket::{Link, Peer, WebSocketLink};
    use tokio::io::AsyncWriteExt;
    let config = WebSocketConfig { message_bytes_max: usize::MAX, ..WebSocketConfig::default() };
    for len in [u64::MAX, u64::MAX - 20, 1 << 63, u64::MAX / 4 + 1] {
        let (mut near, far) = tokio::io::duplex(1000);
        let link = WebSocketLink::from_upgraded(far, Side::Client, Peer::default(), &config);
        let (_tx, mut rx) = link.split();
        near.write_all(&[&[0x82, 127][..], &len.to_be_bytes(), b"a little"].concat())
            .await
            .unwrap();
        let error = soon(rx.recv()).await.unwrap_err();
        let cause = error.get_ref().and_then(|error| error.downcast_ref());
        assert!(matches!(cause, Some(WebSocketRecvError::PayloadTooLarge { .. })), "{error}");
    }
}
