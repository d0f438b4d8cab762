//! The receiving handle of a stable conduit.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::watch;

use crate::conduit::{ConduitRx, MsgFamily};
use crate::handover::Taker;
use crate::protocol::{Position, item_cost};
use crate::selfref::SelfRef;
use crate::stable::adapters::StableStream;
use crate::stable::conduit::Handle;
use crate::stable::error::RecvError;
use crate::stable::shared::Shared;
use crate::stable::status::{Stats, Status};

/// The receiving half of a [`StableConduit`](crate::StableConduit).
///
/// ```
/// # use rejoin_core::{RecvError, StableRx};
/// # fn store(_: &str) {}
/// async fn run(mut rx: StableRx<String>) -> Result<(), RecvError> {
///     while let Some(message) = rx.recv().await? {
///         store(&message);
///         // Of effect only where `StableConfig::manual_ack` is set.
///         if let Some(position) = rx.last_position() {
///             rx.acknowledge(position);
///         }
///     }
///     Ok(()) // the peer has closed the conduit, and everything before was received
/// }
/// ```
pub struct StableRx<F: MsgFamily> {
    handle: Handle,
    taker: Taker,
    family: PhantomData<fn() -> F>,
}

impl<F: MsgFamily> StableRx<F> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Handle::new(shared), taker: Taker::default(), family: PhantomData }
    }

    /// Waits for the next message; `None` when the peer has closed the conduit.
    ///
    /// # Errors
    ///
    /// When the session is lost, after everything received before; or when a message cannot be
    /// decoded, which does not keep the next call from giving the next one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a message is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Option<SelfRef<F>>, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for one who is polled.
    #[inline]
    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<SelfRef<F>>, RecvError>> {
        let shared = &self.handle.0;
        let Some(taken) = ready!(self.taker.poll_next(cx, &shared.inbox, &shared.outbox)) else {
            return Poll::Ready(match shared.lost() {
                Some(lost) if !shared.inbox.is_complete() => Err(RecvError::Lost(lost.clone())),
                _ => Ok(None),
            });
        };
        // There is one receiving handle, so nobody else adds to it.
        let consumed = shared.consumed.load(Ordering::Relaxed) + item_cost(taken.as_slice().len());
        shared.consumed.store(consumed, Ordering::Relaxed);
        Poll::Ready(match SelfRef::decode(taken) {
            Ok(item) => Ok(Some(item)),
            Err((source, bytes)) => {
                let position = self.last_position().unwrap_or_default();
                Err(RecvError::Decode { position, source, bytes })
            }
        })
    }

    /// The position of the message that [`recv`](Self::recv) gave out last.
    #[must_use]
    pub fn last_position(&self) -> Option<Position> {
        self.taker.last_position()
    }

    /// Acknowledges the message at `position` and all before it, where
    /// [`manual_ack`](crate::StableConfig::manual_ack) is set; elsewhere, and for what is acknowledged
    /// already, this has no effect. A position that was not received yet counts as the last that
    /// was.
    ///
    /// Until then the sender keeps the messages, and gets them back if this process dies.
    pub fn acknowledge(&self, position: Position) {
        let count = position.next().min(self.taker.next_position());
        self.handle.0.outbox.acknowledge(count.get());
    }

    /// As [`take_unacknowledged`](crate::StableTx::take_unacknowledged) of a sending handle, for when no sending handle is left.
    #[must_use]
    pub fn take_unacknowledged(&self) -> Vec<(Position, Bytes)> {
        self.handle.0.take_unacknowledged()
    }

    /// Makes a [`Stream`](futures_core::Stream) of this handle, for code that is written for the
    /// `futures` crates.
    pub fn into_stream(self) -> StableStream<F> {
        StableStream::new(self)
    }

    /// Watches where the conduit stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.handle.0.status.subscribe()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.0.stats()
    }
}

impl<F: MsgFamily> ConduitRx for StableRx<F> {
    type Msg = F;
    type Error = RecvError;

    async fn recv(&mut self) -> Result<Option<SelfRef<F>>, RecvError> {
        self.recv().await
    }
}

impl<F: MsgFamily> fmt::Debug for StableRx<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StableRx").field("status", &*self.handle.0.status.borrow()).finish()
    }
}
