//! Links that are replaced, end, fall silent or never come.

use rejoin_core::protocol::{
    ClientHello, Control, DropCause, Ending, Event, LossReason, Profile, SessionConfig,
};

use crate::pair::{MILLISECOND, Pair, SECOND, config, key};
use crate::solo::{Solo, settings};

// TAKE-1
#[test]
fn the_newest_link_with_a_valid_key_takes_over() {
    let mut solo = Solo::ready(config());
    let old = solo.link;
    solo.resume(None).unwrap();
    assert!(solo.link > old);
    assert_eq!(solo.session.link(), Some(solo.link));
    let replaced = Event::DropLink { link: old, cause: DropCause::Replaced };
    assert_eq!(solo.events(), [Event::KeyProved(old), replaced]);
    assert_eq!(solo.session.counters().resumes, 1);
}

// TAKE-1
#[test]
fn an_initiator_that_lost_its_link_alone_takes_over_from_it() {
    let mut pair = Pair::connected();
    pair.initiator().send(b"one");
    pair.drive();
    pair.wire().freeze();
    pair.initiator().send(b"two");
    pair.drive();
    let (now, link) = (pair.now, pair.initiator().session.link().unwrap());
    pair.initiator().session.handle_link_down(now, link);
    pair.drive();
    assert_eq!(pair.acceptor().received, [b"one".as_slice(), b"two"]);
    assert_eq!(pair.acceptor().drops(), [DropCause::Replaced]);
}

// TAKE-2
#[test]
fn input_from_any_other_link_changes_nothing() {
    let mut solo = Solo::ready(config());
    solo.append(b"mine");
    solo.sent();
    let old = solo.link;
    solo.resume(None).unwrap();
    let new = std::mem::replace(&mut solo.link, old);
    assert_eq!(solo.item(0, Some(0), b"late"), Ok(None));
    solo.feed(7, Control::Close(Default::default())).unwrap();
    solo.session.handle_frame(solo.now, old, b"nonsense".as_slice().into()).unwrap();
    solo.session.handle_link_down(solo.now, old);
    assert_eq!(solo.session.counters().inputs_stale, 4);
    assert_eq!((solo.session.received(), solo.session.log().acked()), (0, 0));
    assert_eq!(solo.session.link(), Some(new));
    // A link that is gone is another link, too.
    solo.link = new;
    solo.session.handle_link_down(solo.now, new);
    assert_eq!(solo.item(0, None, b"late"), Ok(None));
    assert_eq!(solo.session.received(), 0);
}

// LINK-1
#[test]
fn the_end_of_a_link_is_never_a_close() {
    let mut pair = Pair::connected();
    for n in 0..5u8 {
        let now = pair.now;
        // One end closes its link in an orderly way.
        pair.wire().close(0, now);
        let link = pair.initiator().session.link().unwrap();
        pair.initiator().session.handle_link_down(now, link);
        pair.acceptor().send(&[n]);
        pair.run_for(SECOND);
    }
    assert_eq!(pair.initiator().received.len(), 5);
    assert_eq!(pair.initiator().ending(), None);
    assert!(!pair.acceptor().events.iter().any(|it| matches!(it, Event::PeerClosed(_))));
}

// EXP-1
#[test]
fn a_session_without_a_link_ends_after_a_while() {
    let mut pair = Pair::connected();
    pair.initiator().send(b"item");
    pair.drive();
    pair.offline = true;
    pair.cut();
    pair.initiator().send(b"never sent");
    pair.run_for(300 * SECOND - MILLISECOND);
    assert_eq!(pair.initiator().ending(), None);
    pair.run_for(MILLISECOND);
    assert_eq!(pair.initiator().ending(), Some(&Ending::Lost(LossReason::OutageLimit)));
    assert_eq!(pair.acceptor().ending(), Some(&Ending::Lost(LossReason::Expired)));
    assert!(pair.table.is_empty());
}

// EXP-2
#[test]
fn a_session_whose_peer_never_proved_a_key_is_not_kept_as_long() {
    let mut solo = Solo::acceptor(config(), Profile::Extended);
    solo.session.handle_link_down(solo.now, solo.link);
    solo.pass(60 * SECOND - MILLISECOND);
    assert!(!solo.session.is_ended());
    solo.pass(MILLISECOND);
    assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Lost(LossReason::Expired))));
    // One that was proved is kept, and so is one of a base peer, which may have nothing to say.
    let proved = Solo::ready(config());
    for mut solo in [proved, Solo::acceptor(config(), Profile::Base)] {
        solo.session.handle_link_down(solo.now, solo.link);
        solo.pass(299 * SECOND);
        assert!(!solo.session.is_ended());
    }
}

// EXP-1
#[test]
fn a_new_link_ends_the_outage() {
    let mut pair = Pair::connected();
    for _ in 0..3 {
        pair.offline = true;
        pair.cut();
        pair.run_for(299 * SECOND);
        pair.offline = false;
        pair.run_for(SECOND);
    }
    assert_eq!(pair.initiator().ending(), None);
    assert_eq!(pair.acceptor().ending(), None);
}

// LIVE-1
#[test]
fn a_silent_link_is_pinged() {
    let mut solo = Solo::ready(config());
    solo.pass(5 * SECOND - MILLISECOND);
    assert_eq!(solo.controls(), []);
    solo.pass(MILLISECOND);
    assert_eq!(solo.controls(), [Control::Ping(1)]);
    solo.pass(30 * MILLISECOND);
    solo.feed(0, Control::Pong(1)).unwrap();
    assert_eq!(solo.session.round_trip(), Some(30 * MILLISECOND));
    // Whatever is heard puts the next one off.
    solo.pass(4 * SECOND);
    solo.item(0, None, b"item").unwrap();
    solo.pass(4 * SECOND);
    assert!(!solo.controls().iter().any(|it| matches!(it, Control::Ping(_))));
    solo.pass(SECOND);
    assert_eq!(solo.controls(), [Control::Ping(2)]);
}

// LIVE-5
#[test]
fn a_part_of_a_payload_is_a_sign_of_life() {
    let mut solo = Solo::ready(config());
    let link = solo.link;
    let dead = Event::DropLink { link, cause: DropCause::PeerDead };
    for second in 1..=100 {
        solo.pass(SECOND);
        if second % 15 == 0 {
            solo.session.handle_progress(solo.now, link);
        }
        assert!(!solo.events().contains(&dead), "after {second} s");
    }
    let mut seconds = 100;
    while !solo.events().contains(&dead) {
        solo.pass(SECOND);
        seconds += 1;
    }
    assert_eq!(seconds, 90 + 20, "not for ever");
}

// LIVE-2
#[test]
fn a_dead_peer_costs_the_link_and_not_the_session() {
    let mut pair = Pair::connected();
    pair.initiator().send(b"one");
    pair.drive();
    pair.wire().freeze();
    pair.acceptor().send(b"two");
    pair.run_for(20 * SECOND - MILLISECOND);
    assert_eq!(pair.initiator().drops(), []);
    pair.run_for(MILLISECOND);
    assert_eq!(pair.initiator().drops(), [DropCause::PeerDead]);
    pair.run_for(SECOND);
    assert_eq!(pair.initiator().received, [b"two".as_slice()]);
    assert_eq!(pair.initiator().ending(), None);
}

// LIVE-3
#[test]
fn only_the_latest_ping_is_answered_and_a_flood_costs_nothing() {
    let mut solo = Solo::ready(config());
    for token in 0..10_000 {
        solo.feed(0, Control::Ping(token)).unwrap();
    }
    assert_eq!(solo.controls(), [Control::Pong(9_999)]);
    solo.feed(0, Control::Pong(12345)).unwrap();
    assert_eq!(solo.session.round_trip(), None, "nobody has asked");
}

// LIVE-4
#[test]
fn a_process_that_was_stopped_does_not_hold_its_own_silence_against_the_peer() {
    let mut pair = Pair::connected();
    pair.sleep_for(3600 * SECOND);
    pair.run_for(SECOND);
    for end in 0..2 {
        assert_eq!(pair.side(end).drops(), []);
        assert_eq!(pair.side(end).session.counters().resumes, 0);
    }
    // A peer that is dead indeed is given one time-out more.
    pair.wire().freeze();
    pair.sleep_for(3600 * SECOND);
    pair.run_for(21 * SECOND);
    assert_eq!(pair.initiator().drops(), [DropCause::PeerDead]);
}

#[test]
fn settings_can_change_from_link_to_link() {
    let mut solo = Solo::ready(config());
    assert_eq!(solo.session.peer_item_bytes_max(), Some(1000));
    solo.hello(&ClientHello::resume(Profile::Extended, key(1), None)).unwrap();
    let Control::Settings(mut changed) = settings(None, 0) else { unreachable!() };
    changed.item_bytes_max = 5;
    solo.feed(0, Control::Settings(changed)).unwrap();
    assert_eq!(solo.session.peer_item_bytes_max(), Some(5));
}

#[test]
fn a_session_that_never_had_a_link_waits_for_its_first() {
    let config = SessionConfig { outage_max: SECOND, ..config() };
    let mut pair = Pair::with(config.clone(), config);
    pair.offline = true;
    pair.run_for(100 * SECOND);
    assert_eq!(pair.initiator().ending(), None, "the owner has a limit of its own for that");
}
