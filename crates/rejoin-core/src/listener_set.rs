//! One listener made of several, also of different transports: so that a peer's
//! [`Failover`](crate::Failover) reaches the same sessions over each of them.
//!
//! It accepts from all and prefers none. It deliberately knows nothing of sessions, and tells the
//! transports apart only by what each says of its [peers](crate::Peer).

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::dyn_source::{BoxLink, box_link};
use crate::source::{LinkListener, is_fatal_kind};

/// How long to leave a listener alone that fails for now.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// A [`LinkListener`] that accepts from several ones, also of different transports.
///
/// - Peers of all are accepted in turn, so none of the listeners can keep the others waiting.
/// - One that fails for now is tried again after 100 ms, and the others go on meanwhile.
/// - One that fails for good is left out from then on. When the last one has, so has the whole.
///
/// ```
/// use rejoin_core::{LinkListener, ListenerSet, StableListener};
///
/// fn serve(cable: impl LinkListener, radio: impl LinkListener) -> StableListener<String> {
///     StableListener::new(ListenerSet::new(cable).and(radio))
/// }
/// ```
pub struct ListenerSet {
    /// Never empty, until all have failed for good.
    entries: Vec<Entry>,
    /// Which entry is asked first.
    first: usize,
}

struct Entry {
    listener: Box<dyn DynLinkListener>,
    rests_until: Option<Instant>,
}

impl ListenerSet {
    /// A set of one.
    pub fn new(listener: impl LinkListener) -> Self {
        Self { entries: Vec::new(), first: 0 }.and(listener)
    }

    /// Accepts from `listener`, too.
    #[must_use]
    pub fn and(mut self, listener: impl LinkListener) -> Self {
        self.entries.push(Entry { listener: Box::new(listener), rests_until: None });
        self
    }

    /// What the first listener that has something to say says, and which one it is.
    async fn next(&mut self) -> (usize, io::Result<BoxUpgrade>) {
        let first = self.first;
        let mut waiting: Vec<_> = self.entries.iter_mut().map(|it| Box::pin(it.accept())).collect();
        poll_fn(move |cx| {
            let count = waiting.len();
            for index in (first..count).chain(0..first) {
                if let Poll::Ready(accepted) = waiting[index].as_mut().poll(cx) {
                    return Poll::Ready((index, accepted));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl LinkListener for ListenerSet {
    type Link = BoxLink;
    type Upgrade = BoxUpgrade;

    async fn accept(&mut self) -> io::Result<BoxUpgrade> {
        loop {
            if self.entries.is_empty() {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "no listener is left"));
            }
            // Nothing is waited for after this, so what was accepted cannot be lost.
            let (index, accepted) = self.next().await;
            let error = match accepted {
                Ok(upgrade) => {
                    self.first = (index + 1) % self.entries.len();
                    return Ok(upgrade);
                }
                Err(error) => error,
            };
            let is_only = self.entries.len() == 1;
            if is_fatal_kind(&error) {
                self.entries.remove(index);
                self.first = 0;
                if is_only {
                    return Err(error);
                }
                warn!(%error, "one of several listeners has failed for good");
            } else if is_only {
                return Err(error);
            } else {
                debug!(cause = %error, "the listener failed and is tried again");
                self.entries[index].rests_until = Some(Instant::now() + RETRY_DELAY);
            }
        }
    }
}

impl fmt::Debug for ListenerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerSet").field("listeners", &self.entries.len()).finish()
    }
}

impl Entry {
    async fn accept(&mut self) -> io::Result<BoxUpgrade> {
        if let Some(rests_until) = self.rests_until {
            sleep_until(rests_until).await;
            self.rests_until = None;
        }
        self.listener.accept().await
    }
}

/// The rest of any accepted peer's way to a link, behind a pointer.
pub struct BoxUpgrade(Pin<Box<dyn Future<Output = io::Result<BoxLink>> + Send>>);

impl Future for BoxUpgrade {
    type Output = io::Result<BoxLink>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<BoxLink>> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for BoxUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxUpgrade").finish_non_exhaustive()
    }
}

/// [`LinkListener`] as an object.
#[async_trait]
trait DynLinkListener: Send {
    async fn accept(&mut self) -> io::Result<BoxUpgrade>;
}

#[async_trait]
impl<L: LinkListener> DynLinkListener for L {
    async fn accept(&mut self) -> io::Result<BoxUpgrade> {
        let upgrade = LinkListener::accept(self).await?;
        Ok(BoxUpgrade(Box::pin(async { Ok(box_link(upgrade.await?)) })))
    }
}

#[cfg(test)]
#[path = "listener_set_tests.rs"]
mod tests;
