//! Hellos, keys and the acceptor's table.

use rejoin_core::protocol::{
    Admission, ClientHello, CloseReason, Control, Ending, Event, HandshakeError, HelloError,
    LossReason, PacketSeq, Profile, RejectReason, ResumeKey, Role, ServerHello, Session,
    SessionConfig, SessionId, Sessions,
};

use crate::pair::{Pair, SECOND, config, key};
use crate::solo::{Solo, settings};
use crate::wire::End;

fn resume(n: u64) -> ClientHello {
    ClientHello::resume(Profile::Extended, key(n), None)
}

fn fresh(n: u64) -> ClientHello {
    ClientHello::fresh_extended(key(n))
}

/// A table with one session, whose keys are 1 (proved) and 2 (given out since).
fn table() -> (Sessions, SessionId) {
    let mut table = Sessions::new(2);
    let Admission::New(id, _) = table.admit(&fresh(77), key(1)) else { panic!("there is room") };
    assert_eq!(table.admit(&resume(1), key(2)), Admission::Resume(id, key(2)));
    (table, id)
}

// HELLO-1
#[test]
fn a_payload_that_is_no_hello_is_an_error() {
    for bad in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2, 0], &[0; 25], &[0xff; 26]] {
        assert!(ClientHello::decode(bad).is_err());
        assert!(ServerHello::decode(bad).is_err());
    }
    let hello = ClientHello::fresh().encode();
    assert_eq!(ServerHello::decode(&hello), Err(HelloError::Magic), "each has its own magic");
    assert_eq!(ClientHello::decode(&hello[..24]), Err(HelloError::Length { actual: 24 }));
}

// HELLO-3
#[test]
fn the_profile_is_extended_when_both_hellos_say_so() {
    let base = || SessionConfig { profile: Profile::Base, ..config() };
    for (initiator, acceptor, profile) in [
        (config(), config(), Profile::Extended),
        (config(), base(), Profile::Base),
        (base(), config(), Profile::Base),
        (base(), base(), Profile::Base),
    ] {
        let mut pair = Pair::connected_with(initiator, acceptor);
        pair.cut();
        assert_eq!(pair.initiator().session.profile(), Some(profile));
        assert_eq!(pair.acceptor().session.profile(), Some(profile));
        assert_eq!(pair.initiator().session.client_hello().profile(), profile, "it is settled");
    }
}

// HELLO-4
#[test]
fn a_profile_does_not_change_within_a_session() {
    let mut solo = Solo::ready(config());
    let refused = solo.hello(&ClientHello::resume(Profile::Base, key(1), None));
    let mismatch = RejectReason::ProfileMismatch;
    assert_eq!(refused, Err(HandshakeError::Refused(mismatch)));
    assert!(!solo.session.is_ended(), "whoever said that may not be the peer");

    let mut solo = Solo::initiator(config(), Profile::Extended);
    let base = ServerHello::Accepted { profile: Profile::Base, key: key(9), last_received: None };
    let lost = solo.session.handle_server_hello(solo.now, &base, usize::MAX);
    assert_eq!(lost, Err(HandshakeError::Lost(LossReason::ProfileChanged)));
    assert!(solo.session.is_ended());
}

// HELLO-5 HELLO-6
#[test]
fn an_initiator_asks_afresh_with_one_nonce_until_it_has_a_key() {
    let mut session = Session::new(Role::Initiator, config(), key(42));
    assert_eq!(session.client_hello(), ClientHello::fresh_extended(key(42)));
    assert_eq!(session.client_hello(), ClientHello::fresh_extended(key(42)));
    let answer =
        ServerHello::Accepted { profile: Profile::Extended, key: key(1), last_received: None };
    session.handle_server_hello(std::time::Instant::now(), &answer, usize::MAX).unwrap();
    assert_eq!(session.client_hello(), resume(1));
}

// HELLO-6
#[test]
fn a_resume_tells_what_came() {
    let mut pair = Pair::connected();
    assert_eq!(pair.initiator().session.client_hello().last_received(), None);
    for n in 0..3u8 {
        pair.acceptor().send(&[n]);
    }
    pair.drive();
    assert_eq!(pair.initiator().session.client_hello().last_received(), Some(PacketSeq(2)));
}

// HELLO-7
#[test]
fn only_a_passing_reason_lets_the_session_live() {
    #[track_caller]
    fn check(reason: RejectReason, lives: bool) {
        let mut solo = Solo::initiator(config(), Profile::Extended);
        let rejected = ServerHello::Rejected { profile: Profile::Extended, reason };
        let rejected = ServerHello::decode(&rejected.encode()).unwrap();
        let error = solo.session.handle_server_hello(solo.now, &rejected, usize::MAX);
        assert_eq!(error, Err(HandshakeError::Refused(reason)));
        assert_eq!(solo.session.is_ended(), !lives, "{reason}");
        if !lives {
            let lost = Event::Ended(Ending::Lost(LossReason::Rejected(reason)));
            assert_eq!(solo.events().last(), Some(&lost));
        }
    }
    for code in [0, 1, 2, 5, 6, 7, u32::MAX] {
        check(RejectReason::from_code(code), false);
    }
    check(RejectReason::Full, true);
    check(RejectReason::GoingAway, true);
}

// KEY-1
#[test]
fn every_handshake_gives_out_another_key() {
    let mut pair = Pair::connected();
    let first = pair.initiator().session.client_hello().resume_key();
    pair.cut();
    let second = pair.initiator().session.client_hello().resume_key();
    assert!(first.is_some() && second.is_some() && first != second);
}

// KEY-2
#[test]
fn a_key_stays_valid_while_the_peer_may_not_have_a_newer_one() {
    let (mut table, id) = table();
    for unused in 3..6 {
        assert_eq!(table.admit(&resume(1), key(unused)), Admission::Resume(id, key(2)));
    }
    assert_eq!(table.admit(&resume(2), key(6)), Admission::Resume(id, key(6)), "it is proved now");
}

// KEY-2
#[test]
fn lost_answers_never_lose_a_session() {
    for lost in 1..20 {
        let mut pair = Pair::connected();
        pair.initiator().send(b"one");
        pair.drive();
        pair.lose_server_hellos = lost;
        pair.initiator().send(b"two");
        pair.cut();
        pair.run_for(SECOND);
        assert_eq!(pair.acceptor().received, [b"one".as_slice(), b"two"], "{lost} answers lost");
        assert_eq!(pair.sides.len(), 2);
    }
}

// KEY-3
#[test]
fn a_hello_with_a_key_proves_it_and_ends_the_older_ones() {
    let (mut table, id) = table();
    assert_eq!(table.admit(&resume(2), key(3)), Admission::Resume(id, key(3)));
    let unknown = Admission::Reject(RejectReason::UnknownKey);
    assert_eq!(table.admit(&resume(1), key(4)), unknown);
}

// KEY-3
#[test]
fn a_frame_on_a_link_proves_the_key_given_out_on_it() {
    let mut solo = Solo::acceptor(config(), Profile::Extended);
    assert_eq!(solo.events(), []);
    assert!(!solo.session.is_link_proved());
    solo.feed(0, settings(None, 0)).unwrap();
    assert_eq!(solo.events(), [Event::KeyProved(solo.link)]);
    assert!(solo.session.is_link_proved());
    solo.sent();
    solo.item(0, None, b"item").unwrap();
    assert_eq!(solo.events(), [], "once for each link");

    let (mut table, id) = table();
    table.prove(id, key(2));
    let unknown = Admission::Reject(RejectReason::UnknownKey);
    assert_eq!(table.admit(&resume(1), key(3)), unknown);
    assert_eq!(table.admit(&resume(2), key(3)), Admission::Resume(id, key(3)));
}

// KEY-4
#[test]
fn a_stranger_is_refused_and_a_session_that_ended_is_forgotten() {
    let (mut table, id) = table();
    let unknown = Admission::Reject(RejectReason::UnknownKey);
    assert_eq!(table.admit(&resume(99), key(3)), unknown);
    table.remove(id, false);
    assert_eq!(table.admit(&resume(1), key(3)), unknown);
    assert_eq!(table.admit(&resume(2), key(3)), unknown);
    assert!(table.is_empty());
    assert!(matches!(table.admit(&fresh(77), key(3)), Admission::New(..)), "its nonce, too");
}

// KEY-4
#[test]
fn a_session_that_expired_is_lost_to_the_initiator_with_what_it_had_to_send() {
    let mut pair = Pair::connected();
    pair.offline = true;
    pair.initiator().send(b"item");
    pair.initiator().writes = false;
    pair.cut();
    let now = pair.now;
    let side = pair.acceptor();
    side.session.handle_timeout(now + 301 * SECOND);
    pair.drive();
    assert_eq!(pair.acceptor().ending(), Some(&Ending::Lost(LossReason::Expired)));
    pair.offline = false;
    pair.drive();
    let lost = Ending::Lost(LossReason::Rejected(RejectReason::UnknownKey));
    assert_eq!(pair.initiator().ending(), Some(&lost));
    assert_eq!(pair.initiator().session.take_unacknowledged().len(), 1);
}

// KEY-4
#[test]
fn a_session_that_was_lost_does_not_call_itself_closed_before_it_is_forgotten() {
    let refused = |reason| Err(HandshakeError::Refused(reason));
    let mut solo = Solo::ready(config());
    solo.session.abort(LossReason::Expired);
    assert_eq!(solo.resume(None), refused(RejectReason::UnknownKey));

    let mut solo = Solo::ready(config());
    solo.session.close(solo.now, CloseReason::default());
    solo.sent();
    solo.feed(0, Control::CloseAck).unwrap();
    solo.feed(0, Control::Close(CloseReason::default())).unwrap();
    solo.sent();
    assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Closed)));
    assert_eq!(solo.resume(None), refused(RejectReason::Closed));
}

// KEY-5
#[test]
fn late_echoes_of_a_hello_take_no_key_from_the_peer() {
    let (mut table, id) = table();
    for unused in 3..1000 {
        assert_eq!(table.admit(&resume(1), key(unused)), Admission::Resume(id, key(2)));
    }
    let unknown = Admission::Reject(RejectReason::UnknownKey);
    assert_eq!(table.admit(&resume(3), key(1001)), unknown, "never given out");
    assert_eq!(table.admit(&resume(2), key(1002)), Admission::Resume(id, key(1002)));
    assert_eq!(table.admit(&resume(1), key(1003)), unknown, "2 is proved now");
}

// KEY-6
#[test]
fn a_session_closed_in_good_order_is_remembered_for_a_while() {
    let (mut table, id) = table();
    table.remove(id, true);
    let closed = Admission::Reject(RejectReason::Closed);
    for known in [1, 2] {
        assert_eq!(table.admit(&resume(known), key(3)), closed);
    }
    // As many are remembered as there may be sessions.
    for n in 100..102 {
        let Admission::New(next, _) = table.admit(&fresh(n), key(n)) else { panic!("room") };
        table.remove(next, true);
    }
    let unknown = Admission::Reject(RejectReason::UnknownKey);
    assert_eq!(table.admit(&resume(1), key(3)), unknown);
    assert_eq!(table.admit(&resume(100), key(3)), closed);
}

// KEY-7
#[test]
fn a_full_or_departing_acceptor_refuses_new_sessions_only() {
    let (mut table, id) = table();
    assert!(matches!(table.admit(&fresh(78), key(10)), Admission::New(..)));
    let full = Admission::Reject(RejectReason::Full);
    assert_eq!(table.admit(&fresh(79), key(11)), full);
    assert_eq!(table.admit(&ClientHello::fresh(), key(11)), full);
    assert_eq!(table.admit(&resume(2), key(12)), Admission::Resume(id, key(12)));
    table.refuse_new(RejectReason::GoingAway);
    assert_eq!(table.admit(&fresh(79), key(13)), Admission::Reject(RejectReason::GoingAway));
    assert_eq!(table.admit(&resume(12), key(14)), Admission::Resume(id, key(14)));
    assert_eq!(table.len(), 2);
}

// NONCE-1
#[test]
fn a_repeated_fresh_hello_finds_the_session_that_the_first_one_made() {
    let mut pair = Pair::new();
    pair.lose_server_hellos = 3;
    pair.initiator().send(b"first of all");
    pair.run_for(SECOND);
    assert_eq!(pair.sides.len(), 2, "one session was made");
    assert_eq!(pair.acceptor().received, [b"first of all".as_slice()]);
    assert_eq!(pair.table.len(), 1);
    // Another nonce is another session, and so is every fresh hello of the base profile.
    assert!(matches!(pair.table.admit(&fresh(5), key(500)), Admission::New(..)));
    assert!(matches!(pair.table.admit(&ClientHello::fresh(), key(501)), Admission::New(..)));
    assert!(matches!(pair.table.admit(&ClientHello::fresh(), key(502)), Admission::New(..)));
}

// NONCE-2
#[test]
fn the_echo_of_a_fresh_hello_whose_answer_was_used_is_stale() {
    let mut pair = Pair::new();
    pair.dial();
    let echo = pair.latest_hello.clone().expect("it was sent");
    pair.initiator().send(b"item");
    pair.run_for(SECOND);
    pair.arrive(echo);
    pair.drive();
    assert_eq!(pair.acceptor().drops(), []);
    let (mut table, _) = table();
    assert_eq!(table.admit(&fresh(77), key(3)), Admission::Reject(RejectReason::Stale));
}

// NONCE-2
#[test]
fn an_echo_that_the_table_let_through_too_early_is_stale_to_the_session() {
    let mut solo = Solo::acceptor(config(), Profile::Extended);
    solo.append(b"item");
    solo.feed(0, settings(None, 1000)).unwrap();
    solo.sent();
    solo.feed(0, crate::solo::ack(0, 0)).unwrap();
    let stale = Err(HandshakeError::Refused(RejectReason::Stale));
    assert_eq!(solo.hello(&fresh(77)), stale);
    assert!(!solo.session.is_ended());
    assert_eq!(solo.session.link(), Some(solo.link), "the link is still the current one");
}

#[test]
fn a_base_session_whose_first_answer_was_lost_is_left_behind() {
    let base = SessionConfig { profile: Profile::Base, ..config() };
    let mut pair = Pair::with(base, config());
    pair.lose_server_hellos = 1;
    pair.drive();
    assert_eq!((pair.sides.len(), pair.partner), (3, 2));
    pair.run_for(301 * SECOND);
    assert_eq!(pair.sides[1].ending(), Some(&Ending::Lost(LossReason::Expired)));
    assert!(matches!(pair.wire().ends, [End::Up(_), End::Up(_)]));
}

/// The comparison takes all of a key together, and no bit of it is left out.
#[test]
fn every_bit_of_a_key_counts() {
    let bytes: [u8; 16] = std::array::from_fn(|index| u8::try_from(index * 37 % 251).unwrap());
    let key = ResumeKey::from_bytes(bytes);
    assert_eq!(key, ResumeKey::from_bytes(bytes));
    for bit in 0..128 {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(key, ResumeKey::from_bytes(other), "bit {bit}");
        // Two differences do not make up for each other.
        other[15 - bit / 8] ^= 1 << (bit % 8);
        assert_ne!(key, ResumeKey::from_bytes(other), "bit {bit} twice");
    }
}

#[test]
fn keys_do_not_show() {
    assert_eq!(format!("{:?}", ResumeKey::from_bytes([7; 16])), "ResumeKey(..)");
}
