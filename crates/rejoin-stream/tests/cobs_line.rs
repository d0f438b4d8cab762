//! Links that follow one another on a line, and what a line may do to them.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cable;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::protocol::Role;
use rejoin_core::{Link, LinkRx, LinkTx, Peer};
use rejoin_stream::{CobsConfig, CobsError, CobsLine, CobsLink, CobsRx, CobsTx, LinkEnd};
use tokio::time::{Instant, timeout};

use cable::{Cable, Fault};

struct Ends {
    cable: Cable,
    calling: CobsLine,
    called: CobsLine,
}

fn ends() -> Ends {
    ends_with(CobsConfig::default())
}

fn ends_with(config: CobsConfig) -> Ends {
    let (cable, near, far) = Cable::new();
    let calling = CobsLine::new(near, Role::Initiator, Peer::at("far"), &config);
    let called = CobsLine::new(far, Role::Acceptor, Peer::at("near"), &config);
    Ends { cable, calling, called }
}

impl Ends {
    async fn open(&mut self) -> (CobsLink, CobsLink) {
        tokio::try_join!(self.calling.open(), self.called.open()).unwrap()
    }
}

async fn say(tx: &mut CobsTx, text: &str) {
    tx.send(&[], Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    tx.flush().await.unwrap();
}

async fn hear(rx: &mut CobsRx) -> String {
    String::from_utf8(rx.recv().await.unwrap().unwrap().to_vec()).unwrap()
}

#[track_caller]
fn ended(error: &io::Error) -> LinkEnd {
    error.get_ref().and_then(|inner| inner.downcast_ref::<LinkEnd>()).unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn payloads_cross_both_ways_and_a_close_comes_after_them() {
    let mut ends = ends();
    let (near, far) = ends.open().await;
    assert_eq!(near.peer(), Peer::at("far"));
    let ((mut tx, mut rx), (mut far_tx, mut far_rx)) = (near.split(), far.split());
    say(&mut tx, "question").await;
    assert_eq!(hear(&mut far_rx).await, "question");
    say(&mut far_tx, "").await;
    say(&mut far_tx, "answer").await;
    far_tx.close().await.unwrap();
    assert_eq!(hear(&mut rx).await, "");
    assert_eq!(hear(&mut rx).await, "answer");
    assert!(rx.recv().await.unwrap().is_none());
    assert!(rx.recv().await.is_err(), "nothing after the end");
    say(&mut tx, "the other direction goes on").await;
    assert_eq!(hear(&mut far_rx).await, "the other direction goes on");
}

#[tokio::test(start_paused = true)]
async fn any_damage_ends_the_link_at_both_ends_at_once_and_the_next_is_opened_on_the_same_stream() {
    let faults = [
        Fault::Flip(3),
        Fault::Drop(2),
        Fault::Insert(b"x".to_vec()),
        Fault::Break(4),
        Fault::LoseAll,
    ];
    let mut ends = ends();
    for fault in faults {
        let (near, far) = ends.open().await;
        let ((mut tx, mut rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
        say(&mut tx, "whole").await;
        assert_eq!(hear(&mut far_rx).await, "whole");
        ends.cable.to_far(Fault::Insert(vec![0; 3]));
        ends.cable.passed_on().await;
        say(&mut tx, "a break between two frames is no damage").await;
        assert_eq!(hear(&mut far_rx).await, "a break between two frames is no damage");
        ends.cable.to_far(fault.clone());
        let damaged_at = Instant::now();
        say(&mut tx, "damaged").await;
        // A frame that is lost to the last byte is missed when the next one comes.
        let _ = tx.send(b"next", Bytes::new()).await;
        let _ = tx.flush().await;
        let error = far_rx.recv().await.unwrap_err();
        assert!(matches!(ended(&error), LinkEnd::Damaged), "{fault:?}: {error}");
        let error = rx.recv().await.unwrap_err();
        assert!(matches!(ended(&error), LinkEnd::DamagedThere), "{fault:?}: {error}");
        assert!(damaged_at.elapsed() < Duration::from_millis(10), "{fault:?}");
        let error = tx.send(b"more", Bytes::new()).await.unwrap_err();
        assert!(matches!(ended(&error), LinkEnd::DamagedThere), "{fault:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_does_not_hide_that_the_last_payload_was_lost() {
    let mut ends = ends();
    let (near, far) = ends.open().await;
    let ((mut tx, _rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
    ends.cable.to_far(Fault::LoseAll);
    say(&mut tx, "lost").await;
    ends.cable.passed_on().await;
    tx.close().await.unwrap();
    assert!(matches!(ended(&far_rx.recv().await.unwrap_err()), LinkEnd::Damaged));
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_is_lost_is_said_again() {
    let mut ends = ends();
    let (near, far) = ends.open().await;
    let ((mut tx, mut rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
    ends.cable.to_far(Fault::Flip(2));
    ends.cable.to_near(Fault::LoseAll);
    say(&mut tx, "damaged").await;
    assert!(matches!(ended(&far_rx.recv().await.unwrap_err()), LinkEnd::Damaged));
    let error = timeout(Duration::from_secs(1), rx.recv()).await.unwrap().unwrap_err();
    assert!(matches!(ended(&error), LinkEnd::DamagedThere));
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_dead_link_comes_on_the_next() {
    let mut ends = ends();
    let (near, far) = ends.open().await;
    let ((mut tx, _rx), (_far_tx, mut far_rx)) = (near.split(), far.split());
    ends.cable.hold();
    for number in 0..50 {
        // What fits into the cable stays there, of the first link.
        let text = format!("old {number}");
        let _ = timeout(Duration::from_millis(1), tx.send(text.as_bytes(), Bytes::new())).await;
        let _ = timeout(Duration::from_millis(1), tx.flush()).await;
    }
    let opening = tokio::spawn(async move { (ends.calling.open().await.unwrap(), ends.calling) });
    ends.cable.go_on();
    let fresh = ends.called.open().await.unwrap();
    let (near, _line) = opening.await.unwrap();
    let mut old = 0;
    let end = loop {
        match far_rx.recv().await {
            Ok(payload) => assert_eq!(payload.unwrap(), format!("old {old}").as_bytes()),
            Err(error) => break error,
        }
        old += 1;
    };
    assert!(matches!(ended(&end), LinkEnd::Replaced), "{end}");
    assert!(old > 10, "the cable held {old} of them");
    let ((mut tx, _rx), (_far_tx, mut far_rx)) = (near.split(), fresh.split());
    say(&mut tx, "new").await;
    assert_eq!(hear(&mut far_rx).await, "new");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_begins_anew_is_noticed_by_what_it_does_not_know() {
    let (cable, near, far) = Cable::new();
    let config = CobsConfig::default();
    let mut calling = CobsLine::new(near, Role::Initiator, Peer::default(), &config);
    let mut called = CobsLine::new(far, Role::Acceptor, Peer::default(), &config);
    let (near, far) = tokio::try_join!(calling.open(), called.open()).unwrap();
    let (mut tx, mut rx) = near.split();
    // The other end's program is replaced by another one, which knows of no link.
    let far_stream = cable.replace_far();
    drop((far, called));
    let mut called = CobsLine::new(far_stream, Role::Acceptor, Peer::default(), &config);
    say(&mut tx, "are you there?").await;
    let error = timeout(Duration::from_secs(1), rx.recv()).await.unwrap().unwrap_err();
    assert!(matches!(ended(&error), LinkEnd::PeerRestarted), "{error}");
    let (near, far) = tokio::try_join!(calling.open(), called.open()).unwrap();
    let ((mut tx, _rx), (_tx, mut rx)) = (near.split(), far.split());
    say(&mut tx, "now you are").await;
    assert_eq!(hear(&mut rx).await, "now you are");
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_link_is_silent_while_a_boot_loader_talks() {
    let mut ends = ends();
    for text in ["\r\nROM boot\r\n", "hit any key to stop autoboot: 3 \x08\x08\x082 ", "\0\0ok\0"] {
        ends.cable.to_far(Fault::Insert(text.repeat(1000).into_bytes()));
        ends.cable.passed_on().await;
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(ends.cable.bytes_to_near(), 0, "nothing that a boot loader would take for a key");
    let (near, far) = ends.open().await;
    let ((mut tx, _rx), (_tx, mut rx)) = (near.split(), far.split());
    say(&mut tx, "booted").await;
    assert_eq!(hear(&mut rx).await, "booted");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_until_it_is_answered() {
    let mut ends = ends();
    ends.cable.to_far(Fault::LoseAll);
    ends.cable.to_near(Fault::Flip(1));
    let begun = Instant::now();
    ends.open().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_any_more_is_taken_back() {
    let mut ends = ends();
    assert!(timeout(Duration::from_secs(1), ends.calling.open()).await.is_err());
    ends.cable.passed_on().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let waiting = timeout(Duration::from_secs(1), ends.called.open()).await;
    assert!(waiting.is_err(), "the call is over");
    ends.open().await;
}

#[tokio::test(start_paused = true)]
async fn a_half_that_is_dropped_is_told_of() {
    let mut ends = ends();
    let (near, far) = ends.open().await;
    let (_far_tx, mut far_rx) = far.split();
    drop(near);
    let error = timeout(Duration::from_millis(10), far_rx.recv()).await.unwrap().unwrap_err();
    assert!(matches!(ended(&error), LinkEnd::PeerHungUp), "{error}");
}

#[tokio::test(start_paused = true)]
async fn two_ends_of_one_role_are_told_so() {
    let (_cable, near, far) = Cable::new();
    let config = CobsConfig::default();
    let mut one = CobsLine::new(near, Role::Initiator, Peer::default(), &config);
    let mut other = CobsLine::new(far, Role::Initiator, Peer::default(), &config);
    let (error, _) = tokio::join!(one.open(), timeout(Duration::from_secs(1), other.open()));
    let error = error.unwrap_err();
    let inner = error.get_ref().unwrap().downcast_ref::<CobsError>();
    assert!(matches!(inner, Some(CobsError::SameRole)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn sizes_are_checked_before_a_byte_is_queued_and_limits_when_received() {
    let mut config = CobsConfig::default();
    config.payload_bytes_max = 1000;
    let mut ends = ends_with(config);
    let (near, far) = ends.open().await;
    let ((mut tx, _rx), (_tx, mut rx)) = (near.split(), far.split());
    assert_eq!(tx.payload_bytes_max(), 1000);
    let error = tx.send(&[0; 1], vec![0; 1000].into()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    tx.send(&[1; 500], vec![2; 500].into()).await.unwrap();
    tx.flush().await.unwrap();
    assert_eq!(rx.recv().await.unwrap().unwrap().len(), 1000);
    rx.limit_payloads(Some(25));
    tx.send(&[1; 26], Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    assert_eq!(rx.recv().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_receives_holds_the_sender_up() {
    let mut ends = ends();
    let (near, far) = ends.open().await;
    let ((mut tx, _rx), (_tx, mut rx)) = (near.split(), far.split());
    let mut sent = 0_u32;
    while let Ok(result) = timeout(Duration::from_secs(1), async {
        tx.send(&sent.to_le_bytes(), vec![0; 1000].into()).await?;
        tx.flush().await
    })
    .await
    {
        result.unwrap();
        sent += 1;
    }
    assert!(sent < 60, "{sent} KB before anything was received");
    for number in 0..=sent {
        let payload = rx.recv().await.unwrap().unwrap();
        assert_eq!(payload.first_chunk(), Some(&number.to_le_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_ends_the_link_and_the_line() {
    let mut ends = ends();
    let (near, _far) = ends.open().await;
    let (_tx, mut rx) = near.split();
    drop(ends.cable);
    assert!(matches!(ended(&rx.recv().await.unwrap_err()), LinkEnd::Lost(_)));
    assert_eq!(ends.calling.open().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(ends.calling.is_lost().is_some());
}
