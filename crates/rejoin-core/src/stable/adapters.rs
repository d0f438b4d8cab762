//! The handles of a stable conduit as a `Sink` and a `Stream`, for the `futures` crates.
//!
//! They add nothing to what the handles do, and nothing is buffered here. Messages that borrow are
//! not for them: a `Stream` has nothing to lend what it gives out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use crate::codec::Codec;
use crate::conduit::MsgFamily;
use crate::handover::Place;
use crate::selfref::SelfRef;
use crate::stable::conduit::StableTx;
use crate::stable::error::{RecvError, SendError, SessionLost};
use crate::stable::rx::StableRx;

/// A [`StableRx`] as a [`Stream`] of messages that do not borrow; made by
/// [`StableRx::into_stream`].
///
/// It ends after the peer's close. A session that is lost is its last item; a message that cannot
/// be decoded is an `Err` item that others follow.
///
/// It takes no message before it gives it out: dropping it, or whatever polls it, loses none.
///
/// ```
/// use futures_util::{StreamExt, TryStreamExt};
/// use rejoin_core::{RecvError, StableRx};
///
/// async fn longest(rx: StableRx<String>) -> Result<usize, RecvError> {
///     rx.into_stream().try_fold(0, async |max, text| Ok(max.max(text.len()))).await
/// }
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct StableStream<F: MsgFamily> {
    rx: StableRx<F>,
    has_ended: bool,
}

impl<F: MsgFamily> StableStream<F> {
    pub(super) fn new(rx: StableRx<F>) -> Self {
        Self { rx, has_ended: false }
    }

    /// The handle: its [status](StableRx::status), or, to
    /// [acknowledge](StableRx::acknowledge) by hand what came last.
    #[must_use]
    pub fn get_ref(&self) -> &StableRx<F> {
        &self.rx
    }

    /// The handle back.
    #[must_use]
    pub fn into_inner(self) -> StableRx<F> {
        self.rx
    }
}

impl<F, T> Stream for StableStream<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    type Item = Result<T, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.rx.poll_recv(cx));
        self.has_ended = matches!(received, Ok(None) | Err(RecvError::Lost(_)));
        Poll::Ready(received.map(|item| item.map(SelfRef::into_inner)).transpose())
    }
}

impl<F, T> FusedStream for StableStream<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}

impl<F: MsgFamily> fmt::Debug for StableStream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StableStream").field(&self.rx).finish()
    }
}

/// A [`StableTx`] as a [`Sink`] of messages that do not borrow; made by [`StableTx::into_sink`].
///
/// - `poll_ready` waits for room in the send log, as [`StableTx::reserve`] does, and keeps it until
///   the next message or until the sink is dropped.
/// - `start_send` takes the message's position and stores it, in one step: from there on it will be
///   delivered, or the session is lost and says so. A message that is refused, because it has no
///   encoding or is too large, leaves the sink as good as before.
/// - `poll_flush` has nothing to do, as a message that is stored needs no push to be sent. It does
///   **not** wait for the peer, or else everybody who sends one message at a time would wait for a
///   round trip each, and for the end of an outage. Where that is wanted, there is
///   [`StableTx::flush_acked`]. It fails once the session is lost.
/// - `poll_close` closes the conduit, clones of the handle included, and waits until the peer has
///   everything, as [`StableTx::close`] does. Once polled, that goes on in the background.
///
/// ```
/// use futures_util::{SinkExt, StreamExt, stream};
/// use rejoin_core::{SendError, StableTx};
///
/// async fn count(tx: StableTx<u32>) -> Result<(), SendError> {
///     let mut sink = tx.into_sink();
///     sink.send_all(&mut stream::iter(1..=100).map(Ok)).await?;
///     sink.close().await // ready when the peer has everything
/// }
/// ```
#[must_use = "sinks do nothing unless polled"]
pub struct StableSink<F: MsgFamily> {
    tx: StableTx<F>,
    place: Place,
    /// Present while a close is waited for.
    closing: Option<Closing>,
}

type Closing = Pin<Box<dyn Future<Output = Result<(), SessionLost>> + Send + Sync>>;

impl<F: MsgFamily> StableSink<F> {
    pub(super) fn new(tx: StableTx<F>) -> Self {
        Self { tx, place: Place::default(), closing: None }
    }

    /// The handle: its [status](StableTx::status), or to wait
    /// [for acknowledgements](StableTx::flush_acked).
    #[must_use]
    pub fn get_ref(&self) -> &StableTx<F> {
        &self.tx
    }

    /// The handle back. Room that was waited for is given up.
    #[must_use]
    pub fn into_inner(self) -> StableTx<F> {
        self.tx.clone()
    }
}

impl<F, T> Sink<T> for StableSink<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Self { tx, place, .. } = self.get_mut();
        tx.shared().outbox.poll_room(cx, place).map_err(|refusal| tx.refused(refusal))
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), SendError> {
        let Self { tx, place, .. } = self.get_mut();
        let accepted =
            tx.shared().outbox.append_in(place, |out| <F::Codec as Codec<F>>::encode(&item, out));
        accepted.map(drop).map_err(|refusal| tx.refused(refusal))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        match self.tx.shared().lost() {
            Some(lost) => Poll::Ready(Err(SendError::Lost(lost.clone()))),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Self { tx, place, closing } = self.get_mut();
        tx.shared().outbox.leave(place);
        let close = closing.get_or_insert_with(|| {
            let tx = tx.clone();
            Box::pin(async move { tx.close().await })
        });
        let closed = ready!(close.as_mut().poll(cx));
        *closing = None;
        Poll::Ready(closed.map_err(SendError::Lost))
    }
}

impl<F: MsgFamily> Drop for StableSink<F> {
    fn drop(&mut self) {
        self.tx.shared().outbox.leave(&mut self.place);
    }
}

impl<F: MsgFamily> fmt::Debug for StableSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StableSink").field(&self.tx).finish()
    }
}
