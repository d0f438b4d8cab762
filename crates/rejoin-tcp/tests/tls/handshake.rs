//! Handshakes that fail: which of them are fatal, what they say, and that they hold up nobody.

use std::io;
use std::time::Duration;

use rejoin_tcp::tls::rustls::{CertificateError, Error as RustlsError};
use rejoin_tcp::tls::{TlsError, TlsLinkListener, TlsSource};
use rejoin_tcp::{
    ConnectError, LinkListener, LinkSource, ListenerConfig, StableConduit, StableListener,
    TcpSource,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::authority::Authority;
use crate::{
    SERVER, accept, dial, dial_error, listen, listen_tcp, listen_to_clients_of, soon, tls_error,
};

/// What `source` fails with at a listener, and what the listener says of it.
async fn failures(
    source: &mut TlsSource,
    listener: &mut TlsLinkListener,
) -> (io::Error, io::Error) {
    let (near, far) = tokio::join!(dial(source), accept(listener));
    (near.unwrap_err(), far.unwrap_err())
}

#[tokio::test]
async fn a_certificate_for_another_name_is_fatal() {
    let authority = Authority::new();
    let (mut listener, address) = listen(&authority).await;
    let mut source = TlsSource::new(TcpSource::new(&address), "other.example", authority.client());
    let (near, far) = failures(&mut source, &mut listener).await;
    let TlsError::Certificate { source: cause } = dial_error(&near) else { panic!("{near:?}") };
    let name = matches!(
        cause,
        RustlsError::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
    );
    assert!(name, "{cause:?}");
    assert_eq!(near.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(near.to_string(), format!("no TLS with {address}"));
    assert!(source.is_fatal(&near));
    assert!(matches!(tls_error(&far), TlsError::Refused { .. }), "{far:?}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_fatal() {
    let (mut listener, address) = listen(&Authority::new()).await;
    let mut source = TlsSource::new(TcpSource::new(address), SERVER, Authority::new().client());
    let (near, far) = failures(&mut source, &mut listener).await;
    let TlsError::Certificate { source: cause } = dial_error(&near) else { panic!("{near:?}") };
    assert_eq!(*cause, RustlsError::InvalidCertificate(CertificateError::UnknownIssuer));
    assert!(source.is_fatal(&near));
    assert!(matches!(tls_error(&far), TlsError::Refused { .. }), "{far:?}");
}

#[tokio::test]
async fn a_certificate_that_has_expired_may_be_renewed() {
    let authority = Authority::new();
    let (tcp, address) = listen_tcp().await;
    let mut listener = TlsLinkListener::new(tcp, authority.expired_server(SERVER));
    let mut source = TlsSource::new(TcpSource::new(address), SERVER, authority.client());
    let (near, _) = failures(&mut source, &mut listener).await;
    assert!(matches!(dial_error(&near), TlsError::Certificate { .. }), "{near:?}");
    assert!(!source.is_fatal(&near));
}

#[tokio::test]
async fn a_text_that_is_no_server_name_is_fatal() {
    let (_listener, address) = listen(&Authority::new()).await;
    let mut source = TlsSource::new(TcpSource::new(address), "no\nname", Authority::new().client());
    let error = dial(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), r"`no\nname` is not the name of a server");
    assert!(source.is_fatal(&error));
}

/// The client's own handshake is over before the server has seen its certificate.
#[tokio::test]
async fn a_client_without_the_certificate_that_is_asked_for_is_told_so() {
    let authority = Authority::named("the authority");
    let clients = [
        authority.client(),
        authority.client_as(&Authority::new().certify_client("mallory")),
        authority.client_as(&Authority::named("the authority").certify_client("mallory")),
    ];
    for client in clients {
        let (listener, address) = listen_to_clients_of(&authority).await;
        let listener = StableListener::<String>::new(listener);
        let source = TlsSource::new(TcpSource::new(address), SERVER, client);
        let error = soon(StableConduit::<String>::connect(source)).await.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
        let ConnectError::Fatal(refused) = &error else { panic!("{error:?}") };
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let told = format!("{:?}", refused.get_ref().unwrap());
        assert!(told.contains("AlertReceived"), "{told}");
        assert_eq!(listener.sessions(), 0);
        // The client is through before the listener has got over it.
        soon(async {
            while listener.handshakes().upgrade_failed == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn peers_that_do_not_shake_hands_hold_up_nobody() {
    let authority = Authority::new();
    let (mut listener, address) = listen(&authority).await;
    // One says nothing, one stops within its hello, one does not speak TLS.
    let _silent = TcpStream::connect(&address).await.unwrap();
    let _silent_upgrade = soon(listener.accept()).await.unwrap();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();
    let half_upgrade = tokio::spawn(soon(listener.accept()).await.unwrap());
    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(b"POST / HTTP/1.1\r\nhost: server.example\r\n\r\n").await.unwrap();
    // More than is looked at.
    plain.write_all(&[b'x'; 30_000]).await.unwrap();
    let plain_upgrade = tokio::spawn(soon(listener.accept()).await.unwrap());

    let mut source = TlsSource::new(TcpSource::new(&address), SERVER, authority.client());
    let (near, far) = tokio::join!(dial(&mut source), accept(&mut listener));
    assert!(near.is_ok() && far.is_ok());
    assert!(!half_upgrade.is_finished(), "it is for the caller to give up");

    // The one that spoke is told that it was not understood, and then hung up on, without a reset
    // that could take the answer along.
    let mut answer = Vec::new();
    soon(plain.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert");
    drop(plain);
    let error = soon(plain_upgrade).await.unwrap().unwrap_err();
    assert!(matches!(tls_error(&error), TlsError::Protocol { .. }), "{error:?}");

    drop(half);
    let error = soon(half_upgrade).await.unwrap().unwrap_err();
    assert!(matches!(tls_error(&error), TlsError::Connection { .. }), "{error:?}");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// The listener of sessions gives up on whoever does not come to the end of a TLS handshake.
#[tokio::test]
async fn a_silent_handshake_has_the_deadline_of_any_other() {
    let authority = Authority::new();
    let (links, address) = listen(&authority).await;
    let mut config = ListenerConfig::default();
    config.conduit.handshake_deadline = Duration::from_millis(200);
    let mut listener = StableListener::<String>::with_config(links, config).unwrap();
    let _silent = TcpStream::connect(&address).await.unwrap();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();

    let source = TlsSource::new(TcpSource::new(&address), SERVER, authority.client());
    let dial = StableConduit::<String>::connect(source);
    let (near, far) = soon(async { tokio::join!(dial, listener.accept()) }).await;
    assert!(near.is_ok() && far.is_ok());
    // It is hung up on.
    assert_eq!(soon(half.read(&mut [0; 8])).await.unwrap(), 0);
    soon(async {
        while listener.handshakes().timed_out < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_was_refused_and_keeps_talking_is_hung_up_on() {
    let (mut listener, address) = listen(&Authority::new()).await;
    let mut plain = TcpStream::connect(&address).await.unwrap();
    let upgrade = tokio::spawn(soon(listener.accept()).await.unwrap());
    let talks = async {
        let noise = [0x42; 4096];
        while plain.write_all(&noise).await.is_ok() {}
    };
    soon(talks).await;
    assert!(soon(upgrade).await.unwrap().is_err());
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_transient() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let answer = async {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        stream
    };
    let mut source = TlsSource::new(TcpSource::new(address), SERVER, Authority::new().client());
    let (error, _stream) = tokio::join!(dial(&mut source), answer);
    let error = error.unwrap_err();
    assert!(matches!(dial_error(&error), TlsError::Protocol { .. }), "{error:?}");
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn an_address_without_tls_is_passed_over() {
    let authority = Authority::new();
    let (mut wrong, wrong_address) = listen(&Authority::new()).await;
    let (mut right, right_address) = listen(&authority).await;
    let tcp = TcpSource::new(wrong_address).or(right_address);
    let mut source = TlsSource::new(tcp, SERVER, authority.client());
    let (near, refused, far) =
        tokio::join!(dial(&mut source), accept(&mut wrong), accept(&mut right));
    assert!(near.is_ok() && refused.is_err() && far.is_ok());
}

/// A laptop comes to a hotel whose Wi-Fi answers in everybody's place.
#[tokio::test]
async fn a_wrong_certificate_is_an_outage_once_a_link_has_worked() {
    let authority = Authority::new();
    let (listener, address) = listen(&authority).await;
    let mut listener = listener;
    let mut source = TlsSource::new(TcpSource::new(&address), SERVER, authority.client());

    // A link that failed in the conduit's handshake proves nothing.
    let (near, far) = tokio::join!(dial(&mut source), accept(&mut listener));
    assert!(near.is_ok() && far.is_ok());
    source.link_failed(&io::Error::other("no hello"));
    let mut listener = {
        let tcp = rejoin_tcp::TcpLinkListener::from_tokio(rebind(listener, &address).await);
        TlsLinkListener::new(tcp, Authority::new().server(SERVER))
    };
    let (error, _) = failures(&mut source, &mut listener).await;
    assert!(source.is_fatal(&error));

    // One on which nothing failed does.
    let tcp = rejoin_tcp::TcpLinkListener::from_tokio(rebind(listener, &address).await);
    let mut listener = TlsLinkListener::new(tcp, authority.server(SERVER));
    let (near, far) = tokio::join!(dial(&mut source), accept(&mut listener));
    assert!(near.is_ok() && far.is_ok());
    let tcp = rejoin_tcp::TcpLinkListener::from_tokio(rebind(listener, &address).await);
    let mut listener = TlsLinkListener::new(tcp, Authority::new().server(SERVER));
    let (error, _) = failures(&mut source, &mut listener).await;
    assert!(!source.is_fatal(&error));
}

/// Listens anew at the address of a listener that is gone.
async fn rebind(gone: TlsLinkListener, address: &str) -> TcpListener {
    drop(gone);
    TcpListener::bind(address).await.unwrap()
}
