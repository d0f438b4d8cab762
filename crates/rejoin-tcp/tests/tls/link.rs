//! A link that is good: data, limits, closes and ends that are none.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rejoin_tcp::tls::TlsSource;
use rejoin_tcp::tls::rustls::pki_types::ServerName;
use rejoin_tcp::tls::tokio_rustls::TlsConnector;
use rejoin_tcp::tls::{TlsLink, TlsLinkListener, TlsLinkRx, TlsLinkTx};
use rejoin_tcp::{
    Link, LinkRx, LinkTx, StableConduit, StableListener, StreamConfig, TcpConfig, TcpLinkListener,
    TcpSource,
};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::{SERVER, accept, listen, pair, soon};

type RawTls = rejoin_tcp::tls::tokio_rustls::client::TlsStream<TcpStream>;

/// A TLS stream without a link, and the link at its other end.
async fn raw_pair() -> (RawTls, TlsLinkTx, TlsLinkRx) {
    let authority = Authority::new();
    let (mut listener, address) = listen(&authority).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(SERVER).unwrap();
    let connector = TlsConnector::from(authority.client());
    let (raw, link) = tokio::join!(connector.connect(name, tcp), accept(&mut listener));
    let (tx, rx) = link.unwrap().split();
    (raw.unwrap(), tx, rx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_at_full_speed_at_once() {
    const COUNT: usize = 2_000;
    fn payload(n: usize) -> Bytes {
        let bytes = match n % 500 {
            0 => 200_000,
            1..20 => 20_000,
            _ => n % 97,
        };
        vec![n.to_le_bytes()[0]; bytes].into()
    }
    async fn side(link: TlsLink) {
        let (mut tx, mut rx) = link.split();
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
    let (near, far) = pair(&Authority::new()).await;
    let (near, far) = (tokio::spawn(side(near)), tokio::spawn(side(far)));
    soon(near).await.unwrap();
    soon(far).await.unwrap();
}

#[tokio::test]
async fn a_close_is_none_and_the_other_direction_goes_on() {
    let (near, far) = pair(&Authority::new()).await;
    let ((mut near_tx, mut near_rx), (mut far_tx, mut far_rx)) = (near.split(), far.split());
    near_tx.send(b"last", Bytes::new()).await.unwrap();
    near_tx.close().await.unwrap();
    assert_eq!(soon(far_rx.recv()).await.unwrap().unwrap(), "last");
    assert_eq!(soon(far_rx.recv()).await.unwrap(), None);
    far_tx.send(b"answer", Bytes::new()).await.unwrap();
    far_tx.close().await.unwrap();
    assert_eq!(soon(near_rx.recv()).await.unwrap().unwrap(), "answer");
    assert_eq!(soon(near_rx.recv()).await.unwrap(), None);
}

/// Anybody on the way can end a TCP connection, but not sign for it.
#[tokio::test]
async fn an_end_without_a_close_is_an_error() {
    let (mut raw, _tx, mut rx) = raw_pair().await;
    raw.write_all(b"\x01\0\0\0a").await.unwrap();
    raw.flush().await.unwrap();
    SockRef::from(raw.get_ref().0).shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "a");
    let error = soon(rx.recv()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(soon(rx.recv()).await.is_err(), "and stays one");
}

#[tokio::test]
async fn dropping_a_link_without_a_close_is_an_error_for_the_peer() {
    let (near, far) = pair(&Authority::new()).await;
    drop(near);
    assert!(soon(far.split().1.recv()).await.is_err());
}

#[tokio::test]
async fn an_end_within_a_message_is_an_error_even_if_it_is_a_close() {
    let (mut raw, _tx, mut rx) = raw_pair().await;
    raw.write_all(b"\x09\0\0\0half").await.unwrap();
    raw.shutdown().await.unwrap();
    assert_eq!(soon(rx.recv()).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn what_was_damaged_on_its_way_is_not_delivered() {
    let (mut raw, _tx, mut rx) = raw_pair().await;
    // A record of application data that nobody has encrypted.
    let (tcp, _) = raw.get_mut();
    tcp.write_all(b"\x17\x03\x03\x00\x20abcdefghijklmnopqrstuvwxyz012345").await.unwrap();
    let error = soon(rx.recv()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "what the peer sent is not proper TLS");
}

#[tokio::test]
async fn a_stream_from_elsewhere_becomes_a_link_with_limits() {
    let (raw, mut tx, _rx) = raw_pair().await;
    tx.send(b"far too long", Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    let stream = StreamConfig { payload_bytes_max: 8, ..StreamConfig::default() };
    let config = TcpConfig { stream, ..TcpConfig::default() };
    let link = TlsLink::from_stream(raw, &config).unwrap();
    let identity = link.peer().identity().unwrap().to_owned();
    assert!(identity.starts_with("cert-sha256="), "{identity}");
    let (tx, mut rx) = link.split();
    assert_eq!(tx.payload_bytes_max(), 8);
    assert_eq!(soon(rx.recv()).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

/// The whole way up and down: a session outlives its TLS connection.
#[tokio::test]
async fn a_conduit_resumes_over_tls() {
    let authority = Authority::new();
    let tcp = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let mut listener =
        StableListener::<String>::new(TlsLinkListener::new(tcp, authority.server(SERVER)));
    let source = TlsSource::new(TcpSource::new(address), SERVER, authority.client());
    let (near, far) =
        soon(async { tokio::join!(StableConduit::<String>::connect(source), listener.accept()) })
            .await;
    let ((tx, _rx), (_far_tx, mut far_rx)) = (near.unwrap().split(), far.unwrap().split());
    for n in 0..3 {
        tx.send(&n.to_string()).await.unwrap();
        assert_eq!(soon(far_rx.recv()).await.unwrap().unwrap().as_str(), n.to_string());
        soon(tx.migrate()).await.unwrap();
    }
    assert!(tx.stats().resumes >= 3, "{:?}", tx.stats());
    soon(async { tokio::join!(tx.close(), far_rx.recv()) }).await.0.unwrap();
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_has_a_limit() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect_timeout = Duration::from_millis(50);
    let config = TcpConfig { connect_timeout, ..TcpConfig::default() };
    let tcp = TcpSource::new(silent.local_addr().unwrap()).with_config(config);
    let mut source = TlsSource::new(tcp, SERVER, Authority::new().client());
    let error = crate::dial(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(crate::dial_error(&error).to_string(), "no TLS handshake within 50ms");
    use rejoin_tcp::LinkSource;
    assert!(!source.is_fatal(&error));
}
