//! Senders on one side, the driver that takes their items on the other.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use loom::future::block_on;
use loom::thread::{self, JoinHandle};

use crate::handover::{Items, Outbox};
use crate::protocol::item_cost;

const ITEM: &[u8] = b"item";

fn write(out: &mut BytesMut) -> Result<(), crate::codec::EncodeError> {
    out.extend_from_slice(ITEM);
    Ok(())
}

fn room_for(items: usize) -> Arc<Outbox> {
    let bytes_max = items * usize::try_from(item_cost(ITEM.len())).unwrap();
    let outbox = Outbox::new(bytes_max, ITEM.len());
    outbox.add_handle();
    Arc::new(outbox)
}

/// A driver that takes a turn whenever it is woken, until one gives something.
pub(crate) fn drive<T>(outbox: &Outbox, asleep: Items, mut turn: impl FnMut() -> Option<T>) -> T {
    block_on(poll_fn(|cx| {
        loop {
            if let Some(outcome) = turn() {
                return Poll::Ready(outcome);
            }
            if outbox.sleep(cx.waker(), asleep) {
                return Poll::Pending;
            }
        }
    }))
}

/// Such a driver, whose link takes everything at once and whose peer acknowledges it; until it has had
/// `items` of them.
fn drive_items(outbox: &Outbox, items: usize) {
    let (mut taken, mut released) = (0, 0);
    drive(outbox, Items::Wanted, || {
        let _ = outbox.take();
        outbox.take_items(|batch| taken += std::mem::take(batch).len());
        if taken > released {
            released = taken;
            outbox.release(released as u64 * item_cost(ITEM.len()));
        }
        (taken == items).then_some(())
    });
}

/// Does something with the outbox on a thread of its own.
fn beside<T: 'static>(
    outbox: &Arc<Outbox>,
    act: impl FnOnce(&Outbox) -> T + 'static,
) -> JoinHandle<T> {
    let outbox = Arc::clone(outbox);
    thread::spawn(move || act(&outbox))
}

/// The driver comes for every item, whenever one is sent while it goes to sleep.
pub fn no_item_is_left_behind() {
    crate::explore(|| {
        let outbox = room_for(10);
        let sender = beside(&outbox, |outbox| {
            outbox.try_append(write).unwrap();
            outbox.try_append(write).unwrap();
        });
        drive_items(&outbox, 2);
        sender.join().unwrap();
    });
}

/// As long as there is no link, the driver does not come for items, but hears that there are some.
pub fn an_item_is_noted_without_a_link() {
    crate::explore(|| {
        let outbox = room_for(10);
        let sender = beside(&outbox, |outbox| outbox.try_append(write).unwrap());
        drive(&outbox, Items::Noted, || {
            (outbox.take().is_some() && outbox.accepted() == 1).then_some(())
        });
        sender.join().unwrap();
    });
}

/// Two senders wait for the same room, which each item fills.
pub fn whoever_waits_for_room_gets_it() {
    crate::explore(|| {
        let outbox = room_for(1);
        let send = |outbox: &Outbox| block_on(outbox.append(write)).unwrap();
        let senders = [(); 2].map(|()| beside(&outbox, send));
        drive_items(&outbox, 2);
        let mut positions = senders.map(|sender| sender.join().unwrap());
        positions.sort();
        assert_eq!(positions.map(crate::protocol::Position::get), [0, 1]);
    });
}

/// A sender gives up just as it would get the room: the other one gets it.
pub fn room_that_is_given_up_goes_to_the_next() {
    crate::explore(|| {
        let outbox = room_for(1);
        outbox.try_append(write).unwrap();
        let patient = beside(&outbox, |outbox| block_on(outbox.append(write)).unwrap());
        let hesitant = beside(&outbox, |outbox| {
            let mut sending = pin!(outbox.claim(1));
            // Asks once, and leaves whatever the answer is.
            block_on(poll_fn(|cx| {
                let _ = sending.as_mut().poll(cx);
                Poll::Ready(())
            }));
        });
        drive_items(&outbox, 2);
        patient.join().unwrap();
        hesitant.join().unwrap();
    });
}

/// Everything else that the handles want reaches a driver that goes to sleep.
pub fn a_request_is_heard() {
    crate::explore(|| {
        let outbox = room_for(1);
        let handle = beside(&outbox, |outbox| {
            outbox.consume(1);
            outbox.remove_handle();
        });
        let mut consumed = 0;
        drive(&outbox, Items::Later, || {
            let requests = outbox.take()?;
            consumed += requests.consumed;
            requests.abandoned.then_some(())
        });
        assert_eq!(consumed, 1);
        handle.join().unwrap();
    });
}
