//! The fault proxy between Unix sockets: what it forwards, and how it cuts.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use rejoin_conformance::proxy::{Direction, Fault, FaultProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A folder for sockets, removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("rejoin-proxy-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(folder: &Path) -> (UnixListener, FaultProxy, PathBuf) {
    let server = UnixListener::bind(folder.join("server")).unwrap();
    let at = folder.join("proxy");
    let proxy = FaultProxy::start_unix(&at, folder.join("server")).unwrap();
    (server, proxy, at)
}

#[tokio::test]
async fn forwards_and_ends_in_order_at_an_exact_byte() {
    let folder = Folder::new("fin");
    let (server, proxy, at) = start(&folder.0);
    let cut = proxy.cut_next(Direction::ToServer, 5, Fault::Fin);
    let mut client = UnixStream::connect(&at).await.unwrap();
    let mut accepted = server.accept().await.unwrap().0;
    accepted.write_all(b"welcome").await.unwrap();
    let mut welcome = [0; 7];
    client.read_exact(&mut welcome).await.unwrap();
    client.write_all(b"hello world").await.unwrap();
    let mut received = Vec::new();
    accepted.read_to_end(&mut received).await.unwrap();
    assert_eq!((&welcome, &received[..]), (b"welcome", &b"hello"[..]));
    assert!(cut.report().await.hit());
    assert_eq!(client.read(&mut welcome).await.unwrap(), 0, "the client sees the end, too");
}

#[tokio::test]
async fn falls_silent_and_comes_back() {
    let folder = Folder::new("silence");
    let (server, proxy, at) = start(&folder.0);
    let mut client = UnixStream::connect(&at).await.unwrap();
    let mut accepted = server.accept().await.unwrap().0;
    client.write_all(b"1").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'1');
    proxy.cut(Fault::Silence { lasting: None }).report().await;
    client.write_all(b"2").await.unwrap();
    let mut read = Box::pin(accepted.read_u8());
    let silent = tokio::time::timeout(Duration::from_millis(20), &mut read).await;
    assert!(silent.is_err(), "nothing is forwarded");
    proxy.release();
    assert_eq!(read.await.unwrap(), b'2');
}

#[tokio::test]
async fn a_reset_ends_both_sides_for_good() {
    let folder = Folder::new("reset");
    let (server, proxy, at) = start(&folder.0);
    let mut client = UnixStream::connect(&at).await.unwrap();
    let mut accepted = server.accept().await.unwrap().0;
    client.write_all(b"1").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'1');
    proxy.cut(Fault::Reset).report().await;
    for end in [&mut client, &mut accepted] {
        // An error or the end, but nothing more.
        assert!(matches!(end.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
    drop(proxy);
    // The task goes as soon as the runtime gets to it, and the file with it.
    while at.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reset_inside_a_message_adds_the_first_byte_of_one_where_none_is_under_way() {
    for (sent, expected) in [
        (&[1, 0, 0, 0, 9][..], &[1, 0, 0, 0, 9, 0][..]),
        (&[2, 0, 0, 0, 9], &[2, 0, 0, 0, 9]),
        (&[1, 0, 0, 0], &[1, 0, 0, 0]),
    ] {
        let folder = Folder::new("tear");
        let (server, proxy, at) = start(&folder.0);
        let proxy = proxy.tear_messages();
        let mut client = UnixStream::connect(&at).await.unwrap();
        let mut accepted = server.accept().await.unwrap().0;
        for to_server in [true, false] {
            let (from, to) = match to_server {
                true => (&mut client, &mut accepted),
                false => (&mut accepted, &mut client),
            };
            from.write_all(sent).await.unwrap();
            to.read_exact(&mut vec![0; sent.len()]).await.unwrap();
        }
        proxy.cut(Fault::Reset).report().await;
        for end in [&mut client, &mut accepted] {
            let mut rest = Vec::new();
            end.read_to_end(&mut rest).await.unwrap();
            assert_eq!([sent, &rest].concat(), expected);
        }
    }
}
