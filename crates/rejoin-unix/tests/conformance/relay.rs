//! Two relays with the fault proxy between them: a Unix socket, TCP to the proxy, TCP from there, and
//! a Unix socket again. What the proxy does to TCP connections, the relays do to Unix sockets.
//!
//! There is one thing that Unix sockets do not have: a reset. What comes closest is a process that is
//! killed while it writes a message, so that is what a relay makes of one.

use std::io;
use std::path::{Path, PathBuf};

use rejoin_conformance::proxy::FaultProxy;
use rejoin_conformance::{Faults, Sever, Toward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf as TcpReader, OwnedWriteHalf as TcpWriter};
use tokio::net::unix::{OwnedReadHalf as UnixReader, OwnedWriteHalf as UnixWriter};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

/// The two relays and the proxy. All of it ends when this is dropped.
pub(crate) struct Relays {
    proxy: FaultProxy,
    tasks: [JoinHandle<io::Result<()>>; 2],
}

impl Relays {
    /// Listens at `near` and passes on to `far`.
    pub(crate) async fn start(near: &Path, far: PathBuf) -> io::Result<Self> {
        let behind = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = FaultProxy::start(behind.local_addr()?).await?;
        let before = UnixListener::bind(near)?;
        let address = proxy.addr();
        let entry = tokio::spawn(async move {
            let mut relayed = JoinSet::new();
            loop {
                let (unix, _) = before.accept().await?;
                relayed.spawn(async move { relay(unix, TcpStream::connect(address).await?).await });
            }
        });
        let exit = tokio::spawn(async move {
            let mut relayed = JoinSet::new();
            loop {
                let (tcp, _) = behind.accept().await?;
                let far = far.clone();
                relayed.spawn(async move { relay(UnixStream::connect(far).await?, tcp).await });
            }
        });
        Ok(Self { proxy, tasks: [entry, exit] })
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Faults for Relays {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        self.proxy.sever(how).await
    }

    async fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> io::Result<()> {
        self.proxy.sever_next_after(toward, bytes).await
    }

    async fn restore(&mut self) -> io::Result<()> {
        self.proxy.restore().await
    }
}

/// Passes on everything, ends included, until both directions have ended or one has failed.
async fn relay(unix: UnixStream, tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let (from_unix, mut to_unix) = unix.into_split();
    let (from_tcp, mut to_tcp) = tcp.into_split();
    let mut messages = Messages::default();
    let both = async {
        tokio::try_join!(
            outward(from_unix, &mut to_tcp),
            inward(from_tcp, &mut to_unix, &mut messages),
        )
    };
    if both.await.is_ok() {
        return Ok(());
    }
    // Fails on a dead socket only.
    let _ = to_tcp.as_ref().set_zero_linger();
    if messages.is_between_two() {
        // The beginning of a message that does not come. Fails only where nobody is to see it.
        let _ = to_unix.write_all(&[0]).await;
    }
    Ok(())
}

async fn outward(mut from: UnixReader, to: &mut TcpWriter) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}

async fn inward(
    mut from: TcpReader,
    to: &mut UnixWriter,
    messages: &mut Messages,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let written = to.write(rest).await?;
            messages.pass(&rest[..written]);
            rest = &rest[written..];
        }
    }
}

/// Follows the length prefixes of what passes by.
#[derive(Default)]
struct Messages {
    prefix: Vec<u8>,
    /// How many bytes of the payload are to come.
    left: usize,
}

impl Messages {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            if self.left == 0
                && let Some((first, rest)) = bytes.split_first()
            {
                self.prefix.push(*first);
                bytes = rest;
                if let Ok(prefix) = <[u8; 4]>::try_from(self.prefix.as_slice()) {
                    self.left = u32::from_le_bytes(prefix) as usize;
                    self.prefix.clear();
                }
            }
        }
    }

    fn is_between_two(&self) -> bool {
        self.left == 0 && self.prefix.is_empty()
    }
}
