//! Where links come from: a [`LinkSource`] dials or awaits one link after another, a
//! [`LinkListener`] accepts many.

use std::future::{Future, ready};
use std::io;
use std::time::Duration;

use crate::link::{Link, LinkRx, SplitLink};
use crate::protocol::{ClientHello, HELLO_LEN, ResumeKey, Role};

/// Gives fresh links to one peer, one after another, for as long as a session lives.
///
/// # Behavior
///
/// - Each link is fresh: independent of every link given before, also of one that died badly.
pub trait LinkSource: Send + 'static {
    /// The kind of link that this source gives.
    type Link: Link;

    /// Dials, or waits for, the next link.
    ///
    /// # Behavior
    ///
    /// - One call is one attempt: the caller owns retries, delays and deadlines.
    /// - The future may be dropped at any point, which abandons the attempt and nothing else; the
    ///   next call starts afresh.
    /// - A source that has nothing more to give fails with an error for which
    ///   [`is_fatal`](Self::is_fatal) is true, now and ever after.
    fn next_link(&mut self) -> impl Future<Output = io::Result<Attachment<Self::Link>>> + Send;

    /// Who speaks first on the links of this source.
    ///
    /// # Behavior
    ///
    /// - Never changes. Every attachment fits it: [`Attachment::initiator`] for an initiator,
    ///   [`prepare_acceptor_attachment`] for an acceptor.
    /// - An acceptor's source is asked for the next link also while the last one lives, so that a
    ///   peer that has lost its end can come back. An initiator's is asked while a link lives only when
    ///   another is wanted in its place.
    fn role(&self) -> Role {
        Role::Initiator
    }

    /// Whether another attempt after `error` would be pointless.
    ///
    /// # Behavior
    ///
    /// - Judges an error that [`next_link`](Self::next_link) of this source returned.
    /// - `true` ends the session; `false` leads to another attempt after a delay.
    fn is_fatal(&self, error: &io::Error) -> bool {
        is_fatal_kind(error)
    }

    /// How long the link given last is to be in use before this source is asked for a better one.
    ///
    /// # Behavior
    ///
    /// - `None`, the default, means that there is none to ask for.
    /// - Judges the link given last: asked after each link, and after each
    ///   [`next_better_link`](Self::next_better_link) that failed.
    /// - Is of no effect for an acceptor's source.
    fn better_after(&self) -> Option<Duration> {
        None
    }

    /// Makes a link that is better than the one given last, while that one is in use.
    ///
    /// # Behavior
    ///
    /// - As [`next_link`](Self::next_link), but fails rather than give a link that is no better.
    /// - An error, also a fatal one, concerns the better link only: the one in use goes on, and the
    ///   source can still be asked for a next one.
    fn next_better_link(
        &mut self,
    ) -> impl Future<Output = io::Result<Attachment<Self::Link>>> + Send {
        ready(Err(io::Error::new(io::ErrorKind::Unsupported, "the source knows of no better link")))
    }

    /// Is told that the handshake on the link given last failed with `error`, or was rejected.
    ///
    /// # Behavior
    ///
    /// - After a link from [`next_better_link`](Self::next_better_link), the one given before it
    ///   counts as given last again.
    /// - Comes before [`is_fatal`](Self::is_fatal) is asked about `error`.
    fn link_failed(&mut self, error: &io::Error) {
        let _ = error;
    }
}

/// What [`LinkSource::is_fatal`] answers unless a source knows better: a wrong argument, a missing
/// capability or a missing permission does not heal with time, everything else may.
#[must_use]
pub fn is_fatal_kind(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

/// Accepts links from many peers.
pub trait LinkListener: Send + 'static {
    /// The kind of link that this listener accepts.
    type Link: Link;
    /// The rest of an accepted peer's way to a link: a TLS or WebSocket handshake, or nothing.
    type Upgrade: Future<Output = io::Result<Self::Link>> + Send + 'static;

    /// Waits for the next peer.
    ///
    /// # Behavior
    ///
    /// - Never waits for anything that an accepted peer has yet to say; that belongs into the
    ///   [`Upgrade`](Self::Upgrade), which the caller runs beside others and under a deadline.
    /// - The future may be dropped at any point; no peer that was accepted is lost by it.
    /// - An error that concerns one peer only is not returned here.
    /// - An error that is returned is transient, unless its kind is one of those that
    ///   [`is_fatal_kind`] names: after that nothing more is accepted.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Upgrade>> + Send;
}

/// A fresh link, together with what is already known of the handshake on it.
#[derive(Debug)]
pub struct Attachment<L> {
    pub(crate) link: L,
    pub(crate) client_hello: Option<ClientHello>,
    /// The key to answer with, where a listener has admitted the hello already.
    pub(crate) key: Option<ResumeKey>,
}

impl<L> Attachment<L> {
    /// A link on which this side speaks first.
    pub fn initiator(link: L) -> Self {
        Self { link, client_hello: None, key: None }
    }

    /// The hello that the peer has sent, where this side is the acceptor.
    ///
    /// Its [resume key](ClientHello::resume_key) lets a server route the link to its session.
    pub fn client_hello(&self) -> Option<&ClientHello> {
        self.client_hello.as_ref()
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.link
    }

    /// Gives the link out, without what is known of the handshake.
    pub fn into_link(self) -> L {
        self.link
    }

    /// Changes the link and keeps what is known of the handshake.
    pub fn map_link<M>(self, map: impl FnOnce(L) -> M) -> Attachment<M> {
        Attachment { link: map(self.link), client_hello: self.client_hello, key: self.key }
    }
}

/// Reads the peer's hello from `link`, which makes this side its acceptor.
///
/// Waits for as long as the peer takes: run it under a deadline, and beside other peers'.
///
/// # Errors
///
/// - [`io::ErrorKind::InvalidData`] with a [`HelloError`](crate::protocol::HelloError) as source
///   when the first payload is not a hello.
/// - [`io::ErrorKind::UnexpectedEof`] when the peer closed the link without one.
/// - Whatever the link failed with.
///
/// # Cancel safety
///
/// Dropping the future drops the link, and nothing else.
pub async fn prepare_acceptor_attachment<L: Link>(
    link: L,
) -> io::Result<Attachment<SplitLink<L::Tx, L::Rx>>> {
    let peer = link.peer();
    let (tx, mut rx) = link.split();
    rx.limit_payloads(Some(HELLO_LEN));
    let Some(payload) = rx.recv().await? else {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer closed the link before its hello",
        ));
    };
    let hello = ClientHello::decode(&payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    rx.limit_payloads(None);
    Ok(Attachment { link: SplitLink::new(tx, rx, peer), client_hello: Some(hello), key: None })
}
