//! Acknowledgements: what they mean, and when they go out.

use rejoin_core::protocol::{
    AckState, Control, Ending, Event, Frame, LossReason, Position, SessionConfig,
};

use crate::pair::{MILLISECOND, Pair, SECOND, config};
use crate::solo::{Solo, ack, packet_ack, settings};

fn acks(controls: &[Control]) -> Vec<Option<u32>> {
    let acks = controls.iter().filter_map(|control| match control {
        Control::Ack(state) => Some(state.ack.map(|ack| ack.max_delivered.0)),
        _ => None,
    });
    acks.collect()
}

// ACK-1
#[test]
fn an_acknowledgement_covers_everything_up_to_it_and_old_ones_are_harmless() {
    let mut solo = Solo::ready(config());
    for item in [b"a", b"b", b"c"] {
        solo.append(item);
    }
    solo.sent();
    solo.feed(0, ack(1, 0)).unwrap();
    assert_eq!(solo.session.log().acked(), 2);
    solo.feed(0, ack(0, 0)).unwrap();
    solo.item(0, Some(1), b"theirs").unwrap();
    assert_eq!(solo.session.log().acked(), 2);
    solo.item(1, Some(2), b"theirs").unwrap();
    assert!(solo.session.log().is_empty());
}

// ACK-2
#[test]
fn every_item_carries_the_acknowledgement_of_all_that_came() {
    let mut solo = Solo::ready(config());
    solo.append(b"before anything came");
    solo.item(0, None, b"a").unwrap();
    solo.append(b"after one");
    let acks: Vec<_> = solo
        .sent()
        .into_iter()
        .map(|frame| match frame {
            Frame::Data { ack, .. } => ack,
            Frame::Control { .. } => panic!("no control frame is due"),
        })
        .collect();
    assert_eq!(acks, [Some(packet_ack(0)); 2]);
    solo.pass(SECOND);
    assert_eq!(acks_of(&mut solo), [], "it has been told");
}

fn acks_of(solo: &mut Solo) -> Vec<Option<u32>> {
    acks(&solo.controls())
}

// ACK-3
#[test]
fn an_acknowledgement_alone_waits_for_the_delay() {
    let mut solo = Solo::ready(config());
    solo.item(0, None, b"a").unwrap();
    solo.pass(30 * MILLISECOND);
    solo.item(1, None, b"b").unwrap();
    solo.pass(19 * MILLISECOND);
    assert_eq!(acks_of(&mut solo), []);
    solo.pass(MILLISECOND);
    assert_eq!(acks_of(&mut solo), [Some(1)], "counted from the first item");
    solo.pass(SECOND);
    assert_eq!(acks_of(&mut solo), []);
}

// ACK-3
#[test]
fn an_acknowledgement_alone_goes_out_after_so_many_items() {
    let mut solo = Solo::ready(SessionConfig { ack_frames_max: 3, ..config() });
    for seq in 0..2 {
        solo.item(seq, None, b"x").unwrap();
        assert_eq!(acks_of(&mut solo), []);
    }
    solo.item(2, None, b"x").unwrap();
    assert_eq!(acks_of(&mut solo), [Some(2)]);
    solo.item(3, None, b"x").unwrap();
    assert_eq!(acks_of(&mut solo), [], "the count begins anew");
}

// ACK-3
#[test]
fn an_acknowledgement_alone_goes_out_at_an_eighth_of_the_peers_log() {
    let mut solo = Solo::ready(config());
    // The peer's log has 4000 bytes; an item of 218 costs 250.
    solo.item(0, None, &[0; 218]).unwrap();
    assert_eq!(acks_of(&mut solo), []);
    solo.item(1, None, &[0; 217]).unwrap();
    assert_eq!(acks_of(&mut solo), []);
    solo.item(2, None, b"").unwrap();
    assert_eq!(acks_of(&mut solo), [Some(2)]);
}

// ACK-3
#[test]
fn one_way_traffic_empties_the_log() {
    let mut pair = Pair::connected();
    for n in 0..100u8 {
        pair.initiator().send(&[n; 10]);
        pair.run_for(10 * MILLISECOND);
        assert!(pair.initiator().session.log().cost() < 500);
    }
    pair.run_for(SECOND);
    assert!(pair.initiator().session.log().is_empty());
    assert_eq!(pair.acceptor().session.log().appended(), 0);
}

// ACK-4
#[test]
fn a_ping_is_answered_with_what_is_new_and_a_pong() {
    let mut solo = Solo::ready(config());
    solo.item(0, None, b"a").unwrap();
    solo.feed(1, Control::Ping(5)).unwrap();
    let controls = solo.controls();
    assert_eq!(acks(&controls), [Some(0)]);
    assert_eq!(controls[1..], [Control::Pong(5)]);
    // With nothing new, the pong is all, and the schedule goes on as before.
    solo.feed(1, Control::Ping(6)).unwrap();
    assert_eq!(solo.controls(), [Control::Pong(6)]);
    solo.item(1, None, b"b").unwrap();
    assert_eq!(acks_of(&mut solo), []);
}

// ACK-5
#[test]
fn the_first_frame_after_a_resume_tells_what_came() {
    let mut solo = Solo::ready(config());
    solo.item(0, None, b"a").unwrap();
    solo.resume(None).unwrap();
    let Control::Settings(told) = &solo.controls()[0] else { panic!("settings come first") };
    assert_eq!(told.state.ack, Some(packet_ack(0)));
}

// ACK-6
#[test]
fn an_acknowledgement_of_what_no_link_has_carried_ends_the_session() {
    #[track_caller]
    fn check(mut solo: Solo, seq: u32, acked: u64, sent: u64) {
        solo.feed(0, ack(seq, 0)).unwrap();
        let reason = LossReason::AckBeyondSent { acked: Position::new(acked), sent };
        assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Lost(reason))));
    }
    check(Solo::ready(config()), 0, 0, 0);
    let mut waiting = Solo::ready(config());
    waiting.append(b"a");
    check(waiting, 0, 0, 0);
    let mut written = Solo::ready(config());
    written.append(b"a");
    written.sent();
    check(written, 1, 1, 1);
}

// ACK-6
#[test]
fn an_acknowledgement_may_overtake_the_hello_of_a_new_link() {
    let mut solo = Solo::ready(config());
    for item in [b"a", b"b", b"c"] {
        solo.append(item);
    }
    solo.sent();
    // Composed before anything came; two items came before the old link was left.
    solo.resume(None).unwrap();
    solo.feed(0, settings(Some(1), u64::MAX)).unwrap();
    assert!(!solo.session.is_ended());
    assert_eq!(solo.session.log().acked(), 2);
    assert_eq!(solo.session.log().written(), 2, "what it has is not written again");
}

// ACK-7
#[test]
fn a_position_in_a_hello_acknowledges_nothing_in_the_extended_profile() {
    let mut solo = Solo::ready(config());
    solo.append(b"a");
    solo.sent();
    solo.resume(Some(0)).unwrap();
    assert_eq!(solo.session.log().acked(), 0);
    solo.feed(0, settings(Some(0), 0)).unwrap();
    assert_eq!(solo.session.log().acked(), 1);
    assert_eq!(solo.numbers(), [] as [u32; 0]);
}

// ACK-8
#[test]
fn in_manual_mode_the_application_acknowledges() {
    let mut solo = Solo::ready(SessionConfig { manual_ack: true, ..config() });
    for seq in 0..3 {
        solo.item(seq, None, b"x").unwrap();
    }
    solo.pass(SECOND);
    assert_eq!(acks_of(&mut solo), []);
    solo.session.acknowledge(solo.now, 2);
    solo.session.acknowledge(solo.now, 1);
    solo.pass(SECOND);
    assert_eq!(acks_of(&mut solo), [Some(1)]);
    // A position in a hello tells what need not be sent again; that is not the same.
    solo.resume(None).unwrap();
    assert_eq!(solo.session.client_hello().last_received().map(|it| it.0), None);
    let Control::Settings(told) = &solo.controls()[0] else { panic!("settings come first") };
    assert_eq!(told.state.ack, Some(packet_ack(1)));
}

/// Regression: an overdue acknowledgement kept asking for `handle_timeout`.
#[test]
fn an_overdue_acknowledgement_waits_for_the_link_without_a_timer() {
    let mut solo = Solo::ready(config());
    solo.item(0, None, b"a").unwrap();
    solo.pass(50 * MILLISECOND);
    let next = solo.session.poll_timeout().expect("pings go on");
    assert!(next > solo.now, "the timer has fired");
    let state = AckState { ack: Some(packet_ack(0)), limit: 4000 };
    assert_eq!(solo.controls(), [Control::Ack(state)]);
}
