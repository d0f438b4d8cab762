//! Items that expire: offered to the driver, and accepted only when they can be written at once.

use std::time::Instant;

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::codec::EncodeError;
use crate::handover::{Outbox, Refusal};
use crate::protocol::{Batch, Position, item_cost};

/// An item that is of no use unless it is written soon. It has no position until then.
#[derive(Debug)]
pub(crate) struct Offer {
    item: Batch,
    cost: u64,
    expires_at: Instant,
    answer: oneshot::Sender<Result<Position, Refusal>>,
}

impl Offer {
    /// When it is to be given back.
    pub(crate) fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// What it takes of the send log and the peer's window.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Gives it back: it could not be written in time.
    pub(crate) fn expire(self) {
        // An error means that it was withdrawn.
        let _ = self.answer.send(Err(Refusal::Expired));
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.answer.is_closed()
    }
}

impl Outbox {
    /// Offers what `encode` writes to the driver, which accepts it only if it can write it before
    /// `expires_at`. Dropping the future withdraws the offer, unless it was just written.
    pub(crate) async fn offer(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
        expires_at: Instant,
    ) -> Result<Position, Refusal> {
        let mut item = Batch::default();
        encode(item.buffer()).map_err(Refusal::Encode)?;
        let bytes = item.uncommitted();
        item.commit();
        let cost = item_cost(bytes);
        let deadline = tokio::time::Instant::from_std(expires_at);
        let claimed = tokio::time::timeout_at(deadline, self.claim(cost)).await;
        let _room = claimed.unwrap_or(Err(Refusal::Expired))?;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.ended {
                return Err(Refusal::Ended);
            }
            if bytes > state.item_bytes_max {
                return Err(Refusal::TooLarge { bytes, bytes_max: state.item_bytes_max });
            }
            state.offers.push(Offer { item, cost, expires_at, answer });
            Self::tell_driver(state);
        }
        answered.await.unwrap_or(Err(Refusal::Ended))
    }

    /// The driver can write an offer now: gives the item out, with a position, unless items that
    /// were accepted before it wait to be taken.
    pub(crate) fn accept(&self, offer: Offer) -> Result<Batch, Offer> {
        let mut state = self.lock();
        if state.ended || !state.filling.is_empty() || !state.full.is_empty() {
            return Err(offer);
        }
        let position = Position::new(state.next);
        if offer.answer.send(Ok(position)).is_err() {
            return Ok(Batch::default());
        }
        state.next += 1;
        state.cost_accepted += offer.cost;
        Ok(offer.item)
    }
}
