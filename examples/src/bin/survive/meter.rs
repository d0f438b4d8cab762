//! Links that note where on the wire their frames end, so that a cut can be placed inside one.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rejoin_tcp::{Attachment, Link, LinkListener, LinkSource, LinkTx, Peer};

/// What the frames of one direction of a transport are wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each has a length of four bytes in front.
    #[default]
    LengthPrefix,
    /// As WebSocket messages, after the head of an HTTP message.
    WebSocket {
        /// How long the head is.
        head_bytes: u64,
        /// How long the mask of each is.
        mask_bytes: u64,
    },
}

impl Framing {
    fn begin(self) -> u64 {
        match self {
            Self::LengthPrefix => 0,
            Self::WebSocket { head_bytes, .. } => head_bytes,
        }
    }

    /// How long a frame of `bytes` bytes is on the wire.
    fn wrapped(self, bytes: u64) -> u64 {
        match self {
            Self::LengthPrefix => 4 + bytes,
            // RFC 6455, section 5.2.
            Self::WebSocket { mask_bytes, .. } => {
                let length_bytes = match bytes {
                    0..=125 => 0,
                    126..=0xffff => 2,
                    _ => 8,
                };
                2 + length_bytes + mask_bytes + bytes
            }
        }
    }
}

/// Where the frames end that one side has sent on its latest link, in bytes from its beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    framing: Framing,
    latest: Arc<Mutex<Sent>>,
}

#[derive(Debug, Default)]
struct Sent {
    /// The number of the link.
    link: u64,
    ends: Vec<u64>,
}

impl Meter {
    /// Of frames that are wrapped so.
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, latest: Arc::default() }
    }

    /// Whether no frame is torn when the first `bytes` bytes of the link arrive and no others.
    pub(crate) fn is_boundary(&self, bytes: u64) -> bool {
        bytes == self.framing.begin() || self.sent().ends.binary_search(&bytes).is_ok()
    }

    /// A new link begins; gives its number.
    fn begin(&self) -> u64 {
        let mut sent = self.sent();
        sent.ends.clear();
        sent.link += 1;
        sent.link
    }

    /// `link` sends a frame. A link that is not the latest any more may still do so.
    fn frame(&self, link: u64, bytes: u64) {
        let mut sent = self.sent();
        if sent.link == link {
            let begin = sent.ends.last().copied().unwrap_or(self.framing.begin());
            let end = begin + self.framing.wrapped(bytes);
            sent.ends.push(end);
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link, a source of links or a listener for links that tells a [`Meter`] what is sent.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    inner: T,
    meter: Meter,
    /// The number of the link; a source or a listener has none.
    link: u64,
}

impl<T> Metered<T> {
    /// What `inner` gives will tell `meter`.
    pub(crate) fn new(inner: T, meter: &Meter) -> Self {
        Self { inner, meter: meter.clone(), link: 0 }
    }

    fn begin(inner: T, meter: Meter) -> Self {
        Self { link: meter.begin(), inner, meter }
    }
}

impl<S: LinkSource> LinkSource for Metered<S> {
    type Link = Metered<S::Link>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        let attachment = self.inner.next_link().await?;
        Ok(attachment.map_link(|inner| Metered::begin(inner, self.meter.clone())))
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        self.inner.is_fatal(error)
    }
}

impl<L: LinkListener> LinkListener for Metered<L> {
    type Link = Metered<L::Link>;
    type Upgrade = Pin<Box<dyn Future<Output = io::Result<Self::Link>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let upgrade = self.inner.accept().await?;
        let meter = self.meter.clone();
        Ok(Box::pin(async move { Ok(Metered::begin(upgrade.await?, meter)) }))
    }
}

impl<L: Link> Link for Metered<L> {
    type Tx = Metered<L::Tx>;
    type Rx = L::Rx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        let (inner, rx) = self.inner.split();
        (Metered { inner, meter: self.meter, link: self.link }, rx)
    }

    fn peer(&self) -> Peer {
        self.inner.peer()
    }
}

impl<T: LinkTx> LinkTx for Metered<T> {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        // Noted before a byte of it can be on the wire.
        self.meter.frame(self.link, (head.len() + body.len()) as u64);
        self.inner.send(head, body).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        self.meter.frame(self.link, (head.len() + part.len()) as u64);
        self.inner.send_part(head, bytes, part).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().await
    }

    async fn close(self) -> io::Result<()> {
        self.inner.close().await
    }

    fn payload_bytes_max(&self) -> usize {
        self.inner.payload_bytes_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_ends_of_frames_on_the_latest_link() {
        let meter = Meter::default();
        let first = meter.begin();
        meter.frame(first, 25);
        meter.frame(first, 0);
        let ends = |meter: &Meter| (0..40).filter(|&at| meter.is_boundary(at)).collect::<Vec<_>>();
        assert_eq!(ends(&meter), [0, 29, 33]);
        let second = meter.begin();
        meter.frame(second, 6);
        meter.frame(first, 7);
        assert_eq!(ends(&meter), [0, 10]);
    }

    #[test]
    fn knows_the_ends_of_websocket_messages() {
        let meter = Meter::new(Framing::WebSocket { head_bytes: 100, mask_bytes: 4 });
        let link = meter.begin();
        for bytes in [0, 125, 126, 0xffff, 0x1_0000] {
            meter.frame(link, bytes);
        }
        let expected = [100, 106, 237, 371, 65_914, 131_464];
        let ends: Vec<_> = (1..140_000).filter(|&at| meter.is_boundary(at)).collect();
        assert_eq!(ends, expected);
    }
}
