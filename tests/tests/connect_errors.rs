//! What a program is told when its peer cannot be reached, and whether it will be tried again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::time::Duration;

use rejoin_tcp::{ConnectError, StableConduit, StableConfig, TcpError, TcpSource};
use tokio::net::TcpListener;

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

#[tokio::test]
async fn a_peer_that_accepts_and_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = StableConfig::default();
    config.handshake_deadline = Duration::from_millis(50);
    config.redial.connect_limit = Duration::from_millis(100);
    let source = TcpSource::new(silent.local_addr().unwrap());
    let error = StableConduit::<String>::connect_with(source, config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
    assert!(error.source().unwrap().to_string().contains("no answer to the hello"), "{error:?}");
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
