//! Items that expire: offered to the driver, and accepted only when they can be written at once.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::codec::EncodeError;
use crate::handover::{Outbox, Refusal};
use crate::protocol::{Batch, Position, item_cost};

/// Stands for the end of time; adding more to the present might overflow.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
    /// Offers what `encode` writes to the driver, which accepts it only if it can write it within
    /// `age_max`. Dropping the future withdraws the offer, unless it was just written.
    pub(crate) async fn offer(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
        age_max: Duration,
    ) -> Result<Position, Refusal> {
        let deadline = tokio::time::Instant::now() + age_max.min(AGE_MAX);
        let mut item = Batch::default();
        encode(item.buffer()).map_err(Refusal::Encode)?;
        let bytes = item.uncommitted();
        self.lock().check_size(bytes)?;
        item.commit();
        let cost = item_cost(bytes);
        let claimed = tokio::time::timeout_at(deadline, self.claim(cost)).await;
        let _room = claimed.unwrap_or(Err(Refusal::Expired))?;
        let (answer, answered) = oneshot::channel();
        let mut waiting = Waiting { outbox: self, cost, answered };
        {
            let mut state = self.lock();
            if state.ended {
                return Err(Refusal::Ended);
            }
            // The peer may have said meanwhile what it takes.
            state.check_size(bytes)?;
            state.offers.push(Offer { item, cost, expires_at: deadline.into_std(), answer });
            Self::tell_driver(state);
        }
        (&mut waiting.answered).await.unwrap_or(Err(Refusal::Ended))
    }

    /// The driver can write an offer now: gives the item out, with a position, unless items that
    /// were accepted before it wait to be taken.
    pub(crate) fn accept(&self, offer: Offer) -> Result<Batch, Offer> {
        let mut state = self.lock();
        if state.ended || !state.filling.is_empty() {
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

/// Waits for the answer to an offer. Withdraws it when dropped before.
struct Waiting<'a> {
    outbox: &'a Outbox,
    cost: u64,
    answered: oneshot::Receiver<Result<Position, Refusal>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered.is_terminated() {
            return;
        }
        self.answered.close();
        let mut state = self.outbox.lock();
        state.withdrawn += self.cost;
        Outbox::tell_driver(state);
    }
}
