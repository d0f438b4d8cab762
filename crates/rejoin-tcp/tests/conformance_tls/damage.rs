//! A network that does what the fault proxy does, and damages bytes besides: a relay before the
//! proxy flips a bit in what it passes on.
//!
//! TCP would notice such damage on a cable. Something on the way that reads and writes TCP, on purpose
//! or with broken memory, makes it unnoticed.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rejoin_conformance::proxy::FaultProxy;
use rejoin_conformance::{Faults, Sever, Toward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The relay and the proxy. All of it ends when this is dropped.
pub(crate) struct DamagedNetwork {
    address: SocketAddr,
    proxy: FaultProxy,
    live: Arc<Live>,
    task: AbortHandle,
}

/// The directions of the connections that may be there still.
type Live = Mutex<Vec<Weak<Direction>>>;

/// Whether the next byte is to be damaged.
type Direction = Mutex<bool>;

impl DamagedNetwork {
    /// Passes on to `upstream`.
    pub(crate) async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let proxy = FaultProxy::start(upstream).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, proxied) = (listener.local_addr()?, proxy.addr());
        let live = Arc::new(Live::default());
        let seen = Arc::clone(&live);
        let task = tokio::spawn(async move {
            let mut relayed = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let directions = [Arc::new(Direction::default()), Arc::new(Direction::default())];
                lock(&seen).extend(directions.iter().map(Arc::downgrade));
                relayed.spawn(async move {
                    // Where there is no way on, the client sees its end.
                    if let Ok(server) = TcpStream::connect(proxied).await {
                        relay(client, server, directions).await;
                    }
                });
            }
        });
        Ok(Self { address, proxy, live, task: task.abort_handle() })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DamagedNetwork {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faults for DamagedNetwork {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        if how != Sever::Corrupted {
            return self.proxy.sever(how).await;
        }
        for direction in lock(&self.live).iter().filter_map(Weak::upgrade) {
            *lock(&direction) = true;
        }
        Ok(())
    }

    async fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> io::Result<()> {
        self.proxy.sever_next_after(toward, bytes).await
    }

    async fn restore(&mut self) -> io::Result<()> {
        self.proxy.restore().await
    }
}

/// Passes on everything, ends and resets included.
async fn relay(client: TcpStream, server: TcpStream, [to, from]: [Arc<Direction>; 2]) {
    // They fail on dead sockets only.
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let both = async {
        tokio::try_join!(
            pass(from_client, &mut to_server, &to),
            pass(from_server, &mut to_client, &from),
        )
    };
    if both.await.is_err() {
        let _ = to_client.as_ref().set_zero_linger();
        let _ = to_server.as_ref().set_zero_linger();
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    direction: &Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let bytes = &mut buffer[..count];
        if std::mem::take(&mut *lock(direction)) {
            // Anywhere: in the length of a record, in what is encrypted, in what signs for it.
            let (place, bit) = (usize::from(bytes[count / 2]) * 7 % count, count % 8);
            bytes[place] ^= 1 << bit;
        }
        to.write_all(bytes).await?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
