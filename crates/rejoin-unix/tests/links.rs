//! Unix socket links: data, ends, limits, who calls, and what dialling reports.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helper functions of tests")]

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rejoin_unix::{
    AcceptorConfig, Link, LinkListener, LinkRx, LinkSource, LinkTx, ListenerConfig, StableConduit,
    StableListener, StreamConfig, StreamSendError, UnixConfig, UnixError, UnixLink,
    UnixLinkListener, UnixLinkRx, UnixLinkTx, UnixListenerSource, UnixSource,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

type Halves = (UnixLinkTx, UnixLinkRx);

/// Only a test that fails waits for this long.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

struct Place {
    path: PathBuf,
    /// Removed with everything in it.
    _folder: TempDir,
}

fn place() -> Place {
    let folder = TempDir::new().unwrap();
    Place { path: folder.path().join("socket"), _folder: folder }
}

async fn dial(source: &mut UnixSource) -> io::Result<UnixLink> {
    Ok(source.next_link().await?.into_link())
}

async fn accept(listener: &mut UnixLinkListener) -> UnixLink {
    soon(listener.accept()).await.unwrap().await.unwrap()
}

async fn pair() -> (Halves, Halves) {
    let place = place();
    let mut listener = UnixLinkListener::bind(&place.path).await.unwrap();
    let near = dial(&mut UnixSource::new(&place.path)).await.unwrap();
    (near.split(), accept(&mut listener).await.split())
}

/// A plain stream and the link at its other end.
async fn raw_pair() -> (UnixStream, Halves) {
    let (raw, stream) = UnixStream::pair().unwrap();
    (raw, UnixLink::from_stream(stream, &UnixConfig::default()).unwrap().split())
}

#[track_caller]
fn unix_error(error: &io::Error) -> &UnixError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

/// The user of this process: the one to whom a fresh file belongs.
fn own_user() -> u32 {
    tempfile::tempfile().unwrap().metadata().unwrap().uid()
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
    let (near, far) = pair().await;
    let (near, far) = (tokio::spawn(side(near)), tokio::spawn(side(far)));
    soon(near).await.unwrap();
    soon(far).await.unwrap();
}

#[tokio::test]
async fn an_end_between_messages_is_none_and_one_within_is_an_error() {
    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    raw.write_all(b"\x01\0\0\0a\x02\0\0\0bc\0\0\0\0").await.unwrap();
    drop(raw);
    for expected in ["a", "bc", ""] {
        assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), expected);
    }
    assert_eq!(soon(rx.recv()).await.unwrap(), None);

    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    raw.write_all(b"\x09\0\0\0half").await.unwrap();
    drop(raw);
    assert_eq!(soon(rx.recv()).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_that_goes_without_having_read_everything_is_an_error() {
    let ((mut tx, mut rx), far) = pair().await;
    tx.send(b"never read", Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    drop(far);
    assert_eq!(soon(rx.recv()).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn limits_reach_the_links_of_both_sides() {
    let place = place();
    let stream = StreamConfig { payload_bytes_max: 8, ..StreamConfig::default() };
    let config = UnixConfig { stream };
    let listener = UnixLinkListener::bind(&place.path).await.unwrap();
    let mut listener = listener.with_config(config.clone());
    let near = dial(&mut UnixSource::new(&place.path).with_config(config)).await.unwrap();
    for link in [near, accept(&mut listener).await] {
        let (mut tx, _rx) = link.split();
        let error = tx.send(b"head", Bytes::from_static(b"body!")).await.unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref();
        assert_eq!(inner, Some(&StreamSendError::PayloadTooLarge { bytes: 9, bytes_max: 8 }));
    }
    let (mut raw, (_tx, mut rx)) = raw_pair().await;
    raw.write_all(&[0xff; 4]).await.unwrap();
    assert_eq!(soon(rx.recv()).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn each_side_knows_the_user_at_the_other_end() {
    let place = place();
    let mut listener = UnixLinkListener::bind(&place.path).await.unwrap();
    let near = dial(&mut UnixSource::new(&place.path)).await.unwrap().peer();
    let far = accept(&mut listener).await.peer();
    let user = format!("uid={}", own_user());
    assert_eq!((near.identity(), far.identity()), (Some(&*user), Some(&*user)));
    assert_eq!(near.address(), place.path.to_str());
    assert_eq!(far.address(), Some(&*format!("pid={}", std::process::id())));
}

/// The admission hook sees the user, and a session goes on over another connection of the same one.
#[tokio::test]
async fn the_user_reaches_the_admission_hook() {
    let place = place();
    let links = UnixLinkListener::bind(&place.path).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let config = ListenerConfig::default();
    let listener = StableListener::<String>::with_admission(links, config, move |candidate| {
        let user = candidate.peer.identity().map(str::to_owned);
        notes.lock().unwrap().push((candidate.resumes, user));
        Ok(())
    });
    let mut listener = listener.unwrap();
    let dial = StableConduit::<String>::connect(UnixSource::new(&place.path));
    let (near, far) = soon(async { tokio::join!(dial, listener.accept()) }).await;
    let ((tx, _rx), (_far_tx, mut far_rx)) = (near.unwrap().split(), far.unwrap().split());
    soon(tx.migrate()).await.unwrap();
    tx.send(&"over the second connection".into()).await.unwrap();
    let received = soon(far_rx.recv()).await.unwrap().unwrap();
    assert_eq!(received.as_str(), "over the second connection");
    let user = Some(format!("uid={}", own_user()));
    assert_eq!(*seen.lock().unwrap(), [(false, user.clone()), (true, user)]);
}

#[tokio::test]
async fn a_conduit_can_wait_to_be_called() {
    let place = place();
    let listener = UnixLinkListener::bind(&place.path).await.unwrap();
    let called = UnixListenerSource::new(listener, AcceptorConfig::default());
    let called = StableConduit::<String>::connect(called);
    let calling = StableConduit::<String>::connect(UnixSource::new(&place.path));
    let (near, far) = soon(async { tokio::join!(calling, called) }).await;
    let ((tx, _), (_, mut rx)) = (near.unwrap().split(), far.unwrap().split());
    tx.send(&"hello".into()).await.unwrap();
    assert_eq!(soon(rx.recv()).await.unwrap().unwrap().as_str(), "hello");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient_and_named() {
    let place = place();
    let mut source = UnixSource::new(&place.path);
    let error = dial(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("no connection to {}", place.path.display()));
    assert!(!source.is_fatal(&error));

    drop(std::os::unix::net::UnixListener::bind(&place.path).unwrap());
    let error = dial(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(!source.is_fatal(&error));
}

#[tokio::test]
async fn an_address_that_is_none_is_fatal() {
    for address in ["", "a\0b", &"x/".repeat(60)] {
        let mut source = UnixSource::new(address);
        let error = dial(&mut source).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address:?}");
        assert!(source.is_fatal(&error));
        let error = UnixLinkListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address:?}");
    }
    let error = dial(&mut UnixSource::new("x/".repeat(60))).await.unwrap_err();
    let too_long = matches!(unix_error(&error), UnixError::AddressTooLong { bytes: 120, .. });
    assert!(too_long, "{error:?}");
}

/// The queue of those who wait to be accepted is full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_does_not_accept_is_transient() {
    let place = place();
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&place.path).unwrap();
    let _listener = socket.listen(0).unwrap();
    let mut source = UnixSource::new(&place.path);
    let mut queued = Vec::new();
    let error = loop {
        match dial(&mut source).await {
            Ok(link) => queued.push(link),
            Err(error) => break error,
        }
        assert!(queued.len() < 10, "the queue is never full");
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(!source.is_fatal(&error));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_name_is_an_address_without_a_file() {
    let name = format!("@rejoin-unix-test-{}", std::process::id());
    let mut listener = UnixLinkListener::bind(&*name).await.unwrap();
    let mut source = UnixSource::new(&*name);
    let near = dial(&mut source).await.unwrap();
    let far = accept(&mut listener).await;
    assert_eq!(near.peer().address(), Some(&*name));
    assert_eq!(far.peer().identity(), near.peer().identity());

    let error = UnixLinkListener::bind(&*name).await.unwrap_err();
    assert!(matches!(unix_error(&error), UnixError::InUse { .. }), "{error:?}");
    drop(listener);
    assert_eq!(dial(&mut source).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    UnixLinkListener::bind(&*name).await.unwrap();
}

#[tokio::test]
async fn a_dropped_accept_loses_nobody() {
    let place = place();
    let mut listener = UnixLinkListener::bind(&place.path).await.unwrap();
    {
        let mut accept = Box::pin(listener.accept());
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx)));
        assert!(poll.await.is_pending());
    }
    let _near = dial(&mut UnixSource::new(&place.path)).await.unwrap();
    accept(&mut listener).await;
}
