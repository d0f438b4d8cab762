//! TLS links over loopback: who is let in, what the errors say, and what counts as a close.

#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "helper functions of tests")]

mod authority;
mod handshake;
mod identity;
mod link;

use std::io;
use std::time::Duration;

use rejoin_tcp::tls::{TlsError, TlsLink, TlsLinkListener, TlsSource};
use rejoin_tcp::{LinkListener, LinkSource, TcpError, TcpLinkListener, TcpSource};

use authority::Authority;

/// The name that the servers of these tests have a certificate for.
const SERVER: &str = "server.example";

/// Only a test that fails waits for this long.
#[track_caller]
fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(60), future).await {
            Ok(output) => output,
            Err(_) => panic!("hangs at {caller}"),
        }
    }
}

async fn listen_tcp() -> (TcpLinkListener, String) {
    let tcp = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    (tcp, address)
}

/// A listener that asks nobody for a certificate.
async fn listen(authority: &Authority) -> (TlsLinkListener, String) {
    let (tcp, address) = listen_tcp().await;
    (TlsLinkListener::new(tcp, authority.server(SERVER)), address)
}

/// A listener that lets in only whom the authority has certified.
async fn listen_to_clients_of(authority: &Authority) -> (TlsLinkListener, String) {
    let (tcp, address) = listen_tcp().await;
    (TlsLinkListener::new(tcp, authority.server_for_clients(SERVER)), address)
}

async fn accept(listener: &mut TlsLinkListener) -> io::Result<TlsLink> {
    soon(soon(listener.accept()).await.unwrap()).await
}

async fn dial(source: &mut TlsSource) -> io::Result<TlsLink> {
    Ok(soon(source.next_link()).await?.into_link())
}

/// Both ends of a link that is good.
async fn pair(authority: &Authority) -> (TlsLink, TlsLink) {
    let (mut listener, address) = listen(authority).await;
    let mut source = TlsSource::new(TcpSource::new(address), SERVER, authority.client());
    let (near, far) = tokio::join!(dial(&mut source), accept(&mut listener));
    (near.unwrap(), far.unwrap())
}

/// What an accepted peer, or an established link, failed with.
#[track_caller]
fn tls_error(error: &io::Error) -> &TlsError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

/// What dialling failed with.
#[track_caller]
fn dial_error(error: &io::Error) -> &TlsError {
    match error.get_ref().unwrap().downcast_ref().unwrap() {
        TcpError::Tls { source, .. } => source,
        other => panic!("{other:?}"),
    }
}
