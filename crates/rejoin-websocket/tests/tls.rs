//! `wss`: who is trusted, and that both kinds of links work over it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificate;
mod support;

use std::sync::Arc;

use bytes::Bytes;
use rejoin_conformance::proxy::{Fault, FaultProxy};
use rejoin_websocket::tls::rustls::crypto::CryptoProvider;
use rejoin_websocket::tls::rustls::crypto::ring::default_provider;
use rejoin_websocket::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rejoin_websocket::tls::rustls::server::WebPkiClientVerifier;
use rejoin_websocket::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use rejoin_websocket::{
    Link, LinkListener, LinkRx, LinkSource, LinkTx, WebSocketError, WebSocketSource, tls,
};
use support::{dial_and_accept, listen, soon, websocket_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_link_over_tls_carries_both_ways_and_closes() {
    let (server, client) = certificate::configs(&["localhost", "127.0.0.1"]);
    for host in ["localhost", "127.0.0.1"] {
        let (listener, _) = listen().await;
        let mut listener = listener.with_tls(Arc::clone(&server));
        let url = format!("wss://{host}:{}/", listener.local_addr().unwrap().port());
        let mut source = WebSocketSource::new(url).with_tls(Arc::clone(&client));
        let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
        let ((mut tx, mut rx), (mut far_tx, mut far_rx)) =
            (dialled.unwrap().split(), accepted.unwrap().split());
        let body = Bytes::from(vec![3; 300_000]);
        for tx in [&mut tx, &mut far_tx] {
            tx.send(b"head", body.clone()).await.unwrap();
        }
        let (a, b, near, far) =
            soon(async { tokio::join!(tx.flush(), far_tx.flush(), rx.recv(), far_rx.recv()) })
                .await;
        a.and(b).unwrap();
        for received in [near, far] {
            assert_eq!(received.unwrap().unwrap().len(), 300_004);
        }
        tx.close().await.unwrap();
        assert_eq!(soon(far_rx.recv()).await.unwrap(), None);
        far_tx.close().await.unwrap();
        assert_eq!(soon(rx.recv()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_a_typed_failure() {
    let (server, client) = certificate::configs(&["elsewhere.example"]);
    let (listener, _) = listen().await;
    let mut listener = listener.with_tls(server);
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    // The wrong name, and a root that Mozilla does not know.
    for config in [client, tls::default_client_config()] {
        let mut source = WebSocketSource::new(&url).with_tls(config);
        let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
        let error = dialled.unwrap_err();
        assert!(matches!(websocket_error(&error), WebSocketError::Tls { .. }), "{error}");
        assert!(!source.is_fatal(&error));
        let error = accepted.unwrap_err();
        assert!(matches!(websocket_error(&error), WebSocketError::Tls { .. }), "{error}");
    }
}

#[tokio::test]
async fn one_side_without_tls_is_a_typed_failure() {
    let (server, client) = certificate::configs(&["localhost"]);
    let (plain, _) = listen().await;
    let (secure, _) = listen().await;
    let ports = [&plain, &secure].map(|listener| listener.local_addr().unwrap().port());
    let mut source =
        WebSocketSource::new(format!("wss://localhost:{}/", ports[0])).with_tls(client);
    let mut plain = plain;
    let (dialled, accepted) = dial_and_accept(&mut source, &mut plain).await;
    assert!(matches!(websocket_error(&dialled.unwrap_err()), WebSocketError::Tls { .. }));
    assert!(accepted.is_err());

    let mut secure = secure.with_tls(server);
    let mut source = WebSocketSource::new(format!("ws://localhost:{}/", ports[1]));
    let (dialled, accepted) = dial_and_accept(&mut source, &mut secure).await;
    assert!(dialled.is_err());
    assert!(matches!(websocket_error(&accepted.unwrap_err()), WebSocketError::Tls { .. }));
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    use std::time::Duration;
    let (server, _) = certificate::configs(&["localhost"]);
    let (listener, _) = listen().await;
    let config = rejoin_websocket::WebSocketConfig {
        handshake_timeout: Duration::from_millis(50),
        ..Default::default()
    };
    let mut listener = listener.with_tls(server).with_config(config);
    let _silent = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let error = soon(async { listener.accept().await.unwrap().await }).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn the_certificate_of_a_client_is_its_identity() {
    let (mut server, mut client) = (certificate_of("localhost"), certificate_of("alice"));
    let expected = tls::fingerprint(&client.0);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&client.0), provider())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let accepting = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.0.clone()], server.1.take().unwrap())
        .unwrap();
    let trusting = || {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&server.0))
    };
    let known =
        trusting().with_client_auth_cert(vec![client.0.clone()], client.1.take().unwrap()).unwrap();
    let nobody = trusting().with_no_client_auth();
    let (listener, _) = listen().await;
    let mut listener = listener.with_tls(Arc::new(accepting));
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    for (config, identity) in [(known, Some(&*expected)), (nobody, None)] {
        let mut source = WebSocketSource::new(&url).with_tls(Arc::new(config));
        let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
        dialled.unwrap();
        assert_eq!(accepted.unwrap().peer().identity(), identity);
    }
    let digits = expected.strip_prefix("cert-sha256=").unwrap();
    assert!(digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{expected}");
}

/// A client's handshake is over before the server has seen its certificate, and its request is on its
/// way by then: what it is told has to get past that.
#[tokio::test]
async fn a_client_without_the_certificate_that_is_asked_for_is_told_so() {
    let (mut server, client, mut stranger) =
        (certificate_of("localhost"), certificate_of("alice"), certificate_of("mallory"));
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(&client.0), provider()).build().unwrap();
    let accepting = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.0.clone()], server.1.take().unwrap())
        .unwrap();
    let trusting = || {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&server.0))
    };
    let unknown = trusting()
        .with_client_auth_cert(vec![stranger.0.clone()], stranger.1.take().unwrap())
        .unwrap();
    let nobody = trusting().with_no_client_auth();
    let (listener, _) = listen().await;
    let mut listener = listener.with_tls(Arc::new(accepting));
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    for config in [unknown, nobody].map(Arc::new) {
        for _ in 0..20 {
            let mut source = WebSocketSource::new(&url).with_tls(Arc::clone(&config));
            let (dialled, accepted) = dial_and_accept(&mut source, &mut listener).await;
            let error = accepted.unwrap_err();
            assert!(matches!(websocket_error(&error), WebSocketError::Tls { .. }), "{error}");
            let told = format!("{:?}", dialled.unwrap_err());
            assert!(told.contains("AlertReceived"), "{told}");
        }
    }
}

/// One says nothing, one stops within its hello, one does not speak TLS.
#[tokio::test]
async fn peers_that_do_not_shake_hands_hold_up_nobody() {
    let (server, client) = certificate::configs(&["localhost"]);
    let (listener, _) = listen().await;
    let mut listener = listener.with_tls(server);
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(bytes).await.unwrap();
        let upgrade = tokio::spawn(soon(listener.accept()).await.unwrap());
        waiting.push((peer, upgrade));
    }
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    plain.write_all(&[b'x'; 30_000]).await.unwrap();
    let plain_upgrade = tokio::spawn(soon(listener.accept()).await.unwrap());

    let url = format!("wss://localhost:{}/", address.port());
    let mut source = WebSocketSource::new(url).with_tls(client);
    let (near, far) = dial_and_accept(&mut source, &mut listener).await;
    assert!(near.is_ok() && far.is_ok());
    assert!(waiting.iter().all(|(_, upgrade)| !upgrade.is_finished()), "they have some time");

    // It is told that it was not understood, and not by a reset.
    let mut answer = Vec::new();
    soon(plain.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert");
    drop(plain);
    let error = soon(plain_upgrade).await.unwrap().unwrap_err();
    assert!(matches!(websocket_error(&error), WebSocketError::Tls { .. }), "{error}");
    for (peer, upgrade) in waiting {
        drop(peer);
        assert!(soon(upgrade).await.unwrap().is_err());
    }
}

/// Anybody on the way can end a TCP connection, but not sign for it, nor make up a close.
#[tokio::test]
async fn an_end_without_a_close_is_an_error() {
    let (server, client) = certificate::configs(&["localhost"]);
    let (listener, _) = listen().await;
    let mut listener = listener.with_tls(server);
    let address = listener.local_addr().unwrap();
    let proxy = FaultProxy::start(address).await.unwrap();
    let url = format!("wss://localhost:{}/", proxy.addr().port());
    let mut source = WebSocketSource::new(url).with_tls(client);
    let (near, far) = dial_and_accept(&mut source, &mut listener).await;
    let (_near, (_far_tx, mut far_rx)) = (near.unwrap().split(), far.unwrap().split());
    assert!(soon(proxy.cut(Fault::Fin).report()).await.hit());
    assert!(soon(far_rx.recv()).await.is_err());
}

type Certified = (CertificateDer<'static>, Option<PrivateKeyDer<'static>>);

/// A certificate that signs itself, and its key.
fn certificate_of(name: &str) -> Certified {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    (made.cert.der().clone(), Some(key))
}

fn roots(certificate: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    Arc::new(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}
