//! A listener made of an acceptor's source: so that a line with one peer, such as a serial port, can
//! stand in a [`ListenerSet`](crate::ListenerSet) beside sockets that anybody may dial.
//!
//! A source reads the hello of a link before it gives the link, and a listener's caller expects to
//! read it: so the hello is put back in front of what follows. There is no queue here. Who opens the
//! medium, waits for it and bounds a silent caller's time is the source.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;

use crate::link::{Link, LinkRx, Progress, SplitLink};
use crate::protocol::{ClientHello, Role};
use crate::source::{Attachment, LinkListener, LinkSource, is_fatal_kind};
use crate::stable::ConfigError;

/// A [`LinkListener`] that accepts the links which one acceptor's [`LinkSource`] gives.
///
/// # Behavior
///
/// - The source is asked for one link at a time; for the next one also while the last one lives.
/// - Dropping the future of [`accept`](LinkListener::accept) does not disturb the source: its attempt
///   goes on with the next call.
/// - What the source fails with is returned, and the source is asked again by the next call. The
///   error's kind is fatal exactly if the source [judges](LinkSource::is_fatal) the error to be; where
///   the kind has to be changed for that, the source's error is the cause.
/// - [`link_failed`](LinkSource::link_failed) is never called: a listener does not learn what becomes
///   of its links.
///
/// ```
/// use rejoin_core::{ConfigError, LinkListener, LinkSource, ListenerSet, SourceListener};
///
/// fn both(port: impl LinkSource, network: impl LinkListener) -> Result<ListenerSet, ConfigError> {
///     Ok(ListenerSet::new(network).and(SourceListener::new(port)?))
/// }
/// ```
pub struct SourceListener<S: LinkSource> {
    /// Invariant: never one that has ended, but between two lines of `accept`.
    attempt: Attempt<S>,
}

/// An attempt at the next link. It has the source with it, so that it can outlive the call that began
/// it: a caller half way through its hello is not to be hung up on because of a peer elsewhere.
type Attempt<S> = Pin<Box<dyn Future<Output = (S, Given<S>)> + Send>>;

type Given<S> = io::Result<Attachment<<S as LinkSource>::Link>>;

type UnreadLink<L> = SplitLink<<L as Link>::Tx, UnreadHello<<L as Link>::Rx>>;

impl<S: LinkSource> SourceListener<S> {
    /// Accepts what `source` gives.
    ///
    /// # Errors
    ///
    /// When the source's role is not the acceptor's.
    pub fn new(source: S) -> Result<Self, ConfigError> {
        if source.role() != Role::Acceptor {
            return Err(ConfigError::InitiatorInListener);
        }
        Ok(Self { attempt: begin(source) })
    }
}

/// Nothing happens before it is polled.
fn begin<S: LinkSource>(mut source: S) -> Attempt<S> {
    Box::pin(async move {
        let given = source.next_link().await;
        (source, given)
    })
}

impl<S: LinkSource> LinkListener for SourceListener<S> {
    type Link = UnreadLink<S::Link>;
    type Upgrade = Ready<io::Result<Self::Link>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let (source, given) = self.attempt.as_mut().await;
        // Nothing is waited for after this, so a link that was given cannot be lost.
        let given = given.map_err(|error| judged(&source, error));
        self.attempt = begin(source);
        Ok(ready(Ok(unread(given?))))
    }
}

impl<S: LinkSource> fmt::Debug for SourceListener<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceListener").finish_non_exhaustive()
    }
}

/// The error, of a kind that says what the source thinks of it.
fn judged(source: &impl LinkSource, error: io::Error) -> io::Error {
    match (source.is_fatal(&error), is_fatal_kind(&error)) {
        (true, false) => io::Error::new(io::ErrorKind::Unsupported, error),
        (false, true) => io::Error::other(error),
        _ => error,
    }
}

/// The link as it was before its hello was read.
fn unread<L: Link>(attachment: Attachment<L>) -> UnreadLink<L> {
    let hello = attachment.client_hello().cloned();
    let link = attachment.into_link();
    let peer = link.peer();
    let (tx, rx) = link.split();
    SplitLink::new(tx, UnreadHello { hello, limit: None, rx }, peer)
}

/// The receiving half of a link that gives the peer's hello first, though that was read before.
#[derive(Debug)]
pub struct UnreadHello<R> {
    /// Kept decoded, so that its key is not in anybody's debug output.
    hello: Option<ClientHello>,
    /// A limit that the half has not been told yet. What is for the hello must not reach the half:
    /// that may be reading what follows already.
    limit: Option<Option<usize>>,
    rx: R,
}

impl<R: LinkRx> LinkRx for UnreadHello<R> {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(hello) = self.hello.take() {
            return Ok(Some(Bytes::copy_from_slice(&hello.encode())));
        }
        if let Some(limit) = self.limit.take() {
            self.rx.limit_payloads(limit);
        }
        self.rx.recv().await
    }

    fn recv_parts(&mut self, take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        if self.hello.is_some() || self.limit.is_some() {
            return Bytes::new();
        }
        self.rx.recv_parts(take)
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.limit = Some(bytes_max);
    }

    fn progress(&self) -> Progress {
        self.rx.progress()
    }
}

#[cfg(test)]
#[path = "source_listener_tests.rs"]
mod tests;
