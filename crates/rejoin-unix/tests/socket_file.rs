//! The file of a listener: whom it replaces, who may connect, and when it goes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helper functions of tests")]

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::task::Poll;
use std::thread;

use rejoin_unix::{LinkListener, LinkSource, UnixError, UnixLinkListener, UnixSource};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

/// The file of a server that was killed.
fn leave_dead_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

async fn is_reachable(listener: &mut UnixLinkListener, path: &Path) -> bool {
    let Ok(_near) = UnixSource::new(path).next_link().await else { return false };
    listener.accept().await.unwrap().await.is_ok()
}

#[track_caller]
fn check_in_use(result: io::Result<UnixLinkListener>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let inner = error.get_ref().unwrap().downcast_ref::<UnixError>();
    assert!(matches!(inner, Some(UnixError::InUse { .. })), "{error:?}");
}

#[tokio::test]
async fn the_file_of_a_dead_server_is_replaced() {
    let (_folder, path) = place();
    leave_dead_socket(&path);
    let mut listener = UnixLinkListener::bind(&path).await.unwrap();
    assert!(is_reachable(&mut listener, &path).await);
}

#[tokio::test]
async fn a_live_server_is_left_alone_and_notices_nothing() {
    let (_folder, path) = place();
    let mut listener = UnixLinkListener::bind(&path).await.unwrap();
    check_in_use(UnixLinkListener::bind(&path).await);
    {
        let mut accept = Box::pin(listener.accept());
        let poll = std::future::poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx)));
        assert!(poll.await.is_pending(), "nobody has called");
    }
    assert!(is_reachable(&mut listener, &path).await);
}

/// As a server of somebody else's is between two steps of its start.
#[tokio::test]
async fn a_server_that_has_yet_to_listen_is_left_alone() {
    let (_folder, path) = place();
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    check_in_use(UnixLinkListener::bind(&path).await);
    let _listener = socket.listen(1).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_live_socket_of_another_kind_is_left_alone() {
    let (_folder, path) = place();
    let other = UnixDatagram::bind(&path).unwrap();
    check_in_use(UnixLinkListener::bind(&path).await);
    UnixDatagram::unbound().unwrap().send_to(b"still there", &path).unwrap();
    let mut buffer = [0; 32];
    assert_eq!(other.recv(&mut buffer).unwrap(), 11);
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let (folder, path) = place();
    let check = async || {
        let error = UnixLinkListener::bind(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().ends_with("that is not a socket"), "{error}");
    };
    fs::write(&path, "precious").unwrap();
    check().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    // Not even what leads to a dead socket: whoever made it means something by it.
    let target = folder.path().join("target");
    leave_dead_socket(&target);
    symlink(&target, &path).unwrap();
    check().await;
    assert!(target.exists() && path.is_symlink());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let (folder, _) = place();
    let path = folder.path().join("missing/socket");
    let error = UnixLinkListener::bind(&path).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("no listener could be bound to {}", path.display()));
}

/// Many servers start at once over the file of a dead one: one of them has the address.
#[test]
fn of_many_servers_that_start_at_once_one_has_the_file() {
    const SERVERS: usize = 8;
    for round in 0..30 {
        let (_folder, path) = place();
        leave_dead_socket(&path);
        let (start, end) = (Barrier::new(SERVERS), Barrier::new(SERVERS));
        let server = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                start.wait();
                let bound = UnixLinkListener::bind(&path).await;
                end.wait();
                match bound {
                    Ok(mut listener) => {
                        assert!(is_reachable(&mut listener, &path).await, "its file was taken");
                        1
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error:?}");
                        0
                    }
                }
            })
        };
        let winners: usize = thread::scope(|scope| {
            let servers: Vec<_> = (0..SERVERS).map(|_| scope.spawn(server)).collect();
            servers.into_iter().map(|server| server.join().unwrap()).sum()
        });
        assert_eq!(winners, 1, "round {round}");
    }
}

#[tokio::test]
async fn only_the_own_user_can_connect_unless_it_is_said_otherwise() {
    let (_folder, path) = place();
    let mode = || fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
    let listener = UnixLinkListener::bind(&path).await.unwrap();
    assert_eq!(mode(), 0o600);
    drop(listener);
    for wanted in [0o666, 0o660, 0o600, 0o777] {
        let _listener = UnixLinkListener::bind_with_mode(&path, wanted).await.unwrap();
        assert_eq!(mode(), wanted);
    }
    let _listener = UnixLinkListener::bind_with_mode(&path, 0o7666).await.unwrap();
    assert_eq!(mode(), 0o666, "the rest means nothing for a socket");
}

#[tokio::test]
async fn the_file_goes_with_the_listener() {
    let (_folder, path) = place();
    let listener = UnixLinkListener::bind(&path).await.unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    drop(listener);
    assert!(!path.exists());
    drop(UnixLinkListener::bind(&path).await.unwrap());
}

#[tokio::test]
async fn the_file_of_somebody_else_stays() {
    let (folder, path) = place();
    let listener = UnixLinkListener::bind(&path).await.unwrap();
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let mut successor = UnixLinkListener::bind(&path).await.unwrap();
    drop(listener);
    assert!(is_reachable(&mut successor, &path).await);
    drop(successor);

    // Nor does a listener remove what it has not made.
    let std = UnixListener::bind(&path).unwrap();
    let mut listener = UnixLinkListener::from_std(std).unwrap();
    assert!(is_reachable(&mut listener, &path).await);
    drop(listener);
    assert!(path.exists());
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_somebody_keeps_locked_is_an_error_in_the_end() {
    let (folder, path) = place();
    leave_dead_socket(&path);
    let lock = fs::File::open(folder.path()).unwrap();
    lock.lock().unwrap();
    let error = UnixLinkListener::bind(&path).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(path.exists());
}

#[tokio::test(start_paused = true)]
async fn a_lock_on_the_folder_is_waited_for() {
    let (folder, path) = place();
    leave_dead_socket(&path);
    let lock = fs::File::open(folder.path()).unwrap();
    lock.lock().unwrap();
    let mut bind = Box::pin(UnixLinkListener::bind(&path));
    let poll = std::future::poll_fn(|cx| Poll::Ready(bind.as_mut().poll(cx)));
    assert!(poll.await.is_pending());
    drop(lock);
    let mut listener = bind.await.unwrap();
    assert!(is_reachable(&mut listener, &path).await);
}
