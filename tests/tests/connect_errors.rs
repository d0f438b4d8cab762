//! What a program is told when its peer cannot be reached, and whether it will be tried again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::time::Duration;

use rejoin_tcp::{
    ConnectError, DialHandshakeError, StableConduit, StableConfig, StreamRecvError, TcpError,
    TcpSource,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The error of connecting to `address`, which is tried for about 100 ms.
async fn error_of(address: &str) -> ConnectError {
    let mut config = StableConfig::default();
    config.redial.backoff_min = Duration::from_millis(10);
    config.redial.connect_limit = Duration::from_millis(100);
    StableConduit::<String>::connect_with(TcpSource::new(address), config).await.unwrap_err()
}

/// What the transport said.
fn tcp_error(error: &ConnectError) -> &TcpError {
    let io = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    io.get_ref().unwrap().downcast_ref::<TcpError>().unwrap()
}

#[tokio::test]
async fn a_wrong_address_is_fatal_at_once() {
    for address in ["nowhere", "127.0.0.1", "127.0.0.1:99999", "host:0", "http://host:80", ""] {
        let error = error_of(address).await;
        assert!(matches!(error, ConnectError::Fatal(_)), "{address}: {error:?}");
        assert!(!error.is_transient());
        assert!(matches!(tcp_error(&error), TcpError::InvalidAddress { .. }), "{error:?}");
        assert!(error.to_string().contains("trying again would not help"), "{error}");
        assert!(tcp_error(&error).to_string().contains(address));
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_until_the_limit() {
    // Bound and never listened on, so that nobody else gets the port meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();

    let error = error_of(&address).await;
    assert!(matches!(error, ConnectError::Unreachable { attempts: 2.., .. }), "{error:?}");
    assert!(error.is_transient());
    assert!(error.to_string().contains("a later attempt may succeed"), "{error}");
    let TcpError::Connect { source, .. } = tcp_error(&error) else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(tcp_error(&error).to_string().contains(&address));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_tried_again_until_the_limit() {
    let error = error_of("no-such-host.invalid:7000").await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
    assert!(matches!(tcp_error(&error), TcpError::Resolve { .. }), "{error:?}");
    assert!(tcp_error(&error).to_string().contains("no-such-host.invalid:7000"));
}

/// The error of connecting, once and within `deadline`, to a server that does `serve` with each
/// connection after it has read the hello; and the server's address.
async fn error_of_calling<F: Future<Output = ()> + Send>(
    deadline: Duration,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (ConnectError, String) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = server.accept().await.unwrap();
            // A length of four bytes, and the hello, unless the client has given up before.
            let _ = stream.read_exact(&mut [0; 29]).await;
            serve(stream).await;
        }
    });
    let mut config = StableConfig::default();
    config.handshake_deadline = deadline;
    config.redial.attempts_max = Some(1);
    let connecting = StableConduit::<String>::connect_with(TcpSource::new(address), config);
    let error = connecting.await.unwrap_err();
    serving.abort();
    assert!(matches!(error, ConnectError::Unreachable { attempts: 1, .. }), "{error:?}");
    assert!(error.is_transient());
    (error, address.to_string())
}

/// What went wrong in the handshake, and the kind of the error around it.
fn handshake_error(error: &ConnectError) -> (&DialHandshakeError, std::io::ErrorKind) {
    let io = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    (io.get_ref().unwrap().downcast_ref().unwrap(), io.kind())
}

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_server_of_another_protocol_is_called_one() {
    let (error, address) = error_of_calling(NEVER, |mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let (handshake, kind) = handshake_error(&error);
    assert_eq!(kind, std::io::ErrorKind::InvalidData);
    assert_eq!(
        handshake.to_string(),
        format!("the peer at {address} does not speak this protocol")
    );
    let DialHandshakeError::NotThisProtocol { source, .. } = handshake else { panic!("{error:?}") };
    let cause = source.get_ref().unwrap().downcast_ref::<StreamRecvError>();
    assert!(matches!(cause, Some(StreamRecvError::PayloadTooLarge { .. })), "{error:?}");
    // Each level says its own.
    assert_eq!(error.source().unwrap().source().unwrap().to_string(), source.to_string());
}

#[tokio::test]
async fn a_payload_that_is_no_hello_is_another_protocol() {
    let (error, _) = error_of_calling(NEVER, |mut stream| async move {
        stream.write_all(&[2, 0, 0, 0, b'h', b'i']).await.unwrap();
    })
    .await;
    let (handshake, kind) = handshake_error(&error);
    assert_eq!(kind, std::io::ErrorKind::InvalidData);
    let DialHandshakeError::NotThisProtocol { source, .. } = handshake else { panic!("{error:?}") };
    let cause = source.get_ref().unwrap().downcast_ref::<rejoin_tcp::protocol::HelloError>();
    assert!(cause.is_some(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let deadline = Duration::from_millis(50);
    let (error, address) = error_of_calling(deadline, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (handshake, kind) = handshake_error(&error);
    assert_eq!(kind, std::io::ErrorKind::TimedOut);
    assert!(matches!(handshake, DialHandshakeError::NoAnswer { .. }), "{error:?}");
    assert_eq!(
        handshake.to_string(),
        format!("the peer at {address} did not answer the hello within 50ms")
    );
}

#[tokio::test]
async fn a_server_that_hangs_up_is_told_from_a_link_that_fails() {
    let (error, address) = error_of_calling(NEVER, |stream| async move { drop(stream) }).await;
    let (handshake, kind) = handshake_error(&error);
    assert_eq!(kind, std::io::ErrorKind::UnexpectedEof);
    assert!(matches!(handshake, DialHandshakeError::Closed { .. }), "{error:?}");
    assert_eq!(
        handshake.to_string(),
        format!("the peer at {address} closed the link during the handshake")
    );

    let (error, address) = error_of_calling(NEVER, |stream| async move {
        stream.set_zero_linger().unwrap();
    })
    .await;
    let (handshake, kind) = handshake_error(&error);
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    assert!(matches!(handshake, DialHandshakeError::LinkFailed { .. }), "{error:?}");
    assert_eq!(handshake.to_string(), format!("the link to {address} failed during the handshake"));
}

#[tokio::test]
async fn a_server_that_is_started_late_is_found() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let source = TcpSource::new(socket.local_addr().unwrap());
    let mut config = StableConfig::default();
    config.redial.backoff_min = Duration::from_millis(1);
    config.redial.backoff_max = Duration::from_millis(10);
    let connecting = tokio::spawn(StableConduit::<String>::connect_with(source, config));
    // Refused for as long as it takes this task to come back.
    tokio::task::yield_now().await;
    let listener = rejoin_tcp::TcpLinkListener::from_tokio(socket.listen(16).unwrap());
    let mut sessions = rejoin_tcp::StableListener::<String>::new(listener);
    let (connected, accepted) = tokio::join!(connecting, sessions.accept());
    accepted.unwrap();
    connected.unwrap().unwrap();
}
