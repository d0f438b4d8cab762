//! Peers that are not ours, over real TCP: each loses its own connection, within the deadline, and
//! is counted and traced; nobody else notices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/intruder.rs"]
mod intruder;
#[path = "support/trace.rs"]
mod trace;

use std::time::Instant;

use intruder::{DEADLINE, Intruder, listen, soon};
use rejoin_tcp::{AcceptorStats, StableListener};

/// Waits until what `count` adds up of the listener's numbers is 1.
async fn counted(listener: &StableListener<String>, count: fn(AcceptorStats) -> u64) {
    let all = |it: AcceptorStats| it.bad_hello + it.closed_early + it.timed_out + it.upgrade_failed;
    soon(async {
        while all(listener.handshakes()) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stats = listener.handshakes();
    assert_eq!((count(stats), stats.accepted, stats.pending), (1, 1, 0), "{stats:?}");
}

/// What is traced while `intruder` has its way, which ends with its connection.
#[track_caller]
fn check(intruder: Intruder, cause: &str, count: fn(AcceptorStats) -> u64) {
    let (traced, _guard) = trace::capture();
    // All tasks on this thread, so that what they trace is captured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (address, listener) = listen().await;
        let began = Instant::now();
        let answer = intruder.intrude(address).await;
        assert!(began.elapsed() < DEADLINE * 20, "{:?}", began.elapsed());
        assert_eq!(answer, [], "nothing is said to a stranger");
        counted(&listener, count).await;
        assert_eq!(listener.sessions(), 0);
    });
    let lines = traced.lines();
    assert!(lines.iter().any(|line| line.contains(cause)), "no {cause:?} in {lines:#?}");
}

// The first four bytes of these are a length. None is that of a hello, so that nothing more is read.

#[test]
fn an_http_request_is_turned_away_at_once() {
    check(Intruder::Http, "542393671 bytes", |stats| stats.bad_hello);
}

#[test]
fn a_tls_hello_is_turned_away_at_once() {
    check(Intruder::Tls, "66326 bytes", |stats| stats.bad_hello);
}

#[test]
fn noise_is_turned_away_at_once() {
    check(Intruder::Noise, "20892 bytes", |stats| stats.bad_hello);
}

#[test]
fn a_length_of_4_gib_is_turned_away_at_once() {
    check(Intruder::HugeLength, "4294967295 bytes", |stats| stats.bad_hello);
}

#[test]
fn a_payload_that_is_no_hello_is_turned_away_at_once() {
    check(Intruder::NoHello, "was not a hello", |stats| stats.bad_hello);
}

#[test]
fn a_peer_that_stops_inside_its_hello_is_left_at_the_deadline() {
    check(Intruder::HalfHello, "before the deadline", |stats| stats.timed_out);
}

#[test]
fn a_peer_that_says_nothing_is_left_at_the_deadline() {
    check(Intruder::Nothing, "before the deadline", |stats| stats.timed_out);
}

#[test]
fn a_peer_that_leaves_at_once_is_forgotten() {
    check(Intruder::Gone, "ended before the hello", |stats| stats.closed_early);
}

#[test]
fn a_hello_with_garbage_after_it_costs_the_link_and_leaves_no_session() {
    let (traced, _guard) = trace::capture();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (address, listener) = listen().await;
        let answer = Intruder::HelloThenGarbage(7).intrude(address).await;
        // The garbage may be read before the answer is on its way.
        assert!([0, 29].contains(&answer.len()), "more than an answer to the hello: {answer:?}");
        soon(async {
            while listener.sessions() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
    let lines = traced.lines();
    assert!(lines.iter().any(|line| line.contains("protocol violation")), "{lines:#?}");
}
