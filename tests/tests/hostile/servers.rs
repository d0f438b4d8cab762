//! Hostile peers that are called, instead of calling.

use std::time::Duration;

use rejoin_tcp::protocol::{LossReason, RejectReason};
use rejoin_tcp::{
    ConnectError, DialHandshakeError, StableConduit, StableConfig, Status, TcpSource,
};
use rejoin_tests::scripted::{prefixed, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::soon;

/// Takes a call and reads the hello.
async fn answer(listener: &TcpListener, answer: &[u8]) -> (TcpStream, [u8; 29]) {
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut hello = [0; 29];
    soon(stream.read_exact(&mut hello)).await.unwrap();
    stream.write_all(&prefixed(answer)).await.unwrap();
    (stream, hello)
}

fn server_hello(flags: u8, number: u32) -> Vec<u8> {
    [b"ROSH".as_slice(), &[flags], &[7; 16], &number.to_le_bytes()].concat()
}

fn impatient() -> StableConfig {
    let mut config = StableConfig::default();
    config.redial.connect_limit = Duration::from_millis(500);
    config.redial.backoff_max = Duration::from_millis(10);
    config.redial.backoff_min = Duration::from_millis(10);
    config.handshake_deadline = Duration::from_millis(100);
    config
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_failed_attempt() {
    for bad in [server_hello(0x80, 0)[..24].to_vec(), b"ROCH".repeat(7)[..25].to_vec()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = TcpSource::new(listener.local_addr().unwrap());
        let connecting = StableConduit::<String>::connect_with(source, impatient());
        let error = tokio::select! {
            result = soon(connecting) => result.unwrap_err(),
            () = async { loop { drop(answer(&listener, &bad).await); } } => unreachable!(),
        };
        let ConnectError::Unreachable { attempts, source } = error else { panic!("{error}") };
        assert!(attempts > 1, "{attempts}");
        let cause = source.get_ref().and_then(|cause| cause.downcast_ref());
        assert!(matches!(cause, Some(DialHandshakeError::NotThisProtocol { .. })), "{source}");
    }
}

#[tokio::test]
async fn an_answer_with_a_position_that_cannot_be_is_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = TcpSource::new(listener.local_addr().unwrap());
    let connecting = StableConduit::<String>::connect_with(source, impatient());
    let hello = server_hello(0x82, 5);
    let (result, _) = tokio::join!(soon(connecting), answer(&listener, &hello));
    let Err(ConnectError::Refused(reason)) = result else { panic!("{result:?}") };
    assert!(matches!(reason, LossReason::PositionOutOfRange { received: 6, .. }), "{reason}");
}

#[tokio::test]
async fn a_server_that_forgets_everything_loses_the_session_and_nothing_silently() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = TcpSource::new(listener.local_addr().unwrap());
    let connecting = StableConduit::<String>::connect_with(source, impatient());
    let hello = server_hello(0x80, 0);
    let (conduit, (mut stream, _)) = tokio::join!(soon(connecting), answer(&listener, &hello));
    stream.write_all(&prefixed(&settings(1 << 20))).await.unwrap();
    let (tx, _rx) = conduit.unwrap().split();
    tx.send(&"x".to_owned()).await.unwrap();
    drop(stream);
    answer(&listener, &server_hello(0x81, 1)).await;
    let mut status = tx.status();
    let end = soon(status.wait_for(Status::is_final)).await.unwrap().clone();
    let Status::Lost(reason) = end else { panic!("{end:?}") };
    assert_eq!(reason, LossReason::Rejected(RejectReason::UnknownKey));
    assert_eq!(tx.take_unacknowledged().len(), 1);
}

#[tokio::test]
async fn a_server_that_changes_the_profile_loses_the_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = TcpSource::new(listener.local_addr().unwrap());
    let connecting = StableConduit::<String>::connect_with(source, impatient());
    let hello = server_hello(0x80, 0);
    let (conduit, (mut stream, _)) = tokio::join!(soon(connecting), answer(&listener, &hello));
    stream.write_all(&prefixed(&settings(1 << 20))).await.unwrap();
    let (tx, _rx) = conduit.unwrap().split();
    drop(stream);
    answer(&listener, &server_hello(0x00, 0)).await;
    let mut status = tx.status();
    let end = soon(status.wait_for(Status::is_final)).await.unwrap().clone();
    assert!(matches!(end, Status::Lost(LossReason::ProfileChanged)), "{end:?}");
}
