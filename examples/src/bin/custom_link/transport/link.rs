//! A link over a pair of byte streams that end in the same way whether somebody closed them or died.
//!
//! `rejoin-stream` makes messages of bytes. What it cannot know is whether the end of a pipe was
//! meant: a child that is killed ends its output just like one that has nothing more to say. So
//! each payload begins with a byte that tells it from a goodbye, and an end without a goodbye is an
//! error. A medium whose ends can be told apart, as those of a WebSocket, needs nothing of this file.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_stream::{LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx, StreamConfig};
use rejoin_tcp::{Link, LinkRx, LinkTx, Peer, Progress};
use tokio::io::{AsyncRead, AsyncWrite};

use super::child::Leash;

const PAYLOAD: u8 = 0;
const GOODBYE: u8 = 1;
/// How much longer than a payload is what carries it.
const MARK_BYTES: usize = 1;

/// A link over two byte streams, at least one of which leads through a child process.
#[derive(Debug)]
pub(crate) struct PipeLink<R, W> {
    inner: LengthPrefixedLink<R, W>,
    leash: Option<Arc<Leash>>,
}

impl<R, W> PipeLink<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// A link that reads from one stream and writes to the other.
    pub(crate) fn new(reader: R, writer: W, peer: Peer, config: &StreamConfig) -> Self {
        // The limit is about payloads, and the mark is not the application's.
        let payload_bytes_max = config.payload_bytes_max.saturating_add(MARK_BYTES);
        let config = StreamConfig { payload_bytes_max, ..config.clone() };
        Self { inner: LengthPrefixedLink::new(reader, writer, peer, &config), leash: None }
    }

    /// The same link, through a child that is let go when both halves are gone.
    pub(crate) fn through(self, leash: Arc<Leash>) -> Self {
        Self { leash: Some(leash), ..self }
    }
}

impl<R, W> Link for PipeLink<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Tx = PipeTx<W>;
    type Rx = PipeRx<R>;

    fn split(self) -> (Self::Tx, Self::Rx) {
        let (tx, rx) = self.inner.split();
        let tx = PipeTx { inner: tx, head: Vec::new(), _leash: self.leash.clone() };
        (tx, PipeRx { inner: rx, state: State::Open, _leash: self.leash })
    }

    fn peer(&self) -> Peer {
        self.inner.peer()
    }
}

/// The sending half of a [`PipeLink`].
#[derive(Debug)]
pub(crate) struct PipeTx<W> {
    // Before the leash, so that the child's input has ended when the child is let go.
    inner: LengthPrefixedTx<W>,
    /// Used again for each payload.
    head: Vec<u8>,
    _leash: Option<Arc<Leash>>,
}

impl<W: AsyncWrite + Unpin + Send + 'static> LinkTx for PipeTx<W> {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        let part = 0..body.len();
        self.send_part(head, &body, part).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        self.head.clear();
        self.head.push(PAYLOAD);
        self.head.extend_from_slice(head);
        self.inner.send_part(&self.head, bytes, part).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().await
    }

    async fn close(mut self) -> io::Result<()> {
        self.inner.send(&[GOODBYE], Bytes::new()).await?;
        self.inner.close().await
    }

    fn payload_bytes_max(&self) -> usize {
        self.inner.payload_bytes_max() - MARK_BYTES
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }
}

/// The receiving half of a [`PipeLink`].
#[derive(Debug)]
pub(crate) struct PipeRx<R> {
    inner: LengthPrefixedRx<R>,
    state: State,
    _leash: Option<Arc<Leash>>,
}

/// Whether more can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Closed,
    Failed,
}

impl<R: AsyncRead + Unpin + Send + 'static> LinkRx for PipeRx<R> {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        match self.state {
            State::Open => {}
            State::Closed => return Ok(None),
            State::Failed => return Err(failed("the link has failed before")),
        }
        // Until it is known better.
        self.state = State::Failed;
        let Some(mut message) = self.inner.recv().await? else {
            let text = "the stream ended without a goodbye: somebody on the way has died";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        };
        match message.first() {
            Some(&PAYLOAD) => {
                self.state = State::Open;
                // A view of the same bytes, not a copy.
                Ok(Some(message.split_off(MARK_BYTES)))
            }
            Some(&GOODBYE) if message.len() == MARK_BYTES => {
                self.state = State::Closed;
                Ok(None)
            }
            _ => Err(failed("the peer speaks another language")),
        }
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.inner.limit_payloads(bytes_max.map(|bytes| bytes.saturating_add(MARK_BYTES)));
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }
}

fn failed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
