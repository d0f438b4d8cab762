//! Link sources behind a pointer, for when the kind of link is known only at run time.
//!
//! The price is one allocation for each call of a link half. Sources that are known at compile
//! time need nothing of this.

use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::link::{Link, LinkRx, LinkTx, Progress, SplitLink};
use crate::protocol::Role;
use crate::source::{Attachment, LinkSource};

/// A [`LinkSource`] that can be made into an object.
///
/// Every link source is one, and a `Box<dyn DynLinkSource>` is a link source again:
///
/// ```
/// use rejoin_core::{DynLinkSource, LinkSource};
///
/// fn either(
///     cable: impl LinkSource,
///     radio: impl LinkSource,
///     by_cable: bool,
/// ) -> impl LinkSource {
///     let source: Box<dyn DynLinkSource> =
///         if by_cable { Box::new(cable) } else { Box::new(radio) };
///     source
/// }
/// ```
///
/// # Behavior
///
/// - Is in every respect the source that it was made from.
#[async_trait]
pub trait DynLinkSource: Send + 'static {
    /// Dials, or waits for, the next link.
    ///
    /// # Behavior
    ///
    /// - As [`LinkSource::next_link`]; the link's [peer](Link::peer) and what is known of its
    ///   handshake are kept.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt and nothing else; the next call starts afresh.
    async fn next_link_dyn(&mut self) -> io::Result<Attachment<BoxLink>>;

    /// Whether another attempt after `error` would be pointless.
    ///
    /// # Behavior
    ///
    /// - As [`LinkSource::is_fatal`].
    fn is_fatal_dyn(&self, error: &io::Error) -> bool;

    /// Who speaks first on the links of this source.
    ///
    /// # Behavior
    ///
    /// - As [`LinkSource::role`].
    fn role_dyn(&self) -> Role;

    /// How long the link given last is to be in use before this source is asked for a better one.
    ///
    /// # Behavior
    ///
    /// - As [`LinkSource::better_after`].
    fn better_after_dyn(&self) -> Option<Duration>;

    /// Makes a link that is better than the one given last, while that one is in use.
    ///
    /// # Behavior
    ///
    /// - As [`LinkSource::next_better_link`].
    ///
    /// # Cancel safety
    ///
    /// As [`next_link_dyn`](Self::next_link_dyn).
    async fn next_better_link_dyn(&mut self) -> io::Result<Attachment<BoxLink>>;

    /// Is told that the handshake on the link given last failed with `error`, or was rejected.
    ///
    /// # Behavior
    ///
    /// - As [`LinkSource::link_failed`].
    fn link_failed_dyn(&mut self, error: &io::Error);
}

#[async_trait]
impl<S: LinkSource> DynLinkSource for S {
    async fn next_link_dyn(&mut self) -> io::Result<Attachment<BoxLink>> {
        Ok(self.next_link().await?.map_link(box_link))
    }

    fn is_fatal_dyn(&self, error: &io::Error) -> bool {
        self.is_fatal(error)
    }

    fn role_dyn(&self) -> Role {
        self.role()
    }

    fn better_after_dyn(&self) -> Option<Duration> {
        self.better_after()
    }

    async fn next_better_link_dyn(&mut self) -> io::Result<Attachment<BoxLink>> {
        Ok(self.next_better_link().await?.map_link(box_link))
    }

    fn link_failed_dyn(&mut self, error: &io::Error) {
        self.link_failed(error);
    }
}

impl LinkSource for Box<dyn DynLinkSource> {
    type Link = BoxLink;

    async fn next_link(&mut self) -> io::Result<Attachment<BoxLink>> {
        // Named through the object: the box is itself a `DynLinkSource`, made from this one.
        (**self).next_link_dyn().await
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        (**self).is_fatal_dyn(error)
    }

    fn role(&self) -> Role {
        (**self).role_dyn()
    }

    fn better_after(&self) -> Option<Duration> {
        (**self).better_after_dyn()
    }

    async fn next_better_link(&mut self) -> io::Result<Attachment<BoxLink>> {
        (**self).next_better_link_dyn().await
    }

    fn link_failed(&mut self, error: &io::Error) {
        (**self).link_failed_dyn(error);
    }
}

/// Any link, behind pointers.
pub type BoxLink = SplitLink<BoxLinkTx, BoxLinkRx>;

pub(crate) fn box_link<L: Link>(link: L) -> BoxLink {
    let peer = link.peer();
    let (tx, rx) = link.split();
    SplitLink::new(BoxLinkTx(Box::new(tx)), BoxLinkRx(Box::new(rx)), peer)
}

/// Any sending half of a link.
pub struct BoxLinkTx(Box<dyn DynLinkTx>);

impl LinkTx for BoxLinkTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        self.0.send(head, body).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        self.0.send_part(head, bytes, part).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(self) -> io::Result<()> {
        self.0.close().await
    }

    fn payload_bytes_max(&self) -> usize {
        self.0.payload_bytes_max()
    }

    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl fmt::Debug for BoxLinkTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxLinkTx").finish_non_exhaustive()
    }
}

/// Any receiving half of a link.
pub struct BoxLinkRx(Box<dyn DynLinkRx>);

impl LinkRx for BoxLinkRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        self.0.recv().await
    }

    fn recv_parts(&mut self, mut take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        self.0.recv_parts(&mut take)
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.0.limit_payloads(bytes_max);
    }

    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl fmt::Debug for BoxLinkRx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxLinkRx").finish_non_exhaustive()
    }
}

/// [`LinkTx`] as an object.
#[async_trait]
trait DynLinkTx: Send {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()>;
    async fn send_part(&mut self, head: &[u8], bytes: &Bytes, part: Range<usize>)
    -> io::Result<()>;
    async fn flush(&mut self) -> io::Result<()>;
    async fn close(self: Box<Self>) -> io::Result<()>;
    fn payload_bytes_max(&self) -> usize;
    fn progress(&self) -> Progress;
}

#[async_trait]
impl<T: LinkTx> DynLinkTx for T {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        LinkTx::send(self, head, body).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        LinkTx::send_part(self, head, bytes, part).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        LinkTx::flush(self).await
    }

    async fn close(self: Box<Self>) -> io::Result<()> {
        LinkTx::close(*self).await
    }

    fn payload_bytes_max(&self) -> usize {
        LinkTx::payload_bytes_max(self)
    }

    fn progress(&self) -> Progress {
        LinkTx::progress(self)
    }
}

/// [`LinkRx`] as an object.
#[async_trait]
trait DynLinkRx: Send {
    async fn recv(&mut self) -> io::Result<Option<Bytes>>;
    fn recv_parts(&mut self, take: &mut dyn FnMut(Range<usize>) -> bool) -> Bytes;
    fn limit_payloads(&mut self, bytes_max: Option<usize>);
    fn progress(&self) -> Progress;
}

#[async_trait]
impl<R: LinkRx> DynLinkRx for R {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        LinkRx::recv(self).await
    }

    fn recv_parts(&mut self, take: &mut dyn FnMut(Range<usize>) -> bool) -> Bytes {
        LinkRx::recv_parts(self, take)
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        LinkRx::limit_payloads(self, bytes_max);
    }

    fn progress(&self) -> Progress {
        LinkRx::progress(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    // Not everything, because the methods of the object traits are named as those they stand for.
    use super::{
        Attachment, Bytes, Duration, DynLinkSource, Link, LinkRx, LinkSource, LinkTx, Range, io,
    };
    use crate::link::Peer;

    /// Gives one link to itself, then nothing more.
    struct Once {
        link: Option<Echo>,
    }

    impl LinkSource for Once {
        type Link = Echo;

        async fn next_link(&mut self) -> io::Result<Attachment<Echo>> {
            let link = self.link.take().ok_or_else(|| io::Error::other("used up"))?;
            Ok(Attachment::initiator(link))
        }

        fn is_fatal(&self, _: &io::Error) -> bool {
            true
        }

        fn better_after(&self) -> Option<Duration> {
            self.link.is_none().then_some(Duration::from_secs(9))
        }

        async fn next_better_link(&mut self) -> io::Result<Attachment<Echo>> {
            Err(io::Error::other("none better"))
        }

        fn link_failed(&mut self, _: &io::Error) {
            self.link = Some(Echo { closed: Arc::default() });
        }
    }

    /// A link whose receiving half gives what its sending half was sent.
    struct Echo {
        closed: Arc<AtomicBool>,
    }

    struct EchoTx {
        sent: tokio::sync::mpsc::Sender<Bytes>,
        closed: Arc<AtomicBool>,
    }

    struct EchoRx(tokio::sync::mpsc::Receiver<Bytes>);

    impl Link for Echo {
        type Tx = EchoTx;
        type Rx = EchoRx;

        fn split(self) -> (EchoTx, EchoRx) {
            let (sent, received) = tokio::sync::mpsc::channel(4);
            (EchoTx { sent, closed: self.closed }, EchoRx(received))
        }

        fn peer(&self) -> Peer {
            Peer::at("myself")
        }
    }

    impl LinkTx for EchoTx {
        async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
            let payload = [head, &body].concat().into();
            self.sent.send(payload).await.map_err(io::Error::other)
        }

        async fn send_part(
            &mut self,
            head: &[u8],
            bytes: &Bytes,
            part: Range<usize>,
        ) -> io::Result<()> {
            // Told from `send` by what it does.
            self.send(head, [b"part ", &bytes[part]].concat().into()).await
        }

        async fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        async fn close(self) -> io::Result<()> {
            self.closed.store(true, Ordering::Relaxed);
            Ok(())
        }

        fn payload_bytes_max(&self) -> usize {
            77
        }
    }

    impl LinkRx for EchoRx {
        async fn recv(&mut self) -> io::Result<Option<Bytes>> {
            Ok(self.0.recv().await)
        }

        fn recv_parts(&mut self, mut take: impl FnMut(Range<usize>) -> bool) -> Bytes {
            let there = self.0.try_recv().unwrap_or_default();
            assert!(take(0..there.len()));
            there
        }
    }

    async fn exercise(mut source: impl LinkSource, closed: &AtomicBool) {
        let attachment = source.next_link().await.unwrap();
        assert_eq!(attachment.link().peer(), Peer::at("myself"));
        let (mut tx, mut rx) = attachment.link.split();
        assert_eq!(tx.payload_bytes_max(), 77);
        tx.send(b"he", Bytes::from_static(b"llo")).await.unwrap();
        tx.flush().await.unwrap();
        assert_eq!(rx.recv().await.unwrap().as_deref(), Some(&b"hello"[..]));
        tx.send_part(b"a ", &Bytes::from_static(b"hello"), 1..4).await.unwrap();
        let mut parts = Vec::new();
        let run = rx.recv_parts(|part| {
            parts.push((part.start, part.end));
            true
        });
        assert_eq!((&run[..], &parts[..]), (&b"a part ell"[..], &[(0, 10)][..]));
        assert!(!closed.load(Ordering::Relaxed));
        tx.close().await.unwrap();
        assert!(closed.load(Ordering::Relaxed));
        assert_eq!(rx.recv().await.unwrap(), None);

        let Err(error) = source.next_link().await else { panic!("the source was used up") };
        assert_eq!(error.to_string(), "used up");
        assert!(source.is_fatal(&error), "the source's own judgement counts");

        assert_eq!(source.better_after(), Some(Duration::from_secs(9)));
        let Err(error) = source.next_better_link().await else { panic!("there is none") };
        assert_eq!(error.to_string(), "none better");
        source.link_failed(&error);
        assert!(source.next_link().await.is_ok(), "the source was told");
    }

    #[tokio::test]
    async fn a_boxed_source_is_the_source_in_it() {
        let closed = Arc::new(AtomicBool::new(false));
        let source = Once { link: Some(Echo { closed: closed.clone() }) };
        let source: Box<dyn DynLinkSource> = Box::new(source);
        exercise(source, &closed).await;
    }

    #[tokio::test]
    async fn a_box_can_be_boxed() {
        let closed = Arc::new(AtomicBool::new(false));
        let source = Once { link: Some(Echo { closed: closed.clone() }) };
        let source: Box<dyn DynLinkSource> = Box::new(source);
        let source: Box<dyn DynLinkSource> = Box::new(source);
        exercise(source, &closed).await;
    }
}
