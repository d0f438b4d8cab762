//! The two ends that messages go between: of a conduit, and of a bare stream of the same kind of
//! sockets. Everything has its default settings, as a user's has who sets none.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rejoin_core::{LinkListener, LinkSource, MsgFamily, StableConduit, StableListener};
use rejoin_tcp::{TcpLinkListener, TcpSource};
use rejoin_unix::{UnixLinkListener, UnixSource};
use rejoin_websocket::{WebSocketLinkListener, WebSocketSource};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::Failure;

/// What the links go over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Medium {
    Tcp,
    Unix,
    WebSocket,
}

/// Both ends of one session, and the listener, without which it could not resume.
pub(crate) struct Session<F: MsgFamily> {
    pub(crate) client: StableConduit<F>,
    pub(crate) server: StableConduit<F>,
    pub(crate) listener: StableListener<F>,
}

/// Opens a session over `medium`.
pub(crate) async fn session<F: MsgFamily>(medium: Medium) -> Result<Session<F>, Failure> {
    match medium {
        Medium::Tcp => {
            let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
            let source = TcpSource::new(listener.local_addr()?);
            open(source, listener).await
        }
        Medium::Unix => {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("rejoin-bench-{}-{number}.sock", std::process::id());
            let path = std::env::temp_dir().join(name);
            let listener = UnixLinkListener::bind(path.clone()).await?;
            open(UnixSource::new(path), listener).await
        }
        Medium::WebSocket => {
            let listener = WebSocketLinkListener::bind("127.0.0.1:0").await?;
            let source = WebSocketSource::new(format!("ws://{}", listener.local_addr()?));
            open(source, listener).await
        }
    }
}

async fn open<F: MsgFamily>(
    source: impl LinkSource,
    listener: impl LinkListener,
) -> Result<Session<F>, Failure> {
    let mut listener = StableListener::<F>::new(listener);
    let (client, server) = tokio::join!(StableConduit::connect(source), listener.accept());
    Ok(Session { client: client?, server: server?, listener })
}

/// Two connected TCP sockets: the client's and the server's.
pub(crate) async fn tcp_streams() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (client, server) =
        tokio::try_join!(TcpStream::connect(listener.local_addr()?), listener.accept())?;
    client.set_nodelay(true)?;
    server.0.set_nodelay(true)?;
    Ok((client, server.0))
}

/// The runtime of all cases that name no other.
pub(crate) fn two_workers() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The runtime on which everything takes turns.
pub(crate) fn current_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// What a task gave, also where it failed or panicked.
pub(crate) async fn joined<T>(task: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await?
}
