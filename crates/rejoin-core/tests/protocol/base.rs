//! A peer that speaks the base profile.

use bytes::Bytes;
use rejoin_core::protocol::{
    DropCause, Ending, Event, Frame, LossReason, PacketSeq, Profile, ProtocolViolation,
    RejectReason, ServerHello, SessionConfig,
};

use crate::pair::{MILLISECOND, Pair, SECOND, config, key};
use crate::solo::{Solo, packet_ack};

fn base() -> SessionConfig {
    SessionConfig { profile: Profile::Base, ..config() }
}

/// The pairs of configurations that settle on the base profile.
fn base_pairs() -> [Pair; 3] {
    [(base(), config()), (config(), base()), (base(), base())]
        .map(|(initiator, acceptor)| Pair::connected_with(initiator, acceptor))
}

// BASE-1
#[test]
fn either_side_falls_back_to_the_base_profile_and_only_data_travels() {
    for mut pair in base_pairs() {
        for end in 0..2 {
            assert_eq!(pair.side(end).session.profile(), Some(Profile::Base));
            pair.side(end).send(b"item");
        }
        pair.run_for(600 * SECOND);
        assert_eq!(pair.initiator().received, [b"item".as_slice()]);
        assert_eq!(pair.acceptor().received, [b"item".as_slice()]);
        assert_eq!(pair.initiator().session.counters().resumes, 0, "no pings, no dead peers");
        pair.cut();
        pair.initiator().send(b"more");
        pair.drive();
        assert_eq!(pair.acceptor().received.len(), 2);
    }
    let mut solo = Solo::acceptor(config(), Profile::Base);
    assert_eq!(solo.sent(), []);
    let unknown = solo.feed(0, rejoin_core::protocol::Control::CloseAck);
    assert!(matches!(unknown, Err(ProtocolViolation::Frame(_))));
}

// BASE-2
#[test]
fn a_position_in_a_hello_acknowledges() {
    let mut solo = Solo::acceptor(config(), Profile::Base);
    solo.append(b"a");
    solo.append(b"b");
    assert_eq!(solo.numbers(), [0, 1]);
    solo.resume(Some(0)).unwrap();
    assert_eq!(solo.session.log().acked(), 1);
    assert_eq!(solo.numbers(), [1]);

    let mut solo = Solo::initiator(config(), Profile::Base);
    solo.append(b"a");
    assert_eq!(solo.numbers(), [0]);
    solo.answer(Some(0)).unwrap();
    assert!(solo.session.log().is_empty());
}

// BASE-3
#[test]
fn a_new_handshake_empties_the_log_that_a_silent_peer_filled() {
    for mut pair in base_pairs() {
        for end in 0..2 {
            for n in 0..4u8 {
                pair.side(end).send(&[n; 968]);
            }
            // Full: 4 × 1000. The other side says nothing.
            pair.run_for(SECOND);
            let side = pair.side(end);
            assert!(side.session.log().is_empty());
            assert_eq!(side.drops(), [DropCause::AckWanted]);
            assert_eq!(pair.side(1 - end).received.len(), 4);
        }
    }
}

// BASE-3
#[test]
fn a_link_is_cycled_only_when_an_acknowledgement_is_wanted() {
    let mut pair = Pair::connected_with(config(), base());
    pair.initiator().send(b"item");
    pair.run_for(600 * SECOND);
    assert_eq!(pair.initiator().drops(), []);
    pair.initiator().session.set_ack_wanted(true);
    pair.run_for(SECOND);
    assert!(pair.initiator().session.log().is_empty());
    assert_eq!(pair.initiator().drops(), [DropCause::AckWanted]);
    pair.run_for(600 * SECOND);
    assert_eq!(pair.initiator().drops().len(), 1, "there is nothing left to ask for");
}

// BASE-4
#[test]
fn cycles_that_bring_nothing_become_rare_but_never_stop() {
    let mut solo = Solo::initiator(config(), Profile::Base);
    solo.append(b"item");
    solo.sent();
    solo.session.set_ack_wanted(true);
    let mut delays = Vec::new();
    for _ in 0..14 {
        let at = solo.session.poll_timeout().expect("a cycle is due");
        delays.push(at - solo.now);
        solo.pass(at - solo.now);
        assert!(matches!(
            solo.events().last(),
            Some(Event::DropLink { cause: DropCause::AckWanted, .. })
        ));
        // The peer has not taken the item from its link yet.
        solo.answer(None).unwrap();
        solo.sent();
    }
    assert_eq!(delays[..4], [50, 100, 200, 400].map(|n| n * MILLISECOND));
    assert_eq!(delays[13], 20 * SECOND);
    solo.answer(Some(0)).unwrap();
    solo.append(b"next");
    solo.sent();
    let at = solo.session.poll_timeout().expect("a cycle is due");
    assert_eq!(at - solo.now, 50 * MILLISECOND, "progress makes it patient anew");
}

// BASE-5
#[test]
fn a_close_waits_for_the_log_to_empty() {
    for mut pair in base_pairs() {
        pair.initiator().send(b"item");
        pair.close(0, "bye");
        pair.drive();
        assert_eq!(pair.initiator().ending(), None);
        pair.run_for(SECOND);
        assert_eq!(pair.initiator().ending(), Some(&Ending::Closed));
        assert_eq!(pair.acceptor().received, [b"item".as_slice()]);
        assert_eq!(pair.acceptor().ending(), None, "nobody tells a base peer of a close");
    }
}

// BASE-5
#[test]
fn a_close_before_the_first_link_ends_with_it() {
    for (initiator, acceptor) in [(base(), config()), (config(), base()), (base(), base())] {
        let mut pair = Pair::with(initiator, acceptor);
        pair.close(0, "never mind");
        assert_eq!(pair.initiator().ending(), None, "nobody knows yet which profile it will be");
        pair.drive();
        assert_eq!(pair.initiator().ending(), Some(&Ending::Closed));
    }
}

// BASE-6
#[test]
fn a_base_peer_is_refused_without_a_reason() {
    let refused =
        ServerHello::Rejected { profile: Profile::Base, reason: RejectReason::UnknownKey };
    let decoded = ServerHello::decode(&refused.encode()).unwrap();
    let reason = RejectReason::Unspecified;
    assert_eq!(decoded, ServerHello::Rejected { profile: Profile::Base, reason });

    let mut solo = Solo::initiator(config(), Profile::Base);
    solo.append(b"item");
    solo.session.handle_server_hello(solo.now, &decoded, usize::MAX).unwrap_err();
    let ended = Event::Ended(Ending::Lost(LossReason::Rejected(reason)));
    assert_eq!(solo.events(), [ended]);
    assert_eq!(solo.session.take_unacknowledged().len(), 1);
}

// BASE-7
#[test]
fn items_of_a_base_peer_need_no_room() {
    let mut solo = Solo::acceptor(SessionConfig { window_bytes: 1, ..config() }, Profile::Base);
    for seq in 0..10 {
        assert!(solo.item(seq, None, b"item").unwrap().is_some());
    }
    // Nor do ours, and each carries what came.
    for _ in 0..10 {
        solo.append(&[0; 1000]);
    }
    let frames = solo.sent();
    let item = Bytes::from(vec![0; 1000]);
    let expected = (0..10).map(|seq| Frame::Data {
        seq: PacketSeq(seq),
        ack: Some(packet_ack(9)),
        item: item.clone(),
    });
    assert_eq!(frames, expected.collect::<Vec<_>>());
}

#[test]
fn an_answer_in_the_extended_profile_to_a_base_hello_is_taken_for_a_base_answer() {
    let mut solo = Solo::initiator(config(), Profile::Base);
    let answer =
        ServerHello::Accepted { profile: Profile::Extended, key: key(5), last_received: None };
    assert_eq!(solo.session.client_hello().profile(), Profile::Base);
    solo.session.handle_server_hello(solo.now, &answer, usize::MAX).unwrap();
    assert_eq!(solo.session.profile(), Some(Profile::Base));
}
