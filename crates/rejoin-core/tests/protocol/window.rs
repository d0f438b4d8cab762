//! Flow control: limits by cumulative cost.

use rejoin_core::protocol::{Control, Ending, Event, ITEM_COST, LossReason, SessionConfig};

use crate::pair::{Pair, SECOND, config};
use crate::solo::{Solo, ack, settings};

fn window(window_bytes: usize) -> SessionConfig {
    SessionConfig { window_bytes, ..config() }
}

// WIN-1
#[test]
fn an_item_may_begin_below_the_limit_and_none_at_it() {
    let mut solo = Solo::ready(config());
    solo.resume(None).unwrap();
    // The limit of the first link, 10 000, stands; so spend it.
    for _ in 0..10 {
        solo.append(&[0; 968]);
    }
    solo.feed(0, settings(None, 0)).unwrap();
    assert_eq!(solo.numbers().len(), 10);
    solo.append(b"waits");
    assert_eq!(solo.numbers(), [] as [u32; 0]);
    solo.feed(0, ack(9, 10_001)).unwrap();
    solo.append(b"one more than fits");
    assert_eq!(solo.numbers(), [10], "an item that begins below the limit may end above it");
    solo.feed(0, ack(10, 10_000 + 2 * ITEM_COST + 5)).unwrap();
    assert_eq!(solo.numbers(), [11]);
}

// WIN-1
#[test]
fn an_item_larger_than_the_window_passes() {
    let mut pair = Pair::connected_with(config(), window(1));
    pair.acceptor().reads = false;
    pair.initiator().send(&[7; 1000]);
    pair.initiator().send(&[8; 1000]);
    pair.run_for(SECOND);
    assert_eq!(pair.acceptor().received.len(), 1);
    pair.acceptor().reads = true;
    pair.run_for(SECOND);
    assert_eq!(pair.acceptor().received.len(), 2);
}

// WIN-2
#[test]
fn a_limit_never_decreases() {
    let mut solo = Solo::ready(config());
    solo.feed(0, Control::Ack(rejoin_core::protocol::AckState { ack: None, limit: 5 })).unwrap();
    solo.append(b"a");
    solo.append(b"b");
    assert_eq!(solo.numbers(), [0, 1], "the limit was 10 000 already");
}

// WIN-3
#[test]
fn the_limit_is_told_when_it_has_grown_by_a_quarter() {
    let mut solo = Solo::ready(config());
    for seq in 0..4 {
        solo.item(seq, None, &[0; 468]).unwrap();
    }
    solo.sent();
    solo.session.consume(999);
    assert_eq!(solo.controls(), []);
    solo.session.consume(1);
    assert_eq!(solo.controls(), [ack(3, 5000)]);
    // All of it is told at the beginning of a link, too.
    solo.session.consume(500);
    assert_eq!(solo.controls(), []);
    solo.resume(None).unwrap();
    let Control::Settings(told) = &solo.controls()[0] else { panic!("settings come first") };
    assert_eq!(told.state.limit, 5500);
}

// WIN-4
#[test]
fn more_than_the_limit_allows_ends_the_session() {
    let mut solo = Solo::ready(window(100));
    assert!(solo.item(0, None, &[0; 67]).unwrap().is_some());
    assert!(solo.item(1, None, &[0; 500]).unwrap().is_some(), "begins at 99 of 100");
    assert_eq!(solo.item(2, None, b""), Ok(None));
    let ended = Event::Ended(Ending::Lost(LossReason::WindowExceeded));
    assert_eq!(solo.events().last(), Some(&ended));
    assert_eq!(solo.session.inbox_cost(), 99 + 532);
}

// WIN-4
#[test]
fn items_that_come_again_do_not_count_against_the_window() {
    let mut solo = Solo::ready(window(100));
    for _ in 0..10 {
        solo.item(0, None, &[0; 60]).unwrap();
    }
    assert!(solo.item(1, None, &[0; 60]).unwrap().is_some());
}

// WIN-5
#[test]
fn two_sides_that_only_send_do_not_dead_lock() {
    let mut pair = Pair::connected_with(window(300), window(300));
    pair.capacity = 1;
    pair.cut();
    for end in 0..2 {
        pair.side(end).reads = false;
        for n in 0..30 {
            pair.side(end).send(&[n; 20]);
        }
    }
    pair.run_for(60 * SECOND);
    for end in 0..2 {
        let side = pair.side(end);
        assert!(side.session.inbox_cost() >= 300, "the inbox is full");
        assert!(side.session.round_trip().is_some(), "pings pass");
        assert_eq!(side.session.log().acked(), side.session.log().written(), "acks pass");
    }
    // Each of them may begin to read at any time; here, one after the other.
    for end in 0..2 {
        pair.side(end).reads = true;
        pair.run_for(SECOND);
        assert_eq!(pair.side(end).received.len(), 30);
    }
    assert_eq!(pair.initiator().session.counters().resumes, 1);
}

// WIN-5
#[test]
fn a_close_passes_a_full_inbox_once_the_items_are_through() {
    let mut pair = Pair::connected_with(config(), window(1));
    pair.acceptor().reads = false;
    pair.initiator().send(b"fills it");
    pair.close(0, "bye");
    pair.run_for(SECOND);
    assert_eq!(pair.initiator().ending(), Some(&Ending::Closed));
    assert_eq!(pair.acceptor().received, [b"fills it".as_slice()]);
}
