//! What a transport gives: one message-oriented link, split into a sending and a receiving half.
//!
//! A link carries whole payloads, in order, while it lives. It knows nothing of sessions,
//! acknowledgement or retries: when it fails, it is thrown away and a
//! [`LinkSource`](crate::LinkSource) gives another one.
//!
//! The `# Behavior` lists below are the contract of a transport.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A connected, message-oriented link to one peer.
///
/// # Behavior
///
/// - The two halves work at the same time and independently of each other.
/// - Dropping both halves releases everything that the link holds.
pub trait Link: Send + 'static {
    /// The sending half.
    type Tx: LinkTx;
    /// The receiving half.
    type Rx: LinkRx;

    /// Takes the link apart.
    ///
    /// # Behavior
    ///
    /// - Neither blocks nor performs I/O.
    fn split(self) -> (Self::Tx, Self::Rx);

    /// What the transport knows of the peer.
    ///
    /// # Behavior
    ///
    /// - Never changes while the link lives.
    /// - Holds nothing that the peer could choose to mislead a log reader with, such as control
    ///   characters.
    fn peer(&self) -> Peer {
        Peer::default()
    }
}

/// The sending half of a [`Link`].
///
/// A transport need not write cancel-safe code: whoever drops one of these futures before it is
/// ready drops the half with it.
pub trait LinkTx: Send + 'static {
    /// Queues one payload, the concatenation of `head` and `body`.
    ///
    /// # Behavior
    ///
    /// - The peer receives `head` followed by `body` as one payload, whole and in order, or the
    ///   link dies.
    /// - An empty payload is a payload.
    /// - Writes to the medium only when the half's buffer is full; [`flush`](Self::flush) writes
    ///   the rest.
    /// - Waits while the medium takes no more, so that memory stays bounded.
    /// - A payload of more than [`payload_bytes_max`](Self::payload_bytes_max) bytes is refused
    ///   with [`io::ErrorKind::InvalidInput`] before a byte of it is queued; the link goes on.
    /// - Any other error means that the link is dead.
    fn send(&mut self, head: &[u8], body: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// As [`send`](Self::send) with that `part` of `bytes` for a body.
    ///
    /// A half that copies small bodies implements this instead: it then need not share in `bytes`,
    /// which costs more than such a copy.
    ///
    /// # Behavior
    ///
    /// - Does the same as `send(head, bytes.slice(part))`.
    fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        self.send(head, bytes.slice(part))
    }

    /// Writes everything queued to the medium.
    ///
    /// # Behavior
    ///
    /// - When it is ready, the medium has every payload that was queued before the call.
    /// - Does nothing when nothing is queued.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Flushes, then tells the peer that no more will come.
    ///
    /// # Behavior
    ///
    /// - The peer's [`LinkRx::recv`] gives everything sent before, then `None`.
    fn close(self) -> impl Future<Output = io::Result<()>> + Send;

    /// The largest payload that this half accepts, in bytes.
    ///
    /// # Behavior
    ///
    /// - Never changes while the link lives.
    fn payload_bytes_max(&self) -> usize;

    /// Counts the bytes that the medium takes.
    ///
    /// # Behavior
    ///
    /// - Grows while a payload is being written, not only with whole payloads; by it, a peer that is
    ///   slow is told from one that is gone. A half that cannot tell has one that never grows.
    fn progress(&self) -> Progress {
        Progress::default()
    }
}

/// The receiving half of a [`Link`].
///
/// As with [`LinkTx`], a future that is dropped before it is ready takes the half with it.
pub trait LinkRx: Send + 'static {
    /// Waits for the next payload; `None` means that the peer has closed the link.
    ///
    /// # Behavior
    ///
    /// - Payloads come whole, in order, each once.
    /// - `None` comes only after every payload that was sent before the peer's close.
    /// - A link that dies without a close gives an error, as does a medium that ends in the middle
    ///   of a payload.
    /// - After `None` or an error nothing more is delivered.
    /// - A payload that is longer than the half's limit is an error before memory is allocated
    ///   for it.
    fn recv(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;

    /// Takes payloads that have arrived already and lie side by side; gives where they lie, and
    /// `take`, for each, which part of that it is. `take` can leave one for later, and then all after
    /// it.
    ///
    /// A half that splits payloads off from larger blocks implements this: to share a block for each
    /// of them costs more than all else that is done with a small one.
    ///
    /// # Behavior
    ///
    /// - The parts are what [`recv`](Self::recv) would give, which goes on with the payload after
    ///   them.
    /// - Takes nothing where it cannot do so without the medium, and where `recv` would give an
    ///   error. May take nothing at any time.
    fn recv_parts(&mut self, take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        let _ = take;
        Bytes::new()
    }

    /// Sets a limit, in bytes, below the half's own for the payloads that follow; `None` takes it
    /// away again. During a handshake it keeps a stranger from sending megabytes for a hello.
    ///
    /// # Behavior
    ///
    /// - A payload over the limit is an error like one over the half's own, where the transport
    ///   knows a payload's length before it has all of it. Elsewhere this has no effect.
    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        let _ = bytes_max;
    }

    /// Counts the bytes that come from the medium.
    ///
    /// # Behavior
    ///
    /// - Grows while a payload is being read, not only with whole payloads; by it, a peer that is
    ///   slow is told from one that is gone. A half that cannot tell has one that never grows.
    fn progress(&self) -> Progress {
        Progress::default()
    }
}

/// Counts the bytes that a half of a link has moved. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Counts `bytes` more.
    #[inline]
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes were counted.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a transport knows of the peer at the other end of a link.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Peer {
    address: Option<String>,
    identity: Option<String>,
}

impl Peer {
    /// A peer at `address`, in whatever notation is usual for the transport.
    pub fn at(address: impl fmt::Display) -> Self {
        Self { address: Some(address.to_string()), identity: None }
    }

    /// The same peer, of whom the transport knows for sure who it is: the subject of a verified
    /// certificate, the user of a Unix socket.
    ///
    /// A session that was opened under an identity is resumed under the same one only.
    #[must_use]
    pub fn with_identity(self, identity: impl fmt::Display) -> Self {
        Self { identity: Some(identity.to_string()), ..self }
    }

    /// Who the peer is, where the transport knows for sure.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// The peer's address, where the transport has one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address.as_deref().unwrap_or("unknown"))?;
        match &self.identity {
            Some(identity) => write!(f, " ({identity})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({self})")
    }
}

/// Two halves put together again as one [`Link`].
#[derive(Debug)]
pub struct SplitLink<Tx, Rx> {
    tx: Tx,
    rx: Rx,
    peer: Peer,
}

impl<Tx, Rx> SplitLink<Tx, Rx> {
    /// Joins two halves of a link to `peer`.
    pub fn new(tx: Tx, rx: Rx, peer: Peer) -> Self {
        Self { tx, rx, peer }
    }
}

impl<Tx: LinkTx, Rx: LinkRx> Link for SplitLink<Tx, Rx> {
    type Tx = Tx;
    type Rx = Rx;

    fn split(self) -> (Tx, Rx) {
        (self.tx, self.rx)
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}
