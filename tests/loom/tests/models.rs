//! The models, one test each.

use rejoin_loom::{inbox, outbox, waking};

#[test]
fn a_call_is_heard_whenever_it_comes() {
    waking::a_call_is_heard_whenever_it_comes();
}

#[test]
fn a_call_reaches_the_task_that_asked_last() {
    waking::a_call_reaches_the_task_that_asked_last();
}

#[test]
fn no_item_is_left_behind() {
    outbox::no_item_is_left_behind();
}

#[test]
fn an_item_is_noted_without_a_link() {
    outbox::an_item_is_noted_without_a_link();
}

#[test]
fn whoever_waits_for_room_gets_it() {
    outbox::whoever_waits_for_room_gets_it();
}

#[test]
fn room_that_is_given_up_goes_to_the_next() {
    outbox::room_that_is_given_up_goes_to_the_next();
}

#[test]
fn a_request_is_heard() {
    outbox::a_request_is_heard();
}

#[test]
fn nothing_and_no_end_is_missed() {
    inbox::nothing_and_no_end_is_missed();
}
