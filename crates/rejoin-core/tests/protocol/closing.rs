//! The two closes of a session, with links lost at every step.

use bytes::Bytes;
use rejoin_core::protocol::{
    CloseReason, Control, Ending, Event, LossReason, Position, Profile, ProtocolViolation,
    RejectReason, ServerHello, SessionConfig,
};

use crate::pair::{Pair, SECOND, config, key};
use crate::solo::{Solo, ack, settings};

fn close() -> Control {
    Control::Close(CloseReason::new(3, "done"))
}

fn confirmed(side: &crate::pair::Side) -> bool {
    side.events.contains(&Event::CloseConfirmed)
}

// CLOSE-1
#[test]
fn a_close_follows_everything_that_was_appended() {
    let mut solo = Solo::ready(config());
    solo.append(&[0; 968]);
    for _ in 0..10 {
        solo.append(&[0; 968]);
    }
    solo.session.close(solo.now, CloseReason::new(3, "done"));
    assert_eq!(solo.controls(), [], "the window holds the last item back");
    solo.feed(0, ack(9, 20_000)).unwrap();
    let frames = solo.sent();
    assert_eq!(frames.len(), 2);
    let seq = rejoin_core::protocol::PacketSeq(11);
    assert_eq!(frames[1], rejoin_core::protocol::Frame::Control { seq, control: close() });
    assert_eq!(solo.sent(), [], "once on this link");
    // Once more on every link, until it is confirmed.
    solo.resume(Some(10)).unwrap();
    solo.feed(0, settings(Some(10), 0)).unwrap();
    assert_eq!(solo.controls()[1..], [close()]);
    solo.feed(0, Control::CloseAck).unwrap();
    solo.resume(Some(10)).unwrap();
    solo.feed(0, settings(Some(10), 0)).unwrap();
    assert_eq!(solo.controls().len(), 1);
}

// CLOSE-2
#[test]
fn a_close_is_confirmed_every_time_it_comes_and_told_once() {
    let mut solo = Solo::ready(config());
    for _ in 0..2 {
        solo.feed(0, close()).unwrap();
        assert_eq!(solo.controls(), [Control::CloseAck]);
    }
    solo.resume(None).unwrap();
    solo.feed(0, settings(None, 0)).unwrap();
    assert_eq!(solo.controls().len(), 1, "the peer may have our confirmation");
    solo.feed(0, close()).unwrap();
    assert_eq!(solo.controls(), [Control::CloseAck]);
    let told = solo.events().into_iter().filter(|it| matches!(it, Event::PeerClosed(_)));
    assert_eq!(told.collect::<Vec<_>>(), [Event::PeerClosed(CloseReason::new(3, "done"))]);
}

// CLOSE-2
#[test]
fn in_manual_mode_a_close_is_confirmed_after_the_application_has_acknowledged() {
    let mut solo = Solo::ready(SessionConfig { manual_ack: true, ..config() });
    solo.item(0, None, b"item").unwrap();
    solo.feed(1, close()).unwrap();
    assert_eq!(solo.controls(), []);
    solo.session.acknowledge(solo.now, 1);
    solo.pass(SECOND);
    assert_eq!(solo.controls(), [ack(0, 4000), Control::CloseAck]);
}

// CLOSE-3
#[test]
fn a_confirmation_acknowledges_everything() {
    let mut solo = Solo::ready(config());
    solo.append(b"item");
    solo.session.close(solo.now, CloseReason::default());
    solo.sent();
    solo.feed(0, Control::CloseAck).unwrap();
    assert!(solo.session.log().is_empty());
    assert_eq!(solo.events().last(), Some(&Event::CloseConfirmed));
}

// CLOSE-3
#[test]
fn a_confirmation_of_what_was_not_said_on_this_link_is_ignored() {
    let mut solo = Solo::ready(config());
    solo.append(b"item");
    solo.feed(0, Control::CloseAck).unwrap();
    solo.sent();
    solo.feed(0, Control::CloseAck).unwrap();
    assert_eq!(solo.session.log().acked(), 0);
    assert!(!solo.events().contains(&Event::CloseConfirmed));
}

// CLOSE-4
#[test]
fn a_session_ends_when_both_closes_are_confirmed() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut pair = Pair::connected();
        pair.side(second).send(b"item");
        pair.close(first, "bye");
        // The double closes in turn when its peer has closed, as the driver does.
        pair.drive();
        for end in [first, second] {
            assert_eq!(pair.side(end).ending(), Some(&Ending::Closed));
            assert!(confirmed(pair.side(end)));
        }
        assert_eq!(pair.side(first).received, [b"item".as_slice()]);
        let bye = Event::PeerClosed(CloseReason::new(0, "bye"));
        assert!(pair.side(second).events.contains(&bye));
    }
}

// CLOSE-4
#[test]
fn both_may_close_at_once() {
    let mut pair = Pair::connected();
    for end in 0..2 {
        pair.side(end).send(b"last words");
        pair.close(end, "bye");
    }
    pair.drive();
    for end in 0..2 {
        assert_eq!(pair.side(end).ending(), Some(&Ending::Closed));
        assert_eq!(pair.side(end).received, [b"last words".as_slice()]);
    }
}

// CLOSE-4
#[test]
fn one_direction_can_stay_open_after_the_other_is_closed() {
    let mut solo = Solo::ready(config());
    solo.session.close(solo.now, CloseReason::default());
    solo.sent();
    solo.feed(0, Control::CloseAck).unwrap();
    assert!(solo.item(0, None, b"still coming").unwrap().is_some());
    assert!(!solo.session.is_ended());
    solo.feed(1, close()).unwrap();
    assert!(!solo.session.is_ended(), "our confirmation has still to go out");
    assert_eq!(solo.controls().last(), Some(&Control::CloseAck));
    assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Closed)));
}

/// The link dies after `cut_after` payloads of the close have crossed, and nobody notices for what
/// was on its way.
#[track_caller]
fn close_with_cut(first: usize, both: bool, cut_after: usize) -> Pair {
    let mut pair = Pair::connected();
    pair.redials = false;
    pair.side(0).send(b"from 0");
    pair.side(1).send(b"from 1");
    pair.delay = crate::pair::MILLISECOND;
    pair.cut();
    pair.redials = true;
    pair.run_for(SECOND);
    pair.close(first, "bye");
    if both {
        pair.close(1 - first, "bye");
    }
    for _ in 0..cut_after {
        pair.drive();
        let Some(at) = pair.next_at() else { break };
        pair.run_for(at - pair.now);
    }
    let now = pair.now;
    pair.wire().cut(now);
    pair.run_for(100 * SECOND);
    pair
}

// CLOSE-5
#[test]
fn a_close_survives_the_loss_of_its_link_at_every_step() {
    for first in 0..2 {
        for both in [false, true] {
            for cut_after in 0..8 {
                let mut pair = close_with_cut(first, both, cut_after);
                for end in 0..2 {
                    assert_eq!(
                        pair.side(end).ending(),
                        Some(&Ending::Closed),
                        "{end}, {first} closes first, both: {both}, cut after {cut_after}"
                    );
                    assert_eq!(pair.side(end).received.len(), 1);
                    assert!(pair.side(end).session.log().is_empty());
                }
            }
        }
    }
}

// CLOSE-6
#[test]
fn that_the_acceptor_knows_the_session_as_closed_is_confirmation_enough() {
    let rejected =
        ServerHello::Rejected { profile: Profile::Extended, reason: RejectReason::Closed };
    let mut solo = Solo::initiator(config(), Profile::Extended);
    solo.feed(0, settings(None, 1000)).unwrap();
    solo.append(b"item");
    solo.session.close(solo.now, CloseReason::default());
    solo.sent();
    solo.feed(0, close()).unwrap();
    solo.session.handle_link_down(solo.now, solo.link);
    solo.session.handle_server_hello(solo.now, &rejected, usize::MAX).unwrap_err();
    assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Closed)));
    assert_eq!(solo.session.take_unacknowledged(), []);

    // Not so before the peer's close was read: its last items may be missing.
    let mut solo = Solo::initiator(config(), Profile::Extended);
    solo.session.close(solo.now, CloseReason::default());
    solo.session.handle_server_hello(solo.now, &rejected, usize::MAX).unwrap_err();
    let lost = Ending::Lost(LossReason::Rejected(RejectReason::Closed));
    assert_eq!(solo.events().last(), Some(&Event::Ended(lost)));
}

// CLOSE-7
#[test]
fn the_linger_limit_ends_a_close_that_nobody_answers() {
    let mut pair = Pair::connected();
    pair.initiator().send(b"item");
    pair.initiator().writes = false;
    pair.close(0, "bye");
    pair.run_for(30 * SECOND - crate::pair::MILLISECOND);
    assert_eq!(pair.initiator().ending(), None);
    pair.run_for(crate::pair::MILLISECOND);
    let lost = Ending::Lost(LossReason::LingerExpired);
    assert_eq!(pair.initiator().ending(), Some(&lost));
    let items = pair.initiator().session.take_unacknowledged();
    assert_eq!(items, [(Position::new(0), Bytes::from_static(b"item"))]);
}

// CLOSE-7
#[test]
fn lingering_without_the_peers_close_is_a_loss_even_with_an_empty_log() {
    let mut pair = Pair::connected();
    // The initiator has an item that the acceptor never gets.
    pair.initiator().writes = false;
    pair.initiator().send(b"would be lost silently");
    pair.close(1, "bye");
    pair.run_for(30 * SECOND);
    assert_eq!(pair.acceptor().ending(), Some(&Ending::Lost(LossReason::LingerExpired)));
    pair.initiator().writes = true;
    pair.run_for(60 * SECOND);
    let lost = pair.initiator().ending().cloned();
    assert!(matches!(lost, Some(Ending::Lost(_))), "{lost:?}");
    assert_eq!(pair.initiator().session.take_unacknowledged().len(), 1);
}

// CLOSE-7
#[test]
fn lingering_is_an_orderly_end_where_only_the_last_word_is_missing() {
    for expiry in [false, true] {
        let outage_max = if expiry { 10 * SECOND } else { 300 * SECOND };
        let mut solo = Solo::ready(SessionConfig { outage_max, ..config() });
        solo.append(b"item");
        solo.session.close(solo.now, CloseReason::default());
        solo.sent();
        solo.feed(0, ack(0, 0)).unwrap();
        solo.feed(0, close()).unwrap();
        solo.sent();
        solo.session.handle_link_down(solo.now, solo.link);
        solo.pass(if expiry { 10 * SECOND } else { 30 * SECOND });
        assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Closed)));
    }
}

// CLOSE-8
#[test]
fn an_item_after_the_close_costs_the_link() {
    let mut solo = Solo::ready(config());
    solo.item(0, None, b"item").unwrap();
    solo.feed(1, close()).unwrap();
    assert_eq!(solo.item(0, None, b"item"), Ok(None), "a replay is harmless");
    assert_eq!(solo.item(1, None, b"more"), Err(ProtocolViolation::DataAfterClose));
}

/// Regression: the confirmation of a close was told after the end.
#[test]
fn the_end_is_the_last_event() {
    let mut solo = Solo::ready(config());
    solo.append(b"item");
    solo.session.close(solo.now, CloseReason::default());
    solo.feed(0, close()).unwrap();
    solo.sent();
    solo.feed(0, Control::CloseAck).unwrap();
    let events = solo.events();
    assert_eq!(events[events.len() - 2..], [Event::CloseConfirmed, Event::Ended(Ending::Closed)]);
}

/// Regression: a link was said to be replaced after the handshake had ended the session.
#[test]
fn a_handshake_that_completes_a_close_ends_the_session_last() {
    let mut solo = Solo::acceptor(config(), Profile::Base);
    solo.append(b"item");
    solo.sent();
    solo.session.close(solo.now, CloseReason::default());
    solo.resume(Some(0)).unwrap();
    assert_eq!(solo.events().last(), Some(&Event::Ended(Ending::Closed)));
}

/// Regression: a rejection after the end threw away what was not acknowledged.
#[test]
fn a_rejection_after_the_end_leaves_what_was_not_acknowledged() {
    let mut solo = Solo::initiator(config(), Profile::Extended);
    solo.feed(0, settings(None, 0)).unwrap();
    solo.append(b"item");
    solo.session.close(solo.now, CloseReason::default());
    solo.feed(0, close()).unwrap();
    solo.pass(31 * SECOND);
    assert!(solo.session.is_ended());
    let rejected =
        ServerHello::Rejected { profile: Profile::Extended, reason: RejectReason::Closed };
    let _ = solo.session.handle_server_hello(solo.now, &rejected, usize::MAX);
    assert_eq!(solo.session.take_unacknowledged().len(), 1);
    assert_eq!(solo.session.client_hello().resume_key(), Some(key(1)));
}
