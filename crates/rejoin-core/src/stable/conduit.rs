//! The sending handles of a stable conduit, and how one comes about. The receiving one is in `rx.rs`.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tracing::Instrument;

use crate::codec::{Codec, DecodeError};
use crate::conduit::{Conduit, ConduitTx, ConduitTxPermit, MsgFamily};
use crate::handover::{Claim, Refusal, Taken};
use crate::protocol::{CloseReason, Position};
use crate::selfref::SelfRef;
use crate::source::LinkSource;
use crate::stable::adapters::StableSink;
use crate::stable::config::StableConfig;
use crate::stable::driver::Driver;
use crate::stable::error::{AckError, ConnectError, SendError, SessionLost};
use crate::stable::registrar::Registrar;
use crate::stable::rx::StableRx;
use crate::stable::shared::{Receipts, Shared};
use crate::stable::status::{Stats, Status};

/// A typed, ordered, exactly-once message channel to one peer that outlives the links under it.
///
/// Every message that [`send`](StableTx::send) accepts is delivered once and in order, or the
/// [session is lost](SessionLost), which says what is not known to be delivered. The session lives
/// in the memory of the two processes: it survives any number of links, and neither process.
///
/// When all handles of a conduit are dropped, it goes on in the background until everything that
/// was accepted is delivered or the [linger limit](StableConfig::linger) has passed.
pub struct StableConduit<F: MsgFamily> {
    tx: StableTx<F>,
    rx: StableRx<F>,
}

impl<F: MsgFamily> StableConduit<F> {
    /// Opens a session over links from `source`, with the default settings.
    ///
    /// See [`connect_with`](Self::connect_with).
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    ///
    /// # Cancel safety
    ///
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect(source: impl LinkSource) -> Result<Self, ConnectError> {
        Self::connect_with(source, StableConfig::default()).await
    }

    /// Opens a session over links from `source`, and waits until the peer has answered.
    ///
    /// Attempts that fail in a way that may heal are repeated up to
    /// [`connect_limit`](crate::RedialPolicy::connect_limit). Where the source's
    /// [role](LinkSource::role) is the acceptor's, this waits for the peer to call, for as long as
    /// that takes.
    ///
    /// Must be called within a tokio runtime with time enabled; the conduit is driven by a task on
    /// that runtime.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rejoin_core::{ConnectError, LinkSource, StableConduit, StableConfig};
    /// # async fn open(source: impl LinkSource) -> Result<(), ConnectError> {
    /// let mut config = StableConfig::default();
    /// config.outage_max = Duration::from_secs(3600);
    /// config.redial.connect_limit = Duration::from_secs(60);
    /// let conduit = StableConduit::<String>::connect_with(source, config).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When no link can be made, the peer refuses, or `config` makes no sense.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up. A session that the peer has opened by then is
    /// closed in the background.
    pub async fn connect_with(
        source: impl LinkSource,
        config: StableConfig,
    ) -> Result<Self, ConnectError> {
        config.validate()?;
        let shared = Shared::new(&config);
        let conduit = Self::new(Arc::clone(&shared));
        let (opened, wait) = oneshot::channel();
        let opened = Box::new(move |result| {
            // Nobody waits any more when the caller has given up.
            let _ = opened.send(result);
        });
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let id = NUMBER.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!("session", role = ?source.role(), id);
        let driver =
            Driver::new(source, Arc::new(config), shared, Registrar::alone(), None, opened);
        tokio::spawn(driver.instrument(span));
        match wait.await {
            Ok(result) => result.map(|()| conduit),
            Err(_) => Err(ConnectError::Refused(crate::protocol::LossReason::Stopped)),
        }
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { tx: StableTx::new(Arc::clone(&shared)), rx: StableRx::new(shared) }
    }

    /// Takes the conduit apart. The sending half can be cloned.
    #[must_use]
    pub fn split(self) -> (StableTx<F>, StableRx<F>) {
        (self.tx, self.rx)
    }

    /// Watches where the conduit stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.tx.status()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.tx.stats()
    }

    /// Makes the next attempt at once where the conduit waits to make one.
    pub fn reconnect_now(&self) {
        self.tx.reconnect_now();
    }
}

impl<F: MsgFamily> fmt::Debug for StableConduit<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StableConduit").field("status", &*self.tx.shared().status.borrow()).finish()
    }
}

impl<F: MsgFamily> Conduit for StableConduit<F> {
    type Msg = F;
    type Tx = StableTx<F>;
    type Rx = StableRx<F>;

    fn split(self) -> (StableTx<F>, StableRx<F>) {
        self.split()
    }
}

/// Keeps a conduit from ending in the background.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.outbox.add_handle();
        Self(shared)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.outbox.remove_handle();
    }
}

/// The sending half of a [`StableConduit`]. Clones send on the same conduit.
///
/// ```
/// # use rejoin_core::StableTx;
/// async fn run(tx: StableTx<String>) -> Result<(), Box<dyn std::error::Error>> {
///     let position = tx.send(&"waits for room".into()).await?;
///     tx.acked(position).await?; // the peer has it
///
///     // Room first: the send itself then takes no time, and cannot be cancelled half-way.
///     let permit = tx.reserve().await?;
///     permit.send(&"at once".into())?;
///
///     if let Err(lost) = tx.close().await {
///         for (position, bytes) in tx.take_unacknowledged() {
///             let message = StableTx::<String>::decode(bytes)?;
///             eprintln!("{lost}: whether {position} arrived is not known: {}", *message);
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct StableTx<F: MsgFamily> {
    handle: Handle,
    family: PhantomData<fn(F)>,
}

impl<F: MsgFamily> StableTx<F> {
    fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Handle::new(shared), family: PhantomData }
    }

    /// Waits for room in the send log, then accepts `item` for sending; gives its position.
    ///
    /// When it returns, the message will be delivered, or the session is lost and says so.
    ///
    /// Where messages of 8 KiB or more are sent in a row, a sender waits after each half MiB until the link
    /// takes them: what a link is given out of the caches is faster by far. That is a millisecond or two,
    /// or what the runtime's timers take for it, as long as the runtime of the conduit runs.
    ///
    /// # Errors
    ///
    /// When the message was not accepted. It has no position then, and was not sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready means that the message was not accepted. It never is
    /// half accepted.
    pub async fn send(&self, item: &F::Msg<'_>) -> Result<Position, SendError> {
        self.shared()
            .outbox
            .append(|out| F::Codec::encode(item, out))
            .await
            .map_err(|refusal| self.refused(refusal))
    }

    /// Accepts `item` for sending if there is room in the send log now; gives its position.
    ///
    /// # Errors
    ///
    /// When the message was not accepted, among others with [`SendError::Full`].
    pub fn try_send(&self, item: &F::Msg<'_>) -> Result<Position, SendError> {
        self.shared()
            .outbox
            .try_append(|out| F::Codec::encode(item, out))
            .map_err(|refusal| self.refused(refusal))
    }

    /// As [`send`](Self::send), but gives up when there is no room within `wait`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::Full`] when the time has passed.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_timeout(
        &self,
        item: &F::Msg<'_>,
        wait: Duration,
    ) -> Result<Position, SendError> {
        match tokio::time::timeout(wait, self.send(item)).await {
            Ok(sent) => sent,
            // What it waited for may not have been room.
            Err(_) => self.try_send(item),
        }
    }

    /// Sends `item` only if it can be written to a link within `age_max`; gives its position once
    /// it is written.
    ///
    /// For what is stale soon: a message that has to wait for a link, or for its turn, for longer
    /// than that is not sent at all. It takes its position when it is written, behind what other
    /// senders have sent by then. Once written, it is delivered like any other.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::Expired`] when the time has passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the message, unless it was written just then.
    pub async fn send_within(
        &self,
        item: &F::Msg<'_>,
        age_max: Duration,
    ) -> Result<Position, SendError> {
        self.shared()
            .outbox
            .offer(|out| F::Codec::encode(item, out), age_max)
            .await
            .map_err(|refusal| self.refused(refusal))
    }

    /// Waits for room in the send log and keeps it for one message.
    ///
    /// A permit holds 8 KiB of the log, or an eighth of it if that is less.
    ///
    /// # Errors
    ///
    /// When the conduit is closed or the session is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue, and nothing else.
    pub async fn reserve(&self) -> Result<StablePermit<'_, F>, SendError> {
        let outbox = &self.shared().outbox;
        match outbox.claim(outbox.permit_cost()).await {
            Ok(claim) => Ok(StablePermit { tx: self, claim }),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// Waits until the peer has acknowledged the message at `position`.
    ///
    /// # Errors
    ///
    /// When the session was lost before, or no message with this position was accepted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect; the message is still delivered.
    pub async fn acked(&self, position: Position) -> Result<(), AckError> {
        if position.get() >= self.shared().outbox.accepted() {
            return Err(AckError::NotSent(position));
        }
        self.acked_before(position.next().get()).await.map_err(AckError::Lost)
    }

    /// Waits until the peer has acknowledged every message accepted before this call.
    ///
    /// # Errors
    ///
    /// When the session was lost before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect; the messages are still delivered.
    pub async fn flush_acked(&self) -> Result<(), SessionLost> {
        let count = self.shared().outbox.accepted();
        self.acked_before(count).await
    }

    /// Closes the conduit: no clone of this handle accepts anything more, the peer reads everything
    /// accepted before and then the end, and what the peer still has to send arrives here.
    ///
    /// Ready when the peer has everything. Where the peer has closed, too, the session is over by then,
    /// and the last words are on their way: a process may end. Where it has not, it still waits for
    /// this side when the process ends, up to its linger limit; [receive](StableRx::recv) to the
    /// end first to spare it that.
    ///
    /// # Errors
    ///
    /// When the session was lost, or the [linger limit](StableConfig::linger) has passed, before
    /// the peer had acknowledged everything. [`take_unacknowledged`](Self::take_unacknowledged) has
    /// the rest then.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the conduit closes in the background when the future is dropped.
    pub async fn close(&self) -> Result<(), SessionLost> {
        self.close_with(CloseReason::default()).await
    }

    /// As [`close`](Self::close), with a reason that reaches the peer in its
    /// [`Status::Closed`].
    ///
    /// # Errors
    ///
    /// As [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// As [`close`](Self::close).
    pub async fn close_with(&self, reason: CloseReason) -> Result<(), SessionLost> {
        let shared = self.shared();
        let closes = shared.outbox.close(reason);
        let _counted = AckWaiter::new(shared);
        wait_for(shared, |receipts| receipts.closes >= closes).await
    }

    /// Takes the messages that the peer has not acknowledged, oldest first, once the session is
    /// lost; nothing before that, and nothing a second time.
    ///
    /// The peer may or may not have them.
    #[must_use]
    pub fn take_unacknowledged(&self) -> Vec<(Position, Bytes)> {
        self.shared().take_unacknowledged()
    }

    /// Decodes a message that [`take_unacknowledged`](Self::take_unacknowledged) gave back.
    ///
    /// # Errors
    ///
    /// When `bytes` are not the encoding of a message.
    pub fn decode(bytes: Bytes) -> Result<SelfRef<F>, DecodeError> {
        SelfRef::decode(Taken::Last(bytes)).map_err(|(error, _)| error)
    }

    /// Makes a [`Sink`](futures_sink::Sink) of this handle, for code that is written for the
    /// `futures` crates.
    pub fn into_sink(self) -> StableSink<F> {
        StableSink::new(self)
    }

    /// Watches where the conduit stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared().status.subscribe()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Makes the next attempt at once where the conduit waits to make one.
    pub fn reconnect_now(&self) {
        self.shared().outbox.reconnect();
    }

    /// Makes a new link while the present one still works, and moves over to it without a pause:
    /// for when a better way to the peer is known to exist. Where there is no link, waits for the
    /// next one.
    ///
    /// # Errors
    ///
    /// When no new link could be made; the present one stays in use. On the accepting side, which
    /// cannot dial, with [`io::ErrorKind::Unsupported`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the migration up, unless it has just happened.
    pub async fn migrate(&self) -> io::Result<()> {
        let mut receipts = self.shared().receipts.subscribe();
        let wait = self.shared().outbox.migrate();
        let migrated = tokio::select! {
            biased;
            migrated = wait => migrated.ok(),
            // Nobody answers what is asked after the end.
            _ = receipts.wait_for(|it| it.ended) => None,
        };
        migrated.unwrap_or_else(|| {
            Err(io::Error::new(io::ErrorKind::NotConnected, "the conduit has ended"))
        })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    async fn acked_before(&self, count: u64) -> Result<(), SessionLost> {
        let shared = self.shared();
        if shared.receipts.borrow().acknowledged >= count {
            return Ok(());
        }
        let _counted = AckWaiter::new(shared);
        wait_for(shared, |receipts| receipts.acknowledged >= count).await
    }

    pub(super) fn refused(&self, refusal: Refusal) -> SendError {
        match refusal {
            Refusal::Encode(error) => SendError::Encode(error),
            Refusal::TooLarge { bytes, bytes_max } => SendError::TooLarge { bytes, bytes_max },
            Refusal::Full => SendError::Full,
            Refusal::Expired => SendError::Expired,
            Refusal::Ended => match self.shared().lost() {
                Some(lost) => SendError::Lost(lost.clone()),
                None => SendError::Closed,
            },
        }
    }
}

/// Waits until `done`, or until nothing changes any more.
async fn wait_for(shared: &Shared, done: impl Fn(&Receipts) -> bool) -> Result<(), SessionLost> {
    let mut receipts = shared.receipts.subscribe();
    let reached = receipts.wait_for(|now| done(now) || now.ended).await.is_ok_and(|now| done(&now));
    match shared.lost() {
        Some(lost) if !reached => Err(lost.clone()),
        _ => Ok(()),
    }
}

/// Lets the driver know that somebody waits for an acknowledgement.
struct AckWaiter<'a>(&'a Shared);

impl<'a> AckWaiter<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.outbox.count_ack_waiter(true);
        Self(shared)
    }
}

impl Drop for AckWaiter<'_> {
    fn drop(&mut self) {
        self.0.outbox.count_ack_waiter(false);
    }
}

impl<F: MsgFamily> Clone for StableTx<F> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), family: PhantomData }
    }
}

impl<F: MsgFamily> fmt::Debug for StableTx<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StableTx").field("status", &*self.shared().status.borrow()).finish()
    }
}

impl<F: MsgFamily> ConduitTx for StableTx<F> {
    type Msg = F;
    type Permit<'a> = StablePermit<'a, F>;
    type Error = SendError;

    async fn reserve(&self) -> Result<StablePermit<'_, F>, SendError> {
        self.reserve().await
    }

    async fn close(self) -> Result<(), SendError> {
        Self::close_with(&self, CloseReason::default()).await.map_err(SendError::Lost)
    }
}

/// Room for one message in a [`StableTx`]. Dropping it gives the room back.
#[must_use = "room that is not used is given back when the permit is dropped"]
pub struct StablePermit<'a, F: MsgFamily> {
    tx: &'a StableTx<F>,
    claim: Claim<'a>,
}

impl<F: MsgFamily> StablePermit<'_, F> {
    /// Accepts `item` for sending; gives its position.
    ///
    /// # Errors
    ///
    /// When the message was not accepted. [`SendError::Full`] is possible only for a message that
    /// is larger than the room that the permit holds.
    pub fn send(self, item: &F::Msg<'_>) -> Result<Position, SendError> {
        let Self { tx, claim } = self;
        claim.append(|out| F::Codec::encode(item, out)).map_err(|refusal| tx.refused(refusal))
    }
}

impl<F: MsgFamily> fmt::Debug for StablePermit<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StablePermit").field("tx", &self.tx).finish_non_exhaustive()
    }
}

impl<F: MsgFamily> ConduitTxPermit for StablePermit<'_, F> {
    type Msg = F;
    type Error = SendError;

    fn send(self, item: &F::Msg<'_>) -> Result<Position, SendError> {
        self.send(item)
    }
}
