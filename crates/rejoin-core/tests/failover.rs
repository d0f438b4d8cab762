//! Failover: which source is asked when, and how a session fares that moves between them. Under
//! paused time.
#![allow(clippy::unwrap_used)]

mod line;

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use line::{LATENCY, two_lines};
use rejoin_core::protocol::Role;
use rejoin_core::{
    Attachment, ConfigError, ConnectError, EntryFailure, Failover, FailoverError, FailoverPolicy,
    Link, LinkSource, MemoryConfig, MemoryLink, MemoryNetwork, MemoryRx, MemoryTx, Peer, SplitLink,
    StableConduit, StableListener, Status, memory_link_pair, memory_listener,
};
use tokio::time::{Instant, sleep};

/// What a scripted source does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Does {
    Gives,
    GivesAfter(Duration),
    Fails,
    FailsForGood,
    Hangs,
}

/// Does what the script says, and the last of it for ever.
struct Scripted {
    name: &'static str,
    script: VecDeque<Does>,
    asked: Arc<Mutex<Vec<&'static str>>>,
    role: Role,
}

impl LinkSource for Scripted {
    type Link = SplitLink<MemoryTx, MemoryRx>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        self.asked.lock().unwrap().push(self.name);
        let next = if self.script.len() > 1 { self.script.pop_front() } else { None };
        match next.unwrap_or(self.script[0]) {
            Does::Gives => {}
            Does::GivesAfter(time) => sleep(time).await,
            Does::Fails => return Err(io::ErrorKind::ConnectionRefused.into()),
            Does::FailsForGood => return Err(io::ErrorKind::PermissionDenied.into()),
            Does::Hangs => std::future::pending().await,
        }
        let (tx, rx) = memory_link_pair(MemoryConfig::default()).0.split();
        Ok(Attachment::initiator(SplitLink::new(tx, rx, Peer::at(self.name))))
    }

    fn role(&self) -> Role {
        self.role
    }
}

#[derive(Default)]
struct Script {
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl Script {
    fn source(&self, name: &'static str, script: &[Does]) -> Scripted {
        let asked = Arc::clone(&self.asked);
        Scripted { name, script: script.iter().copied().collect(), asked, role: Role::Initiator }
    }

    /// Who was asked since the last time.
    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn given(result: io::Result<Attachment<impl Link>>) -> String {
    result.unwrap().link().peer().to_string()
}

fn failures(error: &io::Error) -> &[EntryFailure] {
    &error.get_ref().unwrap().downcast_ref::<FailoverError>().unwrap().failures
}

#[tokio::test(start_paused = true)]
async fn the_first_that_works_is_taken_in_order_of_preference() {
    #[track_caller]
    fn check(first: Does, second: Does, taken: &str, asked: &[&str], millis: u64) -> impl Future {
        let script = Script::default();
        let source = Failover::new(script.source("first", &[first])).unwrap();
        let source = source.or(script.source("second", &[second])).unwrap();
        let mut source = source.or(script.source("third", &[Does::Gives])).unwrap();
        async move {
            let began = Instant::now();
            assert_eq!(given(source.next_link().await), taken);
            assert_eq!(script.asked(), asked);
            assert_eq!(began.elapsed(), Duration::from_millis(millis));
        }
    }
    use Does::{Fails, FailsForGood, Gives, GivesAfter, Hangs};
    check(Gives, Gives, "first", &["first"], 0).await;
    check(GivesAfter(Duration::from_millis(2999)), Gives, "first", &["first"], 2999).await;
    check(GivesAfter(Duration::from_millis(3001)), Gives, "second", &["first", "second"], 3000)
        .await;
    check(Fails, Gives, "second", &["first", "second"], 0).await;
    check(FailsForGood, Gives, "second", &["first", "second"], 0).await;
    check(Hangs, Gives, "second", &["first", "second"], 3000).await;
    check(Hangs, Fails, "third", &["first", "second", "third"], 3000).await;
}

#[tokio::test(start_paused = true)]
async fn a_round_without_a_link_says_what_each_source_failed_with() {
    let script = Script::default();
    let source = Failover::new(script.source("first", &[Does::FailsForGood])).unwrap();
    let source = source.or(script.source("second", &[Does::Hangs])).unwrap();
    let mut resting = FailoverPolicy::default();
    resting.rest_after_failure = Duration::from_secs(60);
    let source = source.or_with(script.source("third", &[Does::Fails, Does::Gives]), resting);
    let mut source = source.unwrap();

    let error = source.next_link().await.unwrap_err();
    assert!(!source.is_fatal(&error));
    assert!(matches!(
        failures(&error),
        [EntryFailure::Fatal(_), EntryFailure::TimedOut { .. }, EntryFailure::Failed(_)]
    ));
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let text = error.to_string();
    assert!(text.contains("permission denied") && text.contains("connection refused"), "{text}");
    let cause = std::error::Error::source(error.get_ref().unwrap()).unwrap().to_string();
    assert!(cause.contains("within 3s") && !text.contains(&cause), "`{text}` repeats `{cause}`");
    assert_eq!(script.asked(), ["first", "second", "third"]);

    let error = source.next_link().await.unwrap_err();
    assert!(matches!(failures(&error)[2], EntryFailure::Resting { .. }));
    assert_eq!(script.asked(), ["second"], "the first is out for good, the third rests");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(given(source.next_link().await), "third");
    assert_eq!(script.asked(), ["second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn each_source_has_a_policy_of_its_own() {
    let policy = |deadline, rest, better_after| {
        let mut policy = FailoverPolicy::default();
        policy.attempt_deadline = Duration::from_secs(deadline);
        policy.rest_after_failure = Duration::from_secs(rest);
        policy.better_after = better_after;
        policy
    };
    let script = Script::default();
    let hasty = policy(1, 0, Some(Duration::from_secs(9)));
    let sparing = policy(10, 60, Some(Duration::from_secs(7)));
    let content = policy(5, 0, None);
    let source = Failover::new_with(script.source("hasty", &[Does::Hangs]), hasty).unwrap();
    let after = Does::GivesAfter;
    let sparing_does = [after(Duration::from_secs(9)), Does::Hangs, Does::Gives];
    let source = source.or_with(script.source("sparing", &sparing_does), sparing).unwrap();
    let content_does = [Does::Gives];
    let mut source = source.or_with(script.source("content", &content_does), content).unwrap();

    // Each is given up after its own time, and says itself when to look for a better one.
    let began = Instant::now();
    assert_eq!(given(source.next_link().await), "sparing");
    assert_eq!(began.elapsed(), Duration::from_secs(1 + 9));
    assert_eq!(source.better_after(), Some(Duration::from_secs(7)));
    let began = Instant::now();
    assert_eq!(given(source.next_link().await), "content");
    assert_eq!(began.elapsed(), Duration::from_secs(1 + 10));
    assert_eq!(source.better_after(), None, "though there are better ones");
    // Only the one that is to rest does.
    assert_eq!(script.asked(), ["hasty", "sparing", "hasty", "sparing", "content"]);
    assert_eq!(given(source.next_link().await), "content");
    assert_eq!(script.asked(), ["hasty", "content"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(given(source.next_link().await), "sparing");
}

#[tokio::test(start_paused = true)]
async fn it_is_fatal_only_when_every_source_is() {
    let script = Script::default();
    let source = Failover::new(script.source("first", &[Does::FailsForGood])).unwrap();
    let last = script.source("second", &[Does::Fails, Does::FailsForGood]);
    let mut source = source.or(last).unwrap();
    let error = source.next_link().await.unwrap_err();
    assert!(!source.is_fatal(&error));
    let error = source.next_link().await.unwrap_err();
    assert!(source.is_fatal(&error));
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    let Err(ConnectError::Fatal(_)) = StableConduit::<u64>::connect(source).await else {
        panic!("there is nothing to retry")
    };
}

#[test]
fn what_makes_no_sense_is_refused_when_it_is_put_together() {
    let script = Script::default();
    let acceptor =
        || Scripted { role: Role::Acceptor, ..script.source("acceptor", &[Does::Gives]) };
    assert_eq!(Failover::new(acceptor()).unwrap_err(), ConfigError::AcceptorInFailover);
    let source = Failover::new(script.source("first", &[Does::Gives])).unwrap();
    assert_eq!(source.or(acceptor()).unwrap_err(), ConfigError::AcceptorInFailover);
    let mut policy = FailoverPolicy::default();
    policy.attempt_deadline = Duration::ZERO;
    let refused = Failover::new_with(script.source("first", &[Does::Gives]), policy).unwrap_err();
    assert_eq!(refused, ConfigError::OutOfRange { setting: "attempt_deadline" });
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_dropped_at_any_poll_takes_nothing_away() {
    let script = Script::default();
    let hangs = [Does::Hangs];
    let slow = [Does::GivesAfter(Duration::from_secs(1))];
    let source = Failover::new(script.source("first", &hangs)).unwrap();
    let mut source = source.or(script.source("second", &slow)).unwrap();
    for polls in 0..4 {
        let mut round = pin!(source.next_link());
        for _ in 0..polls {
            let polled = round.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
        }
    }
    // However short the caller's patience, every source gets its turn.
    let mut taken = None;
    for _ in 0..2 {
        let round = tokio::time::timeout(Duration::from_millis(1500), source.next_link());
        taken = taken.or(round.await.ok());
    }
    assert_eq!(given(taken.unwrap()), "second");
}

#[tokio::test(start_paused = true)]
async fn better_links_come_from_the_sources_before_the_one_in_use() {
    let script = Script::default();
    let first = script.source("first", &[Does::Fails, Does::Hangs, Does::Gives]);
    let source = Failover::new(first).unwrap();
    let mut source = source.or(script.source("second", &[Does::Gives])).unwrap();
    assert_eq!(source.better_after(), None);
    assert_eq!(given(source.next_link().await), "second");
    assert_eq!(source.better_after(), Some(Duration::from_secs(30)));
    assert!(matches!(
        failures(&source.next_better_link().await.unwrap_err()),
        [EntryFailure::TimedOut { .. }]
    ));
    assert_eq!(source.better_after(), Some(Duration::from_secs(30)));
    assert_eq!(given(source.next_better_link().await), "first");
    assert_eq!(source.better_after(), None, "there is nothing better than the first");
    source.link_failed(&io::ErrorKind::TimedOut.into());
    assert_eq!(source.better_after(), Some(Duration::from_secs(30)), "the second is in use");
    assert_eq!(given(source.next_link().await), "second", "the round begins behind the first");
    assert_eq!(given(source.next_link().await), "first");
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_between_sources_under_traffic_and_back_without_a_pause() {
    let (listener, first, second) = two_lines();
    let mut listener = StableListener::<u64>::new(listener);
    let mut soon = FailoverPolicy::default();
    soon.better_after = Some(Duration::from_secs(2));
    let source = Failover::new_with(first.source(), soon.clone()).unwrap();
    let source = source.or_with(second.source(), soon).unwrap();
    let (tx, mut rx) = StableConduit::<u64>::connect(source).await.unwrap().split();
    let (far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    let epoch = Instant::now();
    let echo = tokio::spawn(async move {
        let mut next = 0;
        while let Some(number) = far_rx.recv().await.unwrap() {
            assert_eq!(*number, next, "each once and in order");
            next += 1;
            far_tx.send(&number).await.unwrap();
        }
        far_tx.close().await.unwrap();
        next
    });
    let sender = tx.clone();
    let sending = tokio::spawn(async move {
        for number in 0..16_000 {
            sender.send(&number).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        sender.close().await.unwrap();
    });
    let mut slowest_late = Duration::ZERO;
    let mut watched = tx.status();
    let mut next = 0;
    while let Some(number) = rx.recv().await.unwrap() {
        assert_eq!(*number, next, "each once and in order");
        match next {
            1000 => {
                first.network().refuse_dials();
                first.network().cut_links();
            }
            2000 => assert!(first.live_links() == 0 && second.live_links() == 1),
            // Tried in vain every 2 s until then.
            8000 => {
                watched.mark_unchanged();
                first.network().answer_dials();
            }
            11_000 => assert!(first.live_links() == 1 && second.live_links() == 0),
            _ => {}
        }
        if next > 8000 {
            let due = epoch + Duration::from_millis(next);
            slowest_late = slowest_late.max(Instant::now().saturating_duration_since(due));
            let status = watched.borrow_and_update().clone();
            assert!(!matches!(status, Status::Suspended { .. }), "{status:?}");
        }
        next += 1;
    }
    sending.await.unwrap();
    assert_eq!((next, echo.await.unwrap()), (16_000, 16_000));
    assert_eq!(tx.stats().generation, 3, "attempts in vain leave no trace");
    // There and back, and one more round trip for what was under way when the link changed; the
    // pace of sending itself slips by the timer's grain.
    assert!(slowest_late <= 4 * LATENCY + Duration::from_millis(5), "{slowest_late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_links_lead_nowhere_is_passed_over_and_left_alone() {
    // Dials succeed, and nobody ever answers the hello.
    let (_silent, nowhere) = memory_listener(MemoryConfig::default());
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<u64>::new(listener);
    let source = Failover::new(nowhere.source()).unwrap().or(Other(connector.source())).unwrap();
    let (tx, _rx) = StableConduit::<u64>::connect(source).await.unwrap().split();
    let (_far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    let mut status = tx.status();
    status.mark_unchanged();
    for number in 0..300 {
        tx.send(&number).await.unwrap();
        assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&number));
        sleep(Duration::from_secs(1)).await;
    }
    assert!(!status.has_changed().unwrap(), "{:?}", *status.borrow());
    assert_eq!(tx.stats().generation, 1);
}

/// The same links, as another type.
struct Other(rejoin_core::MemorySource);

struct OtherLink(MemoryLink);

impl LinkSource for Other {
    type Link = OtherLink;

    async fn next_link(&mut self) -> io::Result<Attachment<OtherLink>> {
        Ok(self.0.next_link().await?.map_link(OtherLink))
    }
}

impl Link for OtherLink {
    type Tx = MemoryTx;
    type Rx = MemoryRx;

    fn split(self) -> (MemoryTx, MemoryRx) {
        self.0.split()
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_dies_while_a_better_one_hangs_is_replaced_at_once() {
    let better = MemoryNetwork::new();
    let (_nobody, hanging) = better.listen(MemoryConfig::default());
    better.ignore_dials();
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<u64>::new(listener);
    let source = Failover::new(hanging.source()).unwrap().or(connector.source()).unwrap();
    let (tx, _rx) = StableConduit::<u64>::connect(source).await.unwrap().split();
    let (_far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    // In the midst of the attempt to make a better link.
    sleep(Duration::from_millis(31_000)).await;
    connector.network().cut_links();
    let began = Instant::now();
    tx.send(&1).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&1));
    assert!(began.elapsed() < Duration::from_millis(1), "{:?}", began.elapsed());
}

/// An application that asks for another link in the very moment in which a better one would be looked
/// for, and gets none, does not end the search for good.
#[tokio::test(start_paused = true)]
async fn a_migration_in_vain_does_not_end_the_search_for_a_better_link() {
    for given_up_after in [Duration::from_secs(60), Duration::from_secs(2)] {
        let (listener, first, second) = two_lines();
        let mut listener = StableListener::<u64>::new(listener);
        let mut policy = FailoverPolicy::default();
        policy.better_after = Some(Duration::from_secs(10));
        first.network().ignore_dials();
        let source = Failover::new_with(first.source(), policy.clone()).unwrap();
        let source = source.or_with(second.source(), policy).unwrap();
        let (tx, _rx) = StableConduit::<u64>::connect(source).await.unwrap().split();
        let _far = listener.accept().await.unwrap();
        second.network().ignore_dials();
        sleep(Duration::from_secs(9)).await;
        // Takes three seconds for each of the sources.
        let migrated = tokio::time::timeout(given_up_after, tx.migrate()).await;
        assert!(!matches!(migrated, Ok(Ok(()))), "nobody answers");
        first.network().answer_dials();
        sleep(Duration::from_secs(30)).await;
        assert_eq!((first.live_links(), second.live_links()), (1, 0), "{given_up_after:?}");
    }
}
