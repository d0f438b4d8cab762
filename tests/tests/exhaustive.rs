//! Every interleaving of a small session.

use std::time::Instant;

use rejoin_tests::exhaustive::{Limits, explore};

const NOTHING: Limits = Limits {
    items: [0, 0],
    at_once: 1,
    cuts: 0,
    replies: 0,
    abandons: 0,
    migrations: 0,
    closes: false,
    slow_links: false,
    first: 0,
};

/// Explores, and says how much: less than there was means that something is not looked at any more.
#[track_caller]
fn check(limits: Limits, states_min: usize) {
    let begun = Instant::now();
    match explore(limits, 2) {
        Ok(explored) => {
            println!("{limits:?}: {explored:?} in {:.1?}", begun.elapsed());
            assert!(explored.states >= states_min, "only {explored:?}");
            assert!(explored.resting > 0, "nothing ever comes to rest: {explored:?}");
        }
        Err(error) => panic!("{error}"),
    }
}

// REPLAY-1, REPLAY-5, KEY-2, NONCE-1, ACK-6
#[test]
fn three_items_each_way_two_cuts_and_a_lost_reply() {
    check(Limits { items: [3, 3], cuts: 2, replies: 1, ..NOTHING }, 100_000);
}

#[test]
fn the_same_across_the_wrap() {
    let first = (1 << 32) - 1;
    check(Limits { items: [2, 2], cuts: 1, replies: 1, first, ..NOTHING }, 5_500);
}

// REPLAY-2
#[test]
fn links_that_take_what_is_said_at_any_later_time() {
    check(Limits { items: [2, 1], cuts: 1, replies: 1, slow_links: true, ..NOTHING }, 8_000);
}

// REPLAY-1, REPLAY-2
#[test]
fn runs_of_items_of_which_a_link_carries_some() {
    check(Limits { items: [4, 2], at_once: 2, cuts: 1, replies: 1, ..NOTHING }, 7_000);
    check(Limits { items: [3, 0], at_once: 2, cuts: 1, slow_links: true, ..NOTHING }, 1_300);
}

// TAKE-1, TAKE-2, KEY-5
#[test]
fn hellos_that_come_late_and_links_that_are_made_while_there_is_one() {
    check(Limits { items: [1, 1], cuts: 1, abandons: 1, migrations: 1, ..NOTHING }, 9_000);
}

// CLOSE-1, CLOSE-2, CLOSE-4, CLOSE-5
#[test]
fn closes_at_any_time() {
    check(Limits { items: [1, 1], cuts: 1, replies: 1, closes: true, ..NOTHING }, 6_000);
}
