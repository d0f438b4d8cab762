//! Client certificates: they reach the application, and a session is resumed under the same one
//! only.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rejoin_tcp::protocol::{ClientHello, Profile, RejectReason, ResumeKey, ServerHello};
use rejoin_tcp::tls::rustls::ClientConfig;
use rejoin_tcp::tls::{TlsLinkListener, TlsSource, fingerprint};
use rejoin_tcp::{Link, LinkRx, LinkTx, ListenerConfig, Raw, StableListener, TcpSource};

use crate::authority::Authority;
use crate::{SERVER, accept, dial, listen_tcp, listen_to_clients_of, soon};

#[tokio::test]
async fn the_certificate_of_a_client_is_its_identity() {
    let authority = Authority::new();
    let alice = authority.certify_client("alice");
    let (mut listener, address) = listen_to_clients_of(&authority).await;
    let mut source = TlsSource::new(TcpSource::new(&address), SERVER, authority.client_as(&alice));
    // The second handshake resumes the TLS session of the first, and shows no certificate again.
    for _ in 0..2 {
        let (near, far) = tokio::join!(dial(&mut source), accept(&mut listener));
        let (near, far) = (near.unwrap(), far.unwrap());
        assert_eq!(far.peer().identity(), Some(&*fingerprint(&alice.certificate)));
        assert_eq!(near.peer().address(), Some(&*address));
        let (mut tx, mut rx) = (far.split().0, near.split().1);
        tx.send(b"with the tickets", Bytes::new()).await.unwrap();
        tx.flush().await.unwrap();
        assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "with the tickets");
    }
}

#[tokio::test]
async fn an_identity_can_be_another_than_the_fingerprint() {
    let authority = Authority::new();
    let (tcp, address) = listen_tcp().await;
    let mut listener = TlsLinkListener::new(tcp, authority.server_for_anybody(SERVER))
        .identify_by(|chain| Some(format!("{} certificate", chain.len())));
    let alice = authority.client_as(&authority.certify_client("alice"));
    for (client, expected) in [(alice, Some("1 certificate")), (authority.client(), None)] {
        let mut source = TlsSource::new(TcpSource::new(&address), SERVER, client);
        let (near, far) = tokio::join!(dial(&mut source), accept(&mut listener));
        assert!(near.is_ok());
        assert_eq!(far.unwrap().peer().identity(), expected);
    }
}

/// Shakes hands as a client with these settings, and gives the server's answer.
async fn say(address: &str, config: Arc<ClientConfig>, hello: ClientHello) -> ServerHello {
    let mut source = TlsSource::new(TcpSource::new(address), SERVER, config);
    let (mut tx, mut rx) = dial(&mut source).await.unwrap().split();
    tx.send(&hello.encode(), Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    ServerHello::decode(&soon(rx.recv()).await.unwrap().unwrap()).unwrap()
}

fn resume(key: ResumeKey) -> ClientHello {
    ClientHello::resume(Profile::Extended, key, None)
}

#[track_caller]
fn key_of(answer: &ServerHello) -> ResumeKey {
    match answer {
        ServerHello::Accepted { key, .. } => *key,
        other => panic!("{other:?}"),
    }
}

/// KEY-8.
#[tokio::test]
async fn a_stolen_key_is_of_no_use_without_the_certificate() {
    let authority = Authority::new();
    let (tcp, address) = listen_tcp().await;
    let links = TlsLinkListener::new(tcp, authority.server_for_anybody(SERVER));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let config = ListenerConfig::default();
    let listener = StableListener::<Raw>::with_admission(links, config, move |candidate| {
        notes.lock().unwrap().push(candidate.peer.identity().map(str::to_owned));
        Ok(())
    })
    .unwrap();

    let alice = authority.certify_client("alice");
    let mallory = authority.certify_client("mallory");
    let nonce = ResumeKey::from_bytes([7; 16]);
    let key = key_of(
        &say(&address, authority.client_as(&alice), ClientHello::fresh_extended(nonce)).await,
    );
    for thief in [authority.client_as(&mallory), authority.client()] {
        let answer = say(&address, thief, resume(key)).await;
        let forbidden =
            matches!(answer, ServerHello::Rejected { reason: RejectReason::Forbidden, .. });
        assert!(forbidden, "{answer:?}");
    }
    let renewed = authority.certify_client("alice");
    let answer = say(&address, authority.client_as(&renewed), resume(key)).await;
    assert!(matches!(answer, ServerHello::Rejected { .. }), "another certificate is another peer");
    let answer = say(&address, authority.client_as(&alice), resume(key)).await;
    assert_ne!(key_of(&answer), key);
    assert_eq!(listener.sessions(), 1);

    let name = |certified: &crate::authority::Certified| Some(fingerprint(&certified.certificate));
    let expected = [name(&alice), name(&mallory), None, name(&renewed), name(&alice)];
    assert_eq!(*seen.lock().unwrap(), expected);
}
