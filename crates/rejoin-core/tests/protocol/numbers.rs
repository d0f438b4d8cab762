//! Numbers, frames, replays and sizes.

use bytes::Bytes;
use rejoin_core::protocol::{
    AckState, Control, DropCause, Ending, Event, Frame, HandshakeError, Head, LossReason,
    PacketSeq, Position, Profile, ProtocolViolation, Settings, item_cost,
};

use crate::pair::{Pair, config};
use crate::solo::{Solo, ack, packet_ack, settings};

const WRAP: u64 = 1 << 32;

// SEQ-1
#[test]
fn numbers_go_on_past_the_wrap_with_cuts_on_both_sides_of_it() {
    let mut pair = Pair::starting_at(3 * WRAP - 4, config(), config());
    pair.drive();
    for n in 0..8u8 {
        for end in 0..2 {
            pair.side(end).send(&[n]);
        }
        if n % 2 == 0 {
            // What is on its way is lost and sent again.
            pair.side(0).writes = n % 4 == 0;
            pair.drive();
            pair.cut();
            pair.side(0).writes = true;
        }
        pair.drive();
    }
    for end in 0..2 {
        let expected: Vec<_> = (0..8u8).map(|n| Bytes::from(vec![n])).collect();
        assert_eq!(pair.side(end).received, expected);
        assert_eq!(pair.side(end).session.received(), 3 * WRAP + 4);
    }
}

// SEQ-2
#[test]
fn the_expected_item_is_taken_and_one_from_before_is_ignored() {
    let mut solo = Solo::ready(config());
    assert_eq!(solo.item(0, None, b"a").unwrap().as_deref(), Some(b"a".as_slice()));
    assert_eq!(solo.item(0, None, b"a"), Ok(None));
    assert_eq!(solo.item(u32::MAX, None, b"z"), Ok(None));
    assert_eq!(solo.item(1, None, b"b").unwrap().as_deref(), Some(b"b".as_slice()));
    assert_eq!(solo.session.counters().items_duplicate, 2);
}

// SEQ-3
#[test]
fn a_gap_costs_the_link_and_nothing_of_the_frame_counts() {
    let gap = |expected, actual| {
        Err(ProtocolViolation::Gap {
            expected: Position::new(expected),
            actual: Position::new(actual),
        })
    };
    let mut solo = Solo::ready(config());
    solo.append(b"mine");
    assert_eq!(solo.numbers(), [0]);
    assert_eq!(solo.item(5, Some(0), b"ahead"), gap(0, 5).map(|()| None));
    assert_eq!(solo.session.log().acked(), 0);
    // Not even an acknowledgement that would end the session.
    assert_eq!(solo.item(1, Some(99), b"ahead"), gap(0, 1).map(|()| None));
    assert_eq!(solo.feed(2, ack(0, 9999)), gap(0, 2));
    assert!(!solo.session.is_ended());
    assert_eq!(solo.session.log().acked(), 0);

    // Nor does it prove a key.
    let mut solo = Solo::acceptor(config(), Profile::Base);
    assert!(solo.item(1, None, b"ahead").is_err());
    assert_eq!(solo.events(), []);
}

// SEQ-3
#[test]
fn after_a_gap_the_next_link_brings_what_was_lost() {
    let mut pair = Pair::connected();
    pair.delay = crate::pair::MILLISECOND;
    pair.cut();
    pair.run_for(crate::pair::SECOND);
    pair.initiator().send(b"lost on the way");
    pair.drive();
    pair.wire().lose(0);
    pair.initiator().send(b"arrives");
    pair.run_for(crate::pair::SECOND);
    assert!(matches!(pair.acceptor().violations[..], [ProtocolViolation::Gap { .. }]));
    assert_eq!(pair.acceptor().received, [b"lost on the way".as_slice(), b"arrives"]);
}

// SEQ-4
#[test]
fn control_frames_take_no_number_and_carry_the_next_one() {
    let mut solo = Solo::ready(config());
    solo.append(b"a");
    solo.append(b"b");
    assert_eq!(solo.numbers(), [0, 1]);
    solo.feed(0, Control::Ping(7)).unwrap();
    let pong = Frame::Control { seq: PacketSeq(2), control: Control::Pong(7) };
    assert_eq!(solo.sent(), [pong]);
    solo.append(b"c");
    assert_eq!(solo.numbers(), [2]);
}

// FRAME-1
#[test]
fn a_malformed_frame_costs_the_link_and_the_session_resumes() {
    for bad in [&[0x80][..], b"GET / HTTP/1.1\r\n\r\n", &[0, 9], &[0, 3, 2], &[]] {
        let mut pair = Pair::connected();
        pair.initiator().send(b"one");
        pair.drive();
        let now = pair.now;
        pair.wire().write(0, now, Bytes::copy_from_slice(bad));
        pair.initiator().send(b"two");
        pair.drive();
        assert!(
            matches!(pair.acceptor().violations[..], [ProtocolViolation::Frame(_)]),
            "{bad:?}: {:?}",
            pair.acceptor().violations
        );
        assert_eq!(pair.acceptor().received, [b"one".as_slice(), b"two"]);
    }
}

// SET-1
#[test]
fn settings_come_first_on_every_link() {
    let mut solo = Solo::acceptor(config(), Profile::Extended);
    solo.append(b"item");
    let frames = solo.sent();
    let first = Settings {
        state: AckState { ack: None, limit: 4000 },
        item_bytes_max: 1000,
        send_log_bytes: 4000,
    };
    let control = Control::Settings(first);
    assert_eq!(frames[0], Frame::Control { seq: PacketSeq(0), control });
    assert_eq!(frames.len(), 1, "no item before the peer's settings give it room");

    for first_frame in [ack(0, 1), Control::Ping(1), Control::CloseAck] {
        let mut solo = Solo::acceptor(config(), Profile::Extended);
        assert_eq!(solo.feed(0, first_frame), Err(ProtocolViolation::SettingsMissing));
    }
    let mut solo = Solo::ready(config());
    solo.resume(None).unwrap();
    assert_eq!(solo.item(0, None, b"item"), Err(ProtocolViolation::SettingsMissing));
    assert!(matches!(solo.controls()[..], [Control::Settings(_)]));
}

// REPLAY-1 REPLAY-2
#[test]
fn a_resume_goes_on_after_what_the_peer_has_with_todays_acknowledgement() {
    let mut solo = Solo::ready(config());
    for item in [b"a", b"b", b"c"] {
        solo.append(item);
    }
    assert_eq!(solo.numbers(), [0, 1, 2]);
    solo.item(0, None, b"theirs").unwrap();
    solo.append(b"d");
    solo.resume(Some(0)).unwrap();
    solo.feed(1, settings(None, 10_000)).unwrap();
    let data = |seq, item: &'static [u8]| Frame::Data {
        seq: PacketSeq(seq),
        ack: Some(packet_ack(0)),
        item: Bytes::from_static(item),
    };
    assert_eq!(solo.sent()[1..], [data(1, b"b"), data(2, b"c"), data(3, b"d")]);
    assert_eq!(solo.session.counters().items_replayed, 2);
}

// REPLAY-3
#[test]
fn a_position_that_can_never_be_right_ends_the_session() {
    #[track_caller]
    fn check(acked: Option<u32>, resume_from: Option<u32>, received: u64) {
        let mut solo = Solo::ready(config());
        for item in [b"a", b"b", b"c"] {
            solo.append(item);
        }
        solo.sent();
        if let Some(acked) = acked {
            solo.feed(0, ack(acked, 0)).unwrap();
        }
        let retained_from = acked.map_or(0, |acked| u64::from(acked) + 1);
        let reason = LossReason::PositionOutOfRange { received, retained_from, appended: 3 };
        let error = solo.resume(resume_from).unwrap_err();
        assert_eq!(error, HandshakeError::Lost(reason.clone()));
        assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Lost(reason))));
    }
    check(None, Some(3), 4);
    check(Some(1), Some(3), 4);
    check(None, Some(u32::MAX - 1), 0);
}

// REPLAY-5
#[test]
fn an_old_hello_goes_on_from_what_was_acknowledged_since() {
    for resume_from in [None, Some(0), Some(1)] {
        let mut solo = Solo::ready(config());
        for item in [b"a", b"b", b"c"] {
            solo.append(item);
        }
        solo.sent();
        solo.feed(0, ack(1, 0)).unwrap();
        solo.resume(resume_from).unwrap();
        assert_eq!(solo.session.log().written(), 2, "from {resume_from:?}");
    }
}

// REPLAY-4
#[test]
fn what_was_not_acknowledged_is_handed_back_at_the_end() {
    let mut solo = Solo::ready(config());
    for item in [b"a", b"b", b"c"] {
        solo.append(item);
    }
    assert_eq!(solo.numbers(), [0, 1, 2]);
    solo.append(b"d");
    solo.feed(0, ack(1, 0)).unwrap();
    solo.session.abort(LossReason::Stopped);
    let items = solo.session.take_unacknowledged();
    assert_eq!(items, [(Position::new(2), "c".into()), (Position::new(3), "d".into())]);
    assert_eq!(solo.session.take_unacknowledged(), []);
}

// SIZE-1
#[test]
fn an_item_too_large_for_the_peer_or_the_link_ends_the_session_unsent() {
    let mut solo = Solo::ready(config());
    solo.append(&[0; 1000]);
    assert_eq!(solo.numbers(), [0]);
    solo.append(&[0; 1001]);
    assert_eq!(solo.sent(), []);
    let lost = |bytes_max| {
        let (position, bytes) = (Position::new(1), 1001);
        Event::Ended(Ending::Lost(LossReason::ItemTooLarge { position, bytes, bytes_max }))
    };
    assert_eq!(solo.events().last(), Some(&lost(1000)));
    assert_eq!(solo.session.take_unacknowledged().len(), 2);

    let mut solo = Solo::initiator(config(), Profile::Base);
    let hello = rejoin_core::protocol::ServerHello::Accepted {
        profile: Profile::Base,
        key: crate::pair::key(9),
        last_received: None,
    };
    solo.session.handle_server_hello(solo.now, &hello, 1000 + 11).unwrap();
    solo.append(&[0; 1000]);
    solo.append(&[0; 1001]);
    assert_eq!(solo.numbers(), [0]);
    assert_eq!(solo.events().last(), Some(&lost(1000)));
}

// SIZE-2
#[test]
fn an_item_larger_than_was_announced_ends_the_session() {
    let mut solo = Solo::ready(config());
    assert!(solo.item(0, None, &[0; 1000]).unwrap().is_some());
    assert_eq!(solo.item(1, None, &[0; 1001]), Ok(None));
    let reason =
        LossReason::ItemTooLarge { position: Position::new(1), bytes: 1001, bytes_max: 1000 };
    assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Lost(reason))));
}

// END-1
#[test]
fn nothing_happens_after_the_end() {
    let mut solo = Solo::ready(config());
    solo.append(b"mine");
    solo.sent();
    solo.session.abort(LossReason::Stopped);
    assert!(matches!(solo.events()[..], [Event::KeyProved(_), Event::Ended(_)]));
    assert_eq!(solo.item(0, Some(0), b"late"), Ok(None));
    solo.feed(0, Control::Close(Default::default())).unwrap();
    solo.feed(0, Control::GoingAway { retry_after_ms: 1 }).unwrap();
    assert!(matches!(solo.resume(None), Err(HandshakeError::Refused(_))));
    solo.pass(config().outage_max * 2);
    assert_eq!(solo.events(), []);
    assert!(solo.session.poll_transmit(solo.now).is_none());
    assert_eq!(solo.session.poll_timeout(), None);
    assert_eq!(solo.session.log().cost(), item_cost(4), "for the application to take");
}

// END-1
#[test]
fn a_frame_that_ends_the_session_gives_out_no_item() {
    let mut solo = Solo::ready(config());
    assert_eq!(solo.item(0, Some(3), b"item"), Ok(None));
    assert!(solo.session.is_ended());
    assert_eq!(solo.session.received(), 0);
}

// AWAY-1
#[test]
fn going_away_is_passed_on_and_changes_nothing() {
    let mut solo = Solo::ready(config());
    solo.feed(0, Control::GoingAway { retry_after_ms: u64::MAX }).unwrap();
    let retry_after = std::time::Duration::from_millis(u64::MAX);
    assert_eq!(solo.events().last(), Some(&Event::GoingAway { retry_after }));
    assert!(solo.item(0, None, b"item").unwrap().is_some());
}

// AWAY-2
#[test]
fn going_away_is_told_once_on_every_link() {
    let mut solo = Solo::ready(config());
    solo.session.go_away(crate::pair::SECOND);
    let told = Control::GoingAway { retry_after_ms: 1000 };
    assert_eq!(solo.controls(), std::slice::from_ref(&told));
    assert_eq!(solo.controls(), []);
    solo.resume(None).unwrap();
    assert_eq!(solo.controls()[1..], [told]);
    let mut solo = Solo::acceptor(config(), Profile::Base);
    solo.session.go_away(crate::pair::SECOND);
    assert_eq!(solo.sent(), [], "a base peer cannot be told");
}

/// Against silly mistakes in the doubles themselves.
#[test]
fn a_pair_that_meets_no_fault_uses_one_link() {
    let mut pair = Pair::connected();
    pair.initiator().send(b"there");
    pair.acceptor().send(b"back");
    pair.run_for(crate::pair::SECOND * 600);
    assert_eq!(pair.acceptor().received, [b"there".as_slice()]);
    assert_eq!(pair.initiator().received, [b"back".as_slice()]);
    assert_eq!(pair.initiator().session.counters().resumes, 0);
    assert_eq!(pair.initiator().drops(), [] as [DropCause; 0]);
    assert_eq!(Head::default().as_bytes(), [] as [u8; 0]);
}
