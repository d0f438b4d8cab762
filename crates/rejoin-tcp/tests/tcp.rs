//! TCP links over loopback: data, ends, limits, and what dialling and accepting report.

#![allow(clippy::unwrap_used)]

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rejoin_tcp::{
    Keepalive, Link, LinkListener, LinkRx, LinkSource, LinkTx, StreamConfig, StreamSendError,
    TcpConfig, TcpError, TcpLink, TcpLinkListener, TcpLinkRx, TcpLinkTx, TcpSource,
};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

type Halves = (TcpLinkTx, TcpLinkRx);

async fn listen() -> (TcpLinkListener, String) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn dial(source: &mut TcpSource) -> io::Result<TcpLink> {
    let mut link = None;
    source.next_link().await?.map_link(|dialled| link = Some(dialled));
    Ok(link.unwrap())
}

async fn pair() -> (Halves, Halves) {
    let (mut listener, address) = listen().await;
    let dialled = dial(&mut TcpSource::new(address)).await.unwrap();
    let accepted = listener.accept().await.unwrap().await.unwrap();
    (dialled.split(), accepted.split())
}

/// A plain stream and the link at its other end.
async fn raw_pair() -> (TcpStream, Halves) {
    let (mut listener, address) = listen().await;
    let raw = TcpStream::connect(address).await.unwrap();
    (raw, listener.accept().await.unwrap().await.unwrap().split())
}

/// An address where nobody listens. The listener that had the port holds it without accepting.
async fn refused() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

fn tcp_error(error: &io::Error) -> &TcpError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_at_full_speed_at_once() {
    const COUNT: usize = 5_000;
    fn payload(n: usize) -> Bytes {
        let bytes = match n % 500 {
            0 => 200_000,
            1..20 => 20_000,
            _ => n % 97,
        };
        vec![n.to_le_bytes()[0]; bytes].into()
    }
    async fn side((mut tx, mut rx): Halves) {
        let send = tokio::spawn(async move {
            for n in 0..COUNT {
                tx.send(&[1, 2, 3], payload(n)).await.unwrap();
            }
            tx.close().await.unwrap();
        });
        for n in 0..COUNT {
            let received = rx.recv().await.unwrap().unwrap();
            assert!(received[..3] == [1, 2, 3] && received[3..] == payload(n)[..], "payload {n}");
        }
        assert_eq!(rx.recv().await.unwrap(), None);
        send.await.unwrap();
    }
    let (a, b) = pair().await;
    let (a, b) = (tokio::spawn(side(a)), tokio::spawn(side(b)));
    a.await.unwrap();
    b.await.unwrap();
}

#[tokio::test]
async fn a_fin_is_none_and_a_reset_is_an_error() {
    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    raw.write_all(b"\x01\0\0\0a\x02\0\0\0bc\0\0\0\0").await.unwrap();
    drop(raw);
    for expected in ["a", "bc", ""] {
        assert_eq!(rx.recv().await.unwrap().unwrap(), expected);
    }
    assert_eq!(rx.recv().await.unwrap(), None);

    let (raw, (_tx, mut rx)) = raw_pair().await;
    SockRef::from(&raw).set_linger(Some(Duration::ZERO)).unwrap();
    drop(raw);
    assert_eq!(rx.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    raw.write_all(b"\x09\0\0\0half").await.unwrap();
    drop(raw);
    assert_eq!(rx.recv().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn one_segment_may_carry_many_messages_and_one_message_come_in_many() {
    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    let many: Vec<u8> = (0..100_u8).flat_map(|n| [1, 0, 0, 0, n]).collect();
    raw.write_all(&many).await.unwrap();
    for n in 0..100_u8 {
        assert_eq!(rx.recv().await.unwrap().unwrap()[..], [n]);
    }
    raw.set_nodelay(true).unwrap();
    for byte in b"\x03\0\0\0xyz" {
        raw.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(rx.recv().await.unwrap().unwrap(), "xyz");
}

#[tokio::test]
async fn a_refused_connection_is_transient_and_named() {
    let (_socket, address) = refused().await;
    let mut source = TcpSource::new(&address);
    let error = dial(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(matches!(tcp_error(&error), TcpError::Connect { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("no connection to {address}"));
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn a_text_that_is_no_address_is_fatal() {
    let mut source = TcpSource::new("no\nport");
    let error = dial(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), r"`no\nport` is not an address: there is no port in it");
    assert!(source.is_fatal(&error));
}

#[tokio::test]
async fn an_unknown_name_is_transient() {
    let mut source = TcpSource::new("host.invalid:1");
    let error = dial(&mut source).await.unwrap_err();
    assert!(matches!(tcp_error(&error), TcpError::Resolve { .. }), "{error:?}");
    assert!(error.to_string().contains("host.invalid:1"));
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn an_address_that_does_not_answer_times_out() {
    // Nobody accepts: once the short queue is full, the packets of a new connection are dropped.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect_timeout = Duration::from_millis(50);
    let mut source =
        TcpSource::new(&address).with_config(TcpConfig { connect_timeout, ..TcpConfig::default() });
    let mut queued = Vec::new();
    let error = loop {
        match dial(&mut source).await {
            Ok(link) => queued.push(link),
            Err(error) => break error,
        }
        assert!(queued.len() < 10, "the queue is never full");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), format!("no connection to {address} within 50ms"));
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn several_addresses_are_tried_and_the_one_that_worked_comes_first() {
    let (_socket, dead) = refused().await;
    let (first, first_address) = listen().await;
    let (_second, second_address) = listen().await;
    let mut source =
        TcpSource::new("not an address").or(&dead).or(&first_address).or(&second_address);
    let peer = |link: TcpLink| link.peer().address().unwrap().to_owned();

    assert_eq!(peer(dial(&mut source).await.unwrap()), first_address);
    drop(first);
    assert_eq!(peer(dial(&mut source).await.unwrap()), second_address);
    let first = TcpLinkListener::bind(&first_address).await.unwrap();
    assert_eq!(peer(dial(&mut source).await.unwrap()), second_address);
    drop(first);
}

#[tokio::test]
async fn when_all_addresses_fail_each_is_named() {
    let (_socket, dead) = refused().await;
    let mut source = TcpSource::new(&dead).or("nonsense");
    let error = dial(&mut source).await.unwrap_err();
    let TcpError::AllFailed { attempts } = tcp_error(&error) else { panic!("{error:?}") };
    assert_eq!(attempts.len(), 2);
    assert!(error.to_string().contains(&dead) && error.to_string().contains("`nonsense`"));
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(!source.is_fatal(&error), "one of them may come back");
}

#[tokio::test]
async fn limits_and_options_reach_the_link() {
    let stream = StreamConfig { payload_bytes_max: 8, ..StreamConfig::default() };
    let config =
        TcpConfig { stream, keepalive: Some(Keepalive::default()), ..TcpConfig::default() };
    let (mut listener, address) = {
        let (listener, address) = listen().await;
        (listener.with_config(config.clone()), address)
    };
    let raw = TcpStream::connect(address).await.unwrap();
    let (mut tx, _rx) = listener.accept().await.unwrap().await.unwrap().split();
    let error = tx.send(b"head", Bytes::from_static(b"body!")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let inner = error.get_ref().unwrap().downcast_ref();
    assert_eq!(inner, Some(&StreamSendError::PayloadTooLarge { bytes: 9, bytes_max: 8 }));

    // The link owns its socket, so a second handle to the other one shows the options.
    let twin = TcpStream::from_std(SockRef::from(&raw).try_clone().unwrap().into()).unwrap();
    let (mut tx_of_raw, _) = TcpLink::from_stream(raw, &config).unwrap().split();
    assert!(twin.nodelay().unwrap());
    assert!(SockRef::from(&twin).keepalive().unwrap());
    assert_eq!(tx_of_raw.payload_bytes_max(), 8);
    tx_of_raw.flush().await.unwrap();
}

#[tokio::test]
async fn an_announced_payload_over_the_limit_is_an_error() {
    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    raw.write_all(&[0xff; 4]).await.unwrap();
    assert_eq!(rx.recv().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_listener_can_come_from_elsewhere_and_tells_why_it_cannot_bind() {
    let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = std.local_addr().unwrap();
    let mut listener = TcpLinkListener::from_std(std).unwrap();
    let link = dial(&mut TcpSource::new(address)).await.unwrap();
    assert_eq!(link.peer().address(), Some(&*address.to_string()));
    listener.accept().await.unwrap().await.unwrap();

    let error = TcpLinkListener::bind(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), format!("no listener could be bound to {address}"));
    let tokio = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(TcpLinkListener::from_tokio(tokio).local_addr().unwrap().port() > 0);
}

#[tokio::test]
async fn a_dropped_accept_loses_nobody() {
    let (mut listener, address) = listen().await;
    {
        let mut accept = Box::pin(listener.accept());
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx)));
        assert!(poll.await.is_pending());
    }
    let _raw = TcpStream::connect(address).await.unwrap();
    listener.accept().await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_reset_in_the_queue_is_skipped() {
    let (mut listener, address) = listen().await;
    let gone = TcpStream::connect(&address).await.unwrap();
    SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
    drop(gone);
    let caller = TcpStream::connect(&address).await.unwrap();
    let link = listener.accept().await.unwrap().await.unwrap();
    let expected = caller.local_addr().unwrap().to_string();
    assert_eq!(link.peer().address(), Some(expected.as_str()));
}
