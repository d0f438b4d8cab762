//! Room for one item, waited for by polling and kept between polls.
//!
//! It borrows nothing, so that it can lie beside the outbox that it belongs to; in turn it gives
//! nothing back by itself: whoever has one calls [`Outbox::leave`] in the end.

use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use crate::codec::EncodeError;
use crate::handover::room::{Claim, Ticket};
use crate::handover::{Outbox, Refusal};
use crate::protocol::Position;

/// A place in the queue for room, and then the room.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Present while it waits.
    number: Option<u64>,
    /// Present once it has room.
    claimed: Option<u64>,
}

impl Place {
    /// Whether it has room.
    pub(crate) fn has_room(&self) -> bool {
        self.claimed.is_some()
    }
}

impl Outbox {
    /// Waits for room and claims some of it for one item, which `place` keeps. Once it has room,
    /// asking again changes nothing.
    pub(crate) fn poll_room(
        &self,
        cx: &mut Context<'_>,
        place: &mut Place,
    ) -> Poll<Result<(), Refusal>> {
        if place.has_room() {
            return Poll::Ready(Ok(()));
        }
        let cost = self.permit_cost();
        let mut ticket = Ticket { outbox: self, number: place.number.take() };
        let polled = ticket.poll_claim(cx, cost);
        // The number outlives the ticket: what is dropped without one leaves no queue.
        place.number = ticket.number.take();
        ready!(polled)?;
        place.claimed = Some(cost);
        Poll::Ready(Ok(()))
    }

    /// Accepts what `encode` writes as one item, in the room that `place` has, which is given back
    /// whatever comes of it. Without room, accepts it where anybody might send at once.
    pub(crate) fn append_in(
        &self,
        place: &mut Place,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Position, Refusal> {
        match place.claimed.take() {
            Some(cost) => Claim { outbox: self, cost }.append(encode),
            None => self.try_append(encode),
        }
    }

    /// Gives up the place, or the room.
    pub(crate) fn leave(&self, place: &mut Place) {
        drop(Ticket { outbox: self, number: place.number.take() });
        if let Some(cost) = place.claimed.take() {
            drop(Claim { outbox: self, cost });
        }
    }
}
