//! `migrate()`: a new link in place of one that works, under paused time.
#![allow(clippy::unwrap_used)]

mod line;

use std::io;
use std::time::Duration;

use line::{LATENCY, Line, two_lines};
use rejoin_core::{
    Attachment, LinkSource, MemoryConfig, MemoryLink, MemorySource, StableConduit, StableConfig,
    StableListener, StableRx, StableTx, Status, memory_listener,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Both ends of a session over a line, and what has to be kept for it.
struct Open {
    near: StableConduit<u64>,
    far: StableConduit<u64>,
    line: Line,
    _listener: StableListener<u64>,
}

async fn open() -> Open {
    let (listener, line, _) = two_lines();
    let mut listener = StableListener::new(listener);
    let near = StableConduit::connect(line.source()).await.unwrap();
    let far = listener.accept().await.unwrap();
    Open { near, far, line, _listener: listener }
}

/// Traffic in both directions, under the eyes of those who notice a pause.
struct Clocks {
    statuses: [JoinHandle<Vec<Status>>; 2],
    sent: [JoinHandle<u64>; 2],
    received: [JoinHandle<(u64, Duration)>; 2],
    stop: watch::Sender<bool>,
}

impl Clocks {
    /// Begins, and gives a handle of the near end.
    fn start(near: StableConduit<u64>, far: StableConduit<u64>) -> (Self, StableTx<u64>) {
        let epoch = Instant::now();
        let statuses = [watch_status(near.status()), watch_status(far.status())];
        let (stop, stopped) = watch::channel(false);
        let ((near_tx, near_rx), (far_tx, far_rx)) = (near.split(), far.split());
        let migrator = near_tx.clone();
        let sent =
            [send_clock(near_tx, epoch, stopped.clone()), send_clock(far_tx, epoch, stopped)];
        let received = [receive_clock(far_rx, epoch), receive_clock(near_rx, epoch)];
        (Self { statuses, sent, received, stop }, migrator)
    }

    /// Everything has come, and nobody was ever without a link; gives how long the slowest message
    /// was under way, and how many statuses were seen at least.
    async fn stop(self) -> (Duration, usize) {
        self.stop.send_replace(true);
        let (mut slowest, mut changes) = (Duration::ZERO, usize::MAX);
        for (sent, received) in self.sent.into_iter().zip(self.received) {
            let (count, longest) = received.await.unwrap();
            assert_eq!(count, sent.await.unwrap());
            slowest = slowest.max(longest);
        }
        for seen in self.statuses {
            let seen = seen.await.unwrap();
            assert_never_suspended(&seen);
            changes = changes.min(seen.len());
        }
        (slowest, changes)
    }
}

/// Sends the time every millisecond, until told to stop; gives how many were sent.
fn send_clock(
    tx: StableTx<u64>,
    epoch: Instant,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut sent = 0;
        while !*stop.borrow_and_update() {
            tx.send(&u64::try_from(epoch.elapsed().as_micros()).unwrap()).await.unwrap();
            sent += 1;
            sleep(Duration::from_millis(1)).await;
        }
        tx.close().await.unwrap();
        sent
    })
}

/// Receives to the end; gives how many came, and the longest that one was under way.
fn receive_clock(mut rx: StableRx<u64>, epoch: Instant) -> JoinHandle<(u64, Duration)> {
    tokio::spawn(async move {
        let (mut count, mut longest, mut last) = (0, Duration::ZERO, None);
        while let Some(sent) = rx.recv().await.unwrap() {
            assert!(last < Some(*sent), "each once and in order");
            last = Some(*sent);
            count += 1;
            longest = longest.max(epoch.elapsed() - Duration::from_micros(*sent));
        }
        (count, longest)
    })
}

/// Collects every status until the last one.
fn watch_status(mut status: watch::Receiver<Status>) -> JoinHandle<Vec<Status>> {
    tokio::spawn(async move {
        let mut seen = vec![status.borrow_and_update().clone()];
        while !seen.last().unwrap().is_final() && status.changed().await.is_ok() {
            seen.push(status.borrow_and_update().clone());
        }
        seen
    })
}

#[track_caller]
fn assert_never_suspended(seen: &[Status]) {
    let connected =
        |status: &Status| matches!(status, Status::Connected { .. } | Status::Closed { .. });
    assert!(seen.iter().all(connected), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_migration_under_traffic_suspends_nothing_and_closes_the_old_link() {
    let Open { near, far, line: _line, _listener } = open().await;
    let (clocks, migrator) = Clocks::start(near, far);
    for migrations in 1..=20 {
        sleep(Duration::from_millis(37)).await;
        migrator.migrate().await.unwrap();
        assert_eq!(migrator.stats().generation, migrations + 1);
    }
    drop(migrator);
    let (longest, changes) = clocks.stop().await;
    // One way, and one round trip for what was under way on the old link.
    assert!(longest <= 3 * LATENCY + Duration::from_millis(2), "{longest:?}");
    assert!(changes > 15, "every link is seen: {changes}");
}

#[tokio::test(start_paused = true)]
async fn the_old_link_is_closed_and_what_was_stuck_on_it_arrives_over_the_new_one() {
    let Open { near, far, line, _listener } = open().await;
    let (near_tx, _near_rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    let before = line.network().clone();
    line.network().freeze_links();
    near_tx.send(&1).await.unwrap();
    far_tx.send(&2).await.unwrap();
    near_tx.migrate().await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&1));
    far_tx.flush_acked().await.unwrap();
    before.thaw_links();
    near_tx.send(&3).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&3));
    near_tx.flush_acked().await.unwrap();
    // Time for the last act of the old link.
    sleep(Duration::from_secs(10)).await;
    assert_eq!((near_tx.stats().generation, far_tx.stats().generation), (2, 2));
    assert!(line.live_links() <= 1, "{} links live", line.live_links());
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_fails_keeps_the_old_link() {
    let Open { near, far, line, _listener } = open().await;
    let statuses = [watch_status(near.status()), watch_status(far.status())];
    let (tx, mut rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    for attempt in 0..3u64 {
        line.network().refuse_dials();
        let error = tx.migrate().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        line.network().ignore_dials();
        let error = tx.migrate().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        tx.send(&attempt).await.unwrap();
        far_tx.send(&attempt).await.unwrap();
        assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&attempt));
        assert_eq!(rx.recv().await.unwrap().as_deref(), Some(&attempt));
    }
    assert_eq!(tx.stats().generation, 1);
    line.network().answer_dials();
    tx.migrate().await.unwrap();
    assert_eq!(tx.stats().generation, 2);
    tx.close().await.unwrap();
    far_tx.close().await.unwrap();
    for seen in statuses {
        assert_never_suspended(&seen.await.unwrap());
    }
}

/// The attempts of an outage, or those for the first link, are nothing that a migration has to wait
/// for; and one that is given up is no reason to wait in the next outage.
#[tokio::test(start_paused = true)]
async fn a_migration_waits_for_no_backoff_and_causes_none() {
    let (listener, line, _) = two_lines();
    let mut listener = StableListener::<u64>::new(listener);
    let mut config = StableConfig::default();
    config.redial.backoff_min = Duration::from_secs(100);
    config.redial.backoff_max = Duration::from_secs(100);
    let near = StableConduit::<u64>::connect_with(line.source(), config).await.unwrap();
    let (near, _rx) = near.split();
    let _far = listener.accept().await.unwrap();
    let start = Instant::now();
    near.migrate().await.unwrap();
    assert!(start.elapsed() <= 4 * LATENCY, "{:?}", start.elapsed());
    line.network().ignore_dials();
    let given_up = tokio::time::timeout(Duration::from_secs(1), near.migrate()).await;
    assert!(given_up.is_err());
    line.network().answer_dials();
    let start = Instant::now();
    line.network().cut_links();
    let again = |status: &Status| matches!(status, Status::Connected { generation: 3, .. });
    near.status().wait_for(again).await.unwrap();
    assert!(start.elapsed() <= 4 * LATENCY, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn only_the_side_that_dials_can_migrate() {
    let Open { near: _near, far, line: _line, _listener } = open().await;
    let (tx, _rx) = far.split();
    assert_eq!(tx.migrate().await.unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_is_rejected_keeps_the_session() {
    // A second listener that knows nothing of the session, behind the same source.
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let (stranger, to_stranger) = memory_listener(MemoryConfig::default());
    let _stranger = StableListener::<u64>::new(stranger);
    let mut listener = StableListener::<u64>::new(listener);
    let mut sources = vec![to_stranger.source(), connector.source()];
    let mut last = sources.pop();
    let source = Switch(Box::new(move || last.take().or_else(|| sources.last().cloned())));
    let near = StableConduit::<u64>::connect(source).await.unwrap();
    let (_far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    let (tx, _rx) = near.split();
    tx.send(&1).await.unwrap();
    assert!(tx.migrate().await.is_err());
    tx.send(&2).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&1));
    assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&2));
    assert_eq!(tx.stats().generation, 1);
}

/// Dials whatever the function gives next.
struct Switch(Box<dyn FnMut() -> Option<MemorySource> + Send>);

impl LinkSource for Switch {
    type Link = MemoryLink;

    async fn next_link(&mut self) -> io::Result<Attachment<MemoryLink>> {
        self.0().ok_or(io::ErrorKind::NotConnected)?.next_link().await
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_may_overtake_the_hello_of_a_migration() {
    let Open { near, far, line, _listener } = open().await;
    let (tx, mut rx) = near.split();
    let (far_tx, _far_rx) = far.split();
    let migrator = tx.clone();
    line.hold_new_links(true);
    let migration = tokio::spawn(async move { migrator.migrate().await });
    sleep(Duration::from_millis(1)).await;
    for n in 0..500 {
        far_tx.send(&n).await.unwrap();
    }
    for n in 0..500 {
        assert_eq!(rx.recv().await.unwrap().as_deref(), Some(&n));
    }
    far_tx.flush_acked().await.unwrap();
    line.hold_new_links(false);
    migration.await.unwrap().unwrap();
    far_tx.send(&500).await.unwrap();
    assert_eq!(rx.recv().await.unwrap().as_deref(), Some(&500));
    assert_eq!(far_tx.stats().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_migration_dropped_at_any_poll_loses_nothing() {
    let Open { near, far, line: _line, _listener } = open().await;
    let (clocks, migrator) = Clocks::start(near, far);
    // The future itself is woken once; what it has set going is met at every millisecond.
    for millis in 0..40 {
        let limit = Duration::from_millis(millis);
        let _ = tokio::time::timeout(limit, migrator.migrate()).await;
        sleep(Duration::from_millis(millis % 7)).await;
    }
    sleep(Duration::from_millis(50)).await;
    let generation = migrator.stats().generation;
    migrator.migrate().await.unwrap();
    assert_eq!(migrator.stats().generation, generation + 1, "a later one still works");
    drop(migrator);
    clocks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_is_given_up_while_it_dials_is_not_made() {
    let Open { near, far: _far, line, _listener } = open().await;
    let (tx, _rx) = near.split();
    line.network().ignore_dials();
    let given_up = tokio::time::timeout(Duration::from_secs(1), tx.migrate()).await;
    assert!(given_up.is_err());
    line.network().answer_dials();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(tx.stats().generation, 1);
    tx.migrate().await.unwrap();
    assert_eq!(tx.stats().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_migration_after_the_end_fails() {
    let Open { near, far, line: _line, _listener } = open().await;
    let (tx, _rx) = near.split();
    let (far_tx, _far_rx) = far.split();
    let late = tx.clone();
    tx.close().await.unwrap();
    far_tx.close().await.unwrap();
    late.status().wait_for(Status::is_final).await.unwrap();
    assert_eq!(late.migrate().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
}

/// A source that has failed for good makes no further link; whoever asks for one has to hear it.
#[tokio::test(start_paused = true)]
async fn a_migration_after_the_source_has_failed_for_good_fails() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<u64>::new(listener);
    let mut only = Some(connector.source());
    let source = Once(Switch(Box::new(move || only.take())));
    let near = StableConduit::<u64>::connect(source).await.unwrap();
    let (_far_tx, mut far_rx) = listener.accept().await.unwrap().split();
    let (tx, _rx) = near.split();
    for attempt in 0..3 {
        let migrated = tokio::time::timeout(Duration::from_secs(60), tx.migrate()).await;
        assert!(migrated.expect("an answer").is_err(), "{attempt}");
    }
    tx.send(&1).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().as_deref(), Some(&1), "the link stays in use");
}

/// Fails for good where it fails.
struct Once(Switch);

impl LinkSource for Once {
    type Link = MemoryLink;

    async fn next_link(&mut self) -> io::Result<Attachment<MemoryLink>> {
        self.0.next_link().await
    }

    fn is_fatal(&self, _: &io::Error) -> bool {
        true
    }
}
