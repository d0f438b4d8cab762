//! The way to a link: URLs, headers, subprotocols, paths, HTTP statuses, deadlines, and what either
//! side says of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::time::Duration;

use rejoin_websocket::http::{HeaderName, HeaderValue, Request, StatusCode};
use rejoin_websocket::{
    Link, LinkListener, LinkSource, UpgradeRefused, WebSocketConfig, WebSocketError,
    WebSocketLinkListener, WebSocketSource, upgrade_response, websocket_link_channel,
};
use support::{dial_and_accept, listen, poll_once, soon, websocket_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn fails(source: &mut WebSocketSource) -> io::Error {
    soon(source.next_link()).await.map(|_| ()).unwrap_err()
}

/// The text up to the end of the head, read from `stream`.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server that reads one request and gives `answer` to it, whatever it is: its URL, and the request.
async fn answering(answer: &str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/path?query", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (url, request)
}

#[tokio::test]
async fn statuses_are_told_and_say_whether_to_try_again() {
    for (status, fatal, kind) in [
        (301, true, io::ErrorKind::ConnectionRefused),
        (400, true, io::ErrorKind::ConnectionRefused),
        (401, true, io::ErrorKind::PermissionDenied),
        (403, true, io::ErrorKind::PermissionDenied),
        (404, true, io::ErrorKind::NotFound),
        (408, false, io::ErrorKind::ConnectionRefused),
        (425, false, io::ErrorKind::ConnectionRefused),
        (426, true, io::ErrorKind::ConnectionRefused),
        (429, false, io::ErrorKind::ConnectionRefused),
        (500, false, io::ErrorKind::ConnectionRefused),
        (503, false, io::ErrorKind::ConnectionRefused),
        (200, true, io::ErrorKind::ConnectionRefused),
    ] {
        let answer = format!("HTTP/1.1 {status} Whatever\r\nLocation: /other\r\n\r\nbody");
        let (url, _request) = answering(&answer).await;
        let mut source = WebSocketSource::new(&url);
        let error = fails(&mut source).await;
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(websocket_error(&error).http_status(), Some(status));
        assert_eq!((source.is_fatal(&error), error.kind()), (fatal, kind), "{error}");
    }
}

#[tokio::test]
async fn the_request_is_what_was_asked_for() {
    let (url, request) = answering("HTTP/1.1 500 No\r\n\r\n").await;
    let config = WebSocketConfig { subprotocol: Some("v1.rejoin".into()), ..Default::default() };
    let mut source = WebSocketSource::new(&url)
        .with_config(config)
        .with_header(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer x"))
        .with_header(HeaderName::from_static("host"), HeaderValue::from_static("virtual.example"));
    fails(&mut source).await;
    let request = request.await.unwrap();
    assert!(request.starts_with("GET /path?query HTTP/1.1\r\n"), "{request}");
    for line in ["Host: virtual.example", "authorization: Bearer x", "Sec-WebSocket-Version: 13"] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "no {line} in {request}");
    }
    assert!(request.contains("\r\nSec-WebSocket-Protocol: v1.rejoin\r\n"), "{request}");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_fatal() {
    let fatal = async |mut source: WebSocketSource| {
        let error = fails(&mut source).await;
        assert!(source.is_fatal(&error), "{error}");
        error
    };
    let error = fatal(WebSocketSource::new("http://localhost/\n")).await;
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(matches!(websocket_error(&error), WebSocketError::InvalidUrl { .. }), "{error}");
    assert!(error.to_string().starts_with("`http://localhost/\\n` is not"), "{error}");

    for name in ["connection", "upgrade", "sec-websocket-key", "sec-websocket-protocol"] {
        let name = HeaderName::from_static(name);
        let source = WebSocketSource::new("ws://localhost/");
        let error = fatal(source.with_header(name, HeaderValue::from_static("x"))).await;
        assert!(matches!(websocket_error(&error), WebSocketError::InvalidHeader { .. }));
    }
    for subprotocol in ["", "a b", "a,b", "ä", "a\n"] {
        let config =
            WebSocketConfig { subprotocol: Some(subprotocol.into()), ..Default::default() };
        let error = fatal(WebSocketSource::new("ws://localhost/").with_config(config)).await;
        assert!(matches!(websocket_error(&error), WebSocketError::InvalidHeader { .. }));
    }
    #[cfg(not(feature = "tls"))]
    {
        let error = fatal(WebSocketSource::new("wss://localhost/")).await;
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(matches!(websocket_error(&error), WebSocketError::TlsUnavailable { .. }));
    }
}

#[tokio::test]
async fn both_sides_name_the_same_subprotocol_or_there_is_no_link() {
    let config = |name: Option<&str>| WebSocketConfig {
        subprotocol: name.map(Into::into),
        ..WebSocketConfig::default()
    };
    for (client, server, agreed) in [
        (None, None, true),
        (Some("one"), Some("one"), true),
        (Some("one"), Some("two"), false),
        (None, Some("one"), false),
    ] {
        let (listener, url) = listen().await;
        let mut listener = listener.with_config(config(server));
        let mut source = WebSocketSource::new(url).with_config(config(client));
        let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
        assert_eq!((dialled.is_ok(), accepted.is_ok()), (agreed, agreed), "{client:?} {server:?}");
        if !agreed {
            let error = dialled.unwrap_err();
            assert_eq!(websocket_error(&error).http_status(), Some(StatusCode::BAD_REQUEST));
            assert!(source.is_fatal(&error));
            let error = accepted.unwrap_err();
            let WebSocketError::Refused { source, .. } = websocket_error(&error) else { panic!() };
            assert_eq!(*source, UpgradeRefused::Subprotocol);
        }
    }
    // A server that selects none, or another one.
    let (listener, url) = listen().await;
    let mut listener = listener.with_config(config(None));
    let mut source = WebSocketSource::new(url).with_config(config(Some("one")));
    let (dialled, _) = dial_and_accept(&mut source, &mut listener).await;
    let error = dialled.unwrap_err();
    assert!(matches!(websocket_error(&error), WebSocketError::Subprotocol { .. }), "{error}");
    assert!(source.is_fatal(&error) && error.kind() == io::ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_server_selects_from_several_offers() {
    let config = WebSocketConfig { subprotocol: Some("two".into()), ..Default::default() };
    let request = |offer: &str| {
        Request::get("/")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", offer)
            .body("whatever")
            .unwrap()
    };
    let response = upgrade_response(&request("one, two,three"), &config).unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-protocol"], "two");
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let refused = upgrade_response(&request("one, twofold"), &config).unwrap_err();
    assert_eq!(refused, UpgradeRefused::Subprotocol);
    let mut wrong = request("two");
    wrong.headers_mut().remove("upgrade");
    assert_eq!(upgrade_response(&wrong, &config).unwrap_err(), UpgradeRefused::NotAnUpgrade);
}

/// What a listener answers to `request`, and what it says of it itself.
async fn answer_to(request: &str) -> (String, Option<io::Error>) {
    let (listener, url) = listen().await;
    let mut listener = listener.with_path("/links");
    let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let error = soon(async { listener.accept().await.unwrap().await }).await.err();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    (answer, error)
}

#[tokio::test]
async fn who_asks_for_something_else_gets_an_answer() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (request, status, refused) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 426, UpgradeRefused::NotAnUpgrade),
        ("POST /links HTTP/1.1\r\nHost: x\r\n\r\n".into(), 426, UpgradeRefused::NotAnUpgrade),
        ("nonsense\r\n\r\n".into(), 426, UpgradeRefused::NotAnUpgrade),
        (format!("GET /other HTTP/1.1\r\n{upgrade}"), 404, UpgradeRefused::Path),
    ] {
        let (answer, error) = answer_to(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\nconnection: close"), "{answer}");
        let error = error.unwrap();
        let WebSocketError::Refused { source, .. } = websocket_error(&error) else {
            panic!("{error}")
        };
        assert_eq!(*source, refused, "{request}");
    }
    let (answer, error) = answer_to(&format!("GET /links?query HTTP/1.1\r\n{upgrade}")).await;
    assert!(error.is_none() && answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn a_long_head_is_refused_by_either_side() {
    let config = WebSocketConfig { head_bytes_max: 500, ..WebSocketConfig::default() };
    let (listener, url) = listen().await;
    let mut listener = listener.with_config(config.clone());
    let long = HeaderValue::from_str(&"x".repeat(600)).unwrap();
    let mut source = WebSocketSource::new(url).with_header(HeaderName::from_static("x"), long);
    let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
    let error = accepted.unwrap_err();
    let WebSocketError::HeadTooLong { bytes_max: 500, .. } = websocket_error(&error) else {
        panic!("{error}");
    };
    // The answer arrives although much of the request was not read.
    let refused = dialled.unwrap_err();
    assert_eq!(websocket_error(&refused).http_status().map(|s| s.as_u16()), Some(431), "{refused}");
    assert!(source.is_fatal(&refused), "its headers stay as long as they are");

    let (url, _) = answering(&format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(600))).await;
    let mut source = WebSocketSource::new(url).with_config(config);
    let error = fails(&mut source).await;
    assert!(matches!(websocket_error(&error), WebSocketError::HeadTooLong { .. }), "{error}");
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn a_server_of_something_else_is_transient() {
    for answer in ["SSH-2.0-server\r\n\r\n", "", "HTTP/1.1 101 Fine\r\n\r\n"] {
        let (url, _) = answering(answer).await;
        let mut source = WebSocketSource::new(url);
        let error = fails(&mut source).await;
        assert!(matches!(websocket_error(&error), WebSocketError::Handshake { .. }), "{error:?}");
        assert!(!source.is_fatal(&error));
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_holds_up_nobody() {
    let handshake_timeout = Duration::from_millis(50);
    let config = WebSocketConfig { handshake_timeout, ..WebSocketConfig::default() };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    let mut source = WebSocketSource::new(url).with_config(config.clone());
    let error = fails(&mut source).await;
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(matches!(websocket_error(&error), WebSocketError::HandshakeTimeout { .. }), "{error}");
    assert!(!source.is_fatal(&error));

    let (listener, url) = listen().await;
    let mut listener = listener.with_config(config);
    let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut slow = listener.accept().await.unwrap();
    assert!(poll_once(&mut slow).await.is_none());
    let (dialled, accepted) = dial_and_accept(&mut WebSocketSource::new(url), &mut listener).await;
    assert_eq!(dialled.unwrap().peer().address().is_some(), accepted.is_ok());
    assert_eq!(soon(slow).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_are_transient() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut source = WebSocketSource::new(format!("ws://{address}/"));
    let error = fails(&mut source).await;
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), format!("no connection to {address}"));
    assert!(!source.is_fatal(&error));

    let mut source = WebSocketSource::new("ws://host.invalid/");
    let error = fails(&mut source).await;
    assert!(matches!(websocket_error(&error), WebSocketError::Resolve { .. }), "{error:?}");
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn a_listener_says_why_it_cannot_bind_and_loses_nobody_when_dropped() {
    let (mut listener, url) = listen().await;
    let address = listener.local_addr().unwrap();
    let error = WebSocketLinkListener::bind(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), format!("no listener could be bound to {address}"));
    {
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(&mut accept).await.is_none());
    }
    let (dialled, accepted) = dial_and_accept(&mut WebSocketSource::new(url), &mut listener).await;
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn a_channel_of_links_is_bounded_and_tells_when_either_side_is_gone() {
    use rejoin_websocket::{OfferError, is_fatal_kind};
    let (links, mut listener) = websocket_link_channel(1);
    let failing = || async { Err(io::Error::other("the upgrade failed")) };
    links.offer(failing()).unwrap();
    assert_eq!(links.offer(failing()), Err(OfferError::Full));
    let upgrade = listener.accept().await.unwrap();
    assert_eq!(upgrade.await.unwrap_err().to_string(), "the upgrade failed");
    links.clone().offer(failing()).unwrap();
    drop(links);
    listener.accept().await.unwrap();
    assert!(is_fatal_kind(&listener.accept().await.unwrap_err()));

    let (links, listener) = websocket_link_channel(0);
    drop(listener);
    assert_eq!(links.offer(failing()), Err(OfferError::Closed));
}
