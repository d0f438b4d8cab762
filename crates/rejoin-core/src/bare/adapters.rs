//! The handles of a bare conduit as a `Sink` and a `Stream`, for the `futures` crates.
//!
//! They add nothing to what the handles do, and nothing is buffered here. Messages that borrow are
//! not for them: a `Stream` has nothing to lend what it gives out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use crate::bare::error::{BareRecvError, BareSendError, LinkLost};
use crate::bare::handles::{BareRx, BareTx};
use crate::codec::Codec;
use crate::conduit::MsgFamily;
use crate::handover::Place;
use crate::selfref::SelfRef;

/// A [`BareRx`] as a [`Stream`] of messages that do not borrow; made by [`BareRx::into_stream`].
///
/// It ends after the peer's close. A link that died is its last item; a message that cannot be
/// decoded is an `Err` item that others follow.
///
/// It takes no message before it gives it out: dropping it, or whatever polls it, loses none.
#[must_use = "streams do nothing unless polled"]
pub struct BareStream<F: MsgFamily> {
    rx: BareRx<F>,
    has_ended: bool,
}

impl<F: MsgFamily> BareStream<F> {
    pub(super) fn new(rx: BareRx<F>) -> Self {
        Self { rx, has_ended: false }
    }

    /// The handle back.
    #[must_use]
    pub fn into_inner(self) -> BareRx<F> {
        self.rx
    }
}

impl<F, T> Stream for BareStream<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    type Item = Result<T, BareRecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.rx.poll_recv(cx));
        self.has_ended = matches!(received, Ok(None) | Err(BareRecvError::Lost(_)));
        Poll::Ready(received.map(|item| item.map(SelfRef::into_inner)).transpose())
    }
}

impl<F, T> FusedStream for BareStream<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}

impl<F: MsgFamily> fmt::Debug for BareStream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BareStream").field(&self.rx).finish()
    }
}

/// A [`BareTx`] as a [`Sink`] of messages that do not borrow; made by [`BareTx::into_sink`].
///
/// - `poll_ready` waits for room, as [`BareTx::reserve`] does, and keeps it until the next message
///   or until the sink is dropped.
/// - `start_send` stores the message. One that is refused, because it has no encoding or is too
///   large, leaves the sink as good as before.
/// - `poll_flush` has nothing to do, as a message that is stored needs no push to be sent. It fails
///   once the link is dead.
/// - `poll_close` closes the sending direction, clones of the handle included, and waits until the
///   link has taken everything, as [`BareTx::close`] does.
#[must_use = "sinks do nothing unless polled"]
pub struct BareSink<F: MsgFamily> {
    tx: BareTx<F>,
    place: Place,
    /// Present while a close is waited for.
    closing: Option<Closing>,
}

type Closing = Pin<Box<dyn Future<Output = Result<(), LinkLost>> + Send + Sync>>;

impl<F: MsgFamily> BareSink<F> {
    pub(super) fn new(tx: BareTx<F>) -> Self {
        Self { tx, place: Place::default(), closing: None }
    }

    /// The handle back. Room that was waited for is given up.
    #[must_use]
    pub fn into_inner(self) -> BareTx<F> {
        self.tx.clone()
    }
}

impl<F, T> Sink<T> for BareSink<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    type Error = BareSendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BareSendError>> {
        let Self { tx, place, .. } = self.get_mut();
        tx.outbox().poll_room(cx, place).map_err(|refusal| tx.refused(refusal))
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), BareSendError> {
        let Self { tx, place, .. } = self.get_mut();
        let accepted =
            tx.outbox().append_in(place, |out| <F::Codec as Codec<F>>::encode(&item, out));
        accepted.map(drop).map_err(|refusal| tx.refused(refusal))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BareSendError>> {
        Poll::Ready(self.tx.lost().map_or(Ok(()), |lost| Err(BareSendError::Lost(lost))))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BareSendError>> {
        let Self { tx, place, closing } = self.get_mut();
        tx.outbox().leave(place);
        let close = closing.get_or_insert_with(|| Box::pin(tx.clone().close()));
        let closed = ready!(close.as_mut().poll(cx));
        *closing = None;
        Poll::Ready(closed.map_err(BareSendError::Lost))
    }
}

impl<F: MsgFamily> Drop for BareSink<F> {
    fn drop(&mut self) {
        self.tx.outbox().leave(&mut self.place);
    }
}

impl<F: MsgFamily> fmt::Debug for BareSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BareSink").field(&self.tx).finish()
    }
}
