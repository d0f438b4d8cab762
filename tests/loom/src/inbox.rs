//! The driver on one side, the handle that receives on the other.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use loom::future::block_on;
use loom::thread;

use crate::handover::{Inbox, Items, Outbox, Runs, Taken, Taker};
use crate::outbox::drive;
use crate::protocol::item_cost;

const ITEM: &[u8] = b"item";

/// The driver gives one item out only when it has heard that the one before was taken. What comes
/// while the receiver asks for it or goes to sleep is received, and then the end.
pub fn nothing_and_no_end_is_missed() {
    crate::explore(|| {
        let window = item_cost(ITEM.len());
        let shared = Arc::new((Inbox::new(window), Outbox::new(1, 1)));
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (inbox, outbox) = &*shared;
                for _ in 0..2 {
                    let mut items = Runs::default();
                    items.push(Bytes::from_static(ITEM));
                    inbox.put(&mut items);
                    let requests = drive(outbox, Items::Later, || outbox.take());
                    assert_eq!(requests.consumed, window);
                }
                inbox.end(true);
            })
        };
        let (inbox, outbox) = &*shared;
        let mut taker = Taker::default();
        for expected in [Some(ITEM), Some(ITEM), None] {
            let next = poll_fn(|cx| {
                let next = ready!(taker.poll_next(cx, inbox, outbox));
                Poll::Ready(next.map(Taken::into_bytes))
            });
            assert_eq!(block_on(next).as_deref(), expected);
        }
        assert_eq!(taker.next_position().get(), 2);
        assert!(inbox.is_complete());
        driver.join().unwrap();
    });
}
