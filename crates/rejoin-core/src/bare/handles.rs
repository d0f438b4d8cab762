//! The handles of a bare conduit.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::bare::adapters::{BareSink, BareStream};
use crate::bare::driver::Driver;
use crate::bare::error::{BareRecvError, BareSendError, LinkLost};
use crate::bare::{BareConfig, SendEnd, Shared};
use crate::codec::Codec;
use crate::conduit::{Conduit, ConduitRx, ConduitTx, ConduitTxPermit, MsgFamily};
use crate::handover::{Claim, Outbox, Refusal, Taker};
use crate::link::Link;
use crate::protocol::{CloseReason, Position};
use crate::selfref::SelfRef;

/// A typed, ordered message channel over one link, which dies with it.
///
/// What was accepted for sending may be lost together with the link: only an answer of the peer
/// says that it has come. When all handles are dropped, what was accepted is still written, and the
/// link closed, in the background, within the time that [`BareConfig::linger`] gives; what the peer
/// still sends is thrown away.
///
/// ```
/// use rejoin_core::{BareConduit, MemoryConfig, memory_link_pair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (near, far) = memory_link_pair(MemoryConfig::default());
/// let (tx, _rx) = BareConduit::<(u8, String)>::new(near).split();
/// let (_tx, mut rx) = BareConduit::<(u8, String)>::new(far).split();
/// tx.send(&(1, "one".into())).await?;
/// tx.close().await?;
/// assert_eq!(*rx.recv().await?.ok_or("closed")?, (1, "one".into()));
/// assert!(rx.recv().await?.is_none());
/// # Ok(())
/// # }
/// ```
pub struct BareConduit<F: MsgFamily> {
    tx: BareTx<F>,
    rx: BareRx<F>,
}

impl<F: MsgFamily> BareConduit<F> {
    /// Makes a conduit of `link`, with the default settings.
    ///
    /// Must be called within a tokio runtime with time enabled; the conduit is driven by a task on
    /// it.
    pub fn new(link: impl Link) -> Self {
        Self::with_config(link, &BareConfig::default())
    }

    /// Makes a conduit of `link`.
    ///
    /// Must be called within a tokio runtime with time enabled; the conduit is driven by a task on
    /// it.
    pub fn with_config(link: impl Link, config: &BareConfig) -> Self {
        let shared = Shared::new(config);
        shared.outbox.add_handle();
        shared.outbox.add_handle();
        tokio::spawn(Driver::new(link, Arc::clone(&shared)));
        Self {
            tx: BareTx { shared: Arc::clone(&shared), family: PhantomData },
            rx: BareRx { taker: Taker::default(), shared, family: PhantomData },
        }
    }

    /// Takes the conduit apart. The sending half can be cloned.
    #[must_use]
    pub fn split(self) -> (BareTx<F>, BareRx<F>) {
        (self.tx, self.rx)
    }
}

impl<F: MsgFamily> fmt::Debug for BareConduit<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareConduit").field("lost", &self.tx.lost()).finish()
    }
}

impl<F: MsgFamily> Conduit for BareConduit<F> {
    type Msg = F;
    type Tx = BareTx<F>;
    type Rx = BareRx<F>;

    fn split(self) -> (BareTx<F>, BareRx<F>) {
        self.split()
    }
}

/// The sending half of a [`BareConduit`]. Clones send on the same conduit.
pub struct BareTx<F: MsgFamily> {
    shared: Arc<Shared>,
    family: PhantomData<fn(F)>,
}

impl<F: MsgFamily> BareTx<F> {
    /// Waits for room, then accepts `item` for sending; gives its position.
    ///
    /// # Errors
    ///
    /// When the message was not accepted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready means that the message was not accepted. It never is
    /// half accepted.
    pub async fn send(&self, item: &F::Msg<'_>) -> Result<Position, BareSendError> {
        self.shared
            .outbox
            .append(|out| F::Codec::encode(item, out))
            .await
            .map_err(|refusal| self.refused(refusal))
    }

    /// Accepts `item` for sending if there is room now; gives its position.
    ///
    /// # Errors
    ///
    /// When the message was not accepted, among others with [`BareSendError::Full`].
    pub fn try_send(&self, item: &F::Msg<'_>) -> Result<Position, BareSendError> {
        self.shared
            .outbox
            .try_append(|out| F::Codec::encode(item, out))
            .map_err(|refusal| self.refused(refusal))
    }

    /// Waits for room and keeps it for one message.
    ///
    /// # Errors
    ///
    /// When the conduit is closed or the link is dead.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue, and nothing else.
    pub async fn reserve(&self) -> Result<BarePermit<'_, F>, BareSendError> {
        let outbox = &self.shared.outbox;
        match outbox.claim(outbox.permit_cost()).await {
            Ok(claim) => Ok(BarePermit { tx: self, claim }),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// Closes the sending direction: the peer reads everything accepted before and then the end.
    /// What the peer sends still arrives here.
    ///
    /// Ready when the link has taken everything, which does not mean that the peer has.
    ///
    /// # Errors
    ///
    /// When the link died before.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the conduit closes in the background when the future is dropped.
    pub async fn close(self) -> Result<(), LinkLost> {
        self.shared.outbox.close(CloseReason::default());
        let mut ended = self.shared.send_ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await.expect("`self` has the sender");
        match &*ended {
            Some(SendEnd::Lost(lost)) => Err(lost.clone()),
            _ => Ok(()),
        }
    }

    /// Makes a [`Sink`](futures_sink::Sink) of this handle, for code that is written for the
    /// `futures` crates.
    pub fn into_sink(self) -> BareSink<F> {
        BareSink::new(self)
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// Why the link died, if it did.
    pub(super) fn lost(&self) -> Option<LinkLost> {
        self.shared.lost()
    }

    pub(super) fn refused(&self, refusal: Refusal) -> BareSendError {
        match refusal {
            Refusal::Encode(error) => BareSendError::Encode(error),
            Refusal::TooLarge { bytes, bytes_max } => BareSendError::TooLarge { bytes, bytes_max },
            // Nothing is offered to a bare conduit, so nothing expires.
            Refusal::Full | Refusal::Expired => BareSendError::Full,
            Refusal::Ended => match self.shared.lost() {
                Some(lost) => BareSendError::Lost(lost),
                None => BareSendError::Closed,
            },
        }
    }
}

impl<F: MsgFamily> Clone for BareTx<F> {
    fn clone(&self) -> Self {
        self.shared.outbox.add_handle();
        Self { shared: Arc::clone(&self.shared), family: PhantomData }
    }
}

impl<F: MsgFamily> Drop for BareTx<F> {
    fn drop(&mut self) {
        self.shared.outbox.remove_handle();
    }
}

impl<F: MsgFamily> fmt::Debug for BareTx<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareTx").field("lost", &self.shared.lost()).finish()
    }
}

impl<F: MsgFamily> ConduitTx for BareTx<F> {
    type Msg = F;
    type Permit<'a> = BarePermit<'a, F>;
    type Error = BareSendError;

    async fn reserve(&self) -> Result<BarePermit<'_, F>, BareSendError> {
        self.reserve().await
    }

    async fn close(self) -> Result<(), BareSendError> {
        self.close().await.map_err(BareSendError::Lost)
    }
}

/// Room for one message in a [`BareTx`]. Dropping it gives the room back.
#[must_use = "room that is not used is given back when the permit is dropped"]
pub struct BarePermit<'a, F: MsgFamily> {
    tx: &'a BareTx<F>,
    claim: Claim<'a>,
}

impl<F: MsgFamily> BarePermit<'_, F> {
    /// Accepts `item` for sending; gives its position.
    ///
    /// # Errors
    ///
    /// When the message was not accepted. [`BareSendError::Full`] is possible only for a message
    /// that is larger than the room that the permit holds.
    pub fn send(self, item: &F::Msg<'_>) -> Result<Position, BareSendError> {
        let Self { tx, claim } = self;
        claim.append(|out| F::Codec::encode(item, out)).map_err(|refusal| tx.refused(refusal))
    }
}

impl<F: MsgFamily> fmt::Debug for BarePermit<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarePermit").field("tx", &self.tx).finish_non_exhaustive()
    }
}

impl<F: MsgFamily> ConduitTxPermit for BarePermit<'_, F> {
    type Msg = F;
    type Error = BareSendError;

    fn send(self, item: &F::Msg<'_>) -> Result<Position, BareSendError> {
        self.send(item)
    }
}

/// The receiving half of a [`BareConduit`].
pub struct BareRx<F: MsgFamily> {
    shared: Arc<Shared>,
    taker: Taker,
    family: PhantomData<fn() -> F>,
}

impl<F: MsgFamily> BareRx<F> {
    /// Waits for the next message; `None` when the peer has closed the link.
    ///
    /// # Errors
    ///
    /// When the link died, after everything received before; or when a message cannot be decoded,
    /// which does not keep the next call from giving the next one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a message is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Option<SelfRef<F>>, BareRecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Makes a [`Stream`](futures_core::Stream) of this handle, for code that is written for the
    /// `futures` crates.
    pub fn into_stream(self) -> BareStream<F> {
        BareStream::new(self)
    }

    /// As [`recv`](Self::recv), for one who is polled.
    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<SelfRef<F>>, BareRecvError>> {
        let shared = &self.shared;
        let Some(taken) = ready!(self.taker.poll_next(cx, &shared.inbox, &shared.outbox)) else {
            return Poll::Ready(match shared.lost() {
                Some(lost) if !shared.inbox.is_complete() => Err(BareRecvError::Lost(lost)),
                _ => Ok(None),
            });
        };
        Poll::Ready(match SelfRef::decode(taken) {
            Ok(item) => Ok(Some(item)),
            Err((source, bytes)) => {
                let position = self.taker.last_position().unwrap_or_default();
                Err(BareRecvError::Decode { position, source, bytes })
            }
        })
    }
}

impl<F: MsgFamily> Drop for BareRx<F> {
    fn drop(&mut self) {
        self.shared.outbox.remove_handle();
    }
}

impl<F: MsgFamily> fmt::Debug for BareRx<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareRx").field("lost", &self.shared.lost()).finish()
    }
}

impl<F: MsgFamily> ConduitRx for BareRx<F> {
    type Msg = F;
    type Error = BareRecvError;

    async fn recv(&mut self) -> Result<Option<SelfRef<F>>, BareRecvError> {
        self.recv().await
    }
}
