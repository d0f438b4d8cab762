//! One run: sets everything up, lets it go, and collects the result.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rejoin_tcp::{ConnectError, RecvError, SendError, SessionLost, Status};
use thiserror::Error;
use tokio::sync::watch;

use crate::media::{self, Receivers};
use crate::options::Options;
use crate::report::Report;
use crate::saboteur::{self, Progress, Scene, Way};
use crate::schedule::schedule;
use crate::screen::{self, Screen};
use crate::steps::{self, steps};

/// A run in which nothing happens for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Why a run came to no result.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error("the medium could not be set up")]
    Bind(#[source] io::Error),
    #[error("the conduit could not be opened")]
    Connect(#[source] ConnectError),
    #[error("no conduit was accepted")]
    Accept(#[source] io::Error),
    #[error("a message could not be sent")]
    Send(#[from] SendError),
    #[error("no further message could be received")]
    Receive(#[from] RecvError),
    #[error("the conduit could not be closed")]
    Close(#[from] SessionLost),
    #[error(
        "nothing happened for {patience:?}: the server received {} of {} messages sent, the client \
         {} of {}, and the client's conduit is {status}",
        to_server.received, to_server.sent, to_client.received, to_client.sent
    )]
    Stuck { patience: Duration, to_server: Count, to_client: Count, status: String },
}

/// How far one direction came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    sent: u64,
    received: u64,
}

/// Runs as `options` say, to the end or up to an error. The report tells what is known either way.
pub(crate) async fn run(options: &Options) -> (Report, Result<(), RunError>) {
    match media::open(options).await {
        Ok((scene, receivers)) => run_on(&scene, receivers, options, STUCK_AFTER).await,
        Err(error) => (Report::planned(options), Err(error)),
    }
}

async fn run_on(
    scene: &Arc<Scene>,
    receivers: Receivers,
    options: &Options,
    patience: Duration,
) -> (Report, Result<(), RunError>) {
    let progress = watch::Sender::new(Progress::default());
    let screen = Screen::new(options.messages * 2, options.verbose);
    let status = scene.client().status();

    let began = Instant::now();
    let traffic = async {
        tokio::try_join!(
            send_and_cut(scene, options, &progress, &screen),
            receive(scene, receivers),
        )
    };
    let done = tokio::select! {
        done = traffic => done.map(drop),
        stuck = watch_over(scene, &status, &progress, &screen, patience) => Err(stuck),
    };
    let elapsed = began.elapsed();
    screen.finish();

    let mut report = Report {
        cuts: progress.borrow().cuts,
        resumes: scene.client().stats().resumes,
        replayed: scene.lanes().iter().map(|lane| lane.tx().stats().messages_replayed).sum(),
        elapsed,
        transports: scene.medium.visited(),
        ..Report::planned(options)
    };
    for lane in scene.lanes() {
        let (sent, tally, longest_pause) = lane.result();
        report.add(tally, longest_pause);
        report.sent += sent;
    }
    report.payload_bytes = report.tally.received * u64::from(options.size);
    (report, done)
}

/// Sends everything in both directions, does the cuts meanwhile, and closes.
async fn send_and_cut(
    scene: &Arc<Scene>,
    options: &Options,
    progress: &watch::Sender<Progress>,
    screen: &Screen,
) -> Result<(), RunError> {
    let Options { messages, size, .. } = *options;
    let send = |way: fn(&Scene) -> &Way| {
        let scene = Arc::clone(scene);
        spawned(async move { way(&scene).lane.send(messages, size).await })
    };
    let cuts = async {
        let log = |line: &str| screen.log(line);
        if options.transport.has_proxy() {
            saboteur::cut_all(scene, &schedule(options), messages, progress, log).await;
        } else {
            steps::do_all(scene, &steps(options), messages, progress, log).await;
        }
    };
    tokio::try_join!(send(|scene| &scene.to_server), send(|scene| &scene.to_client), async {
        cuts.await;
        Ok(())
    })?;
    // Both sides have everything: what still comes now comes once too often, and will be noticed.
    let [client, server] = scene.lanes().map(super::lane::Lane::tx);
    tokio::try_join!(client.close(), server.close())?;
    Ok(())
}

/// Receives everything, at the server and at the client.
async fn receive(
    scene: &Arc<Scene>,
    Receivers { client, server }: Receivers,
) -> Result<(), RunError> {
    let receive = |way: fn(&Scene) -> &Way, rx| {
        let scene = Arc::clone(scene);
        spawned(async move { way(&scene).lane.receive(rx).await })
    };
    tokio::try_join!(
        receive(|scene| &scene.to_server, server),
        receive(|scene| &scene.to_client, client),
    )?;
    Ok(())
}

/// Runs `task` beside the others, on any thread.
async fn spawned<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(task).await.expect("no task of this program panics or is aborted")
}

/// Keeps the screen up to date; ends only when nothing happened for as long as `patience`.
async fn watch_over(
    scene: &Scene,
    status: &watch::Receiver<Status>,
    progress: &watch::Sender<Progress>,
    screen: &Screen,
    patience: Duration,
) -> RunError {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut last = (Instant::now(), None);
    loop {
        ticks.tick().await;
        let counts = scene
            .lanes()
            .map(|lane| Count { received: lane.received.get(), sent: lane.accepted.get() });
        let progress = *progress.borrow();
        screen.show(counts.iter().map(|count| count.received).sum(), progress, &status.borrow());
        if last.1 != Some((counts, progress)) {
            last = (Instant::now(), Some((counts, progress)));
        } else if last.0.elapsed() >= patience {
            let [to_server, to_client] = counts;
            let status = screen::in_words(&status.borrow());
            return RunError::Stuck { patience, to_server, to_client, status };
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rejoin_conformance::proxy::FaultProxy;
    use tokio::time::timeout;

    use super::*;
    use crate::media::{Medium, open};

    fn options(arguments: &str) -> Options {
        let words = std::iter::once("survive").chain(arguments.split_whitespace());
        Options::try_parse_from(words).unwrap()
    }

    #[tokio::test]
    async fn a_run_that_cannot_send_any_more_keeps_its_counts() {
        let options = options("--messages 5 --cuts 0");
        let (scene, receivers) = open(&options).await.unwrap();
        let lane = &scene.to_server.lane;
        lane.open_to(3);
        // Nobody receives yet, so neither of these ends.
        let _ = timeout(Duration::ZERO, lane.send(3, options.size)).await;
        let _ = timeout(Duration::ZERO, lane.tx().clone().close()).await;
        assert_eq!(lane.accepted.get(), 3);
        let (report, done) = run_on(&scene, receivers, &options, STUCK_AFTER).await;
        assert!(matches!(done, Err(RunError::Send(SendError::Closed))), "{done:?}");
        assert!((3..=8).contains(&report.sent), "{report:?}");
        assert_eq!(report.tally.received + report.tally.lost, report.sent, "{report:?}");
    }

    #[tokio::test]
    async fn a_run_that_is_stuck_says_how_far_it_came() {
        let options = options("--messages 7 --cuts 0");
        let (mut scene, receivers) = open(&options).await.unwrap();
        // Without its proxy the client dials in vain.
        let Medium::Proxied(proxy) = &scene.medium else { panic!("TCP has one") };
        let elsewhere = FaultProxy::start(proxy.addr()).await.unwrap();
        Arc::get_mut(&mut scene).unwrap().medium = Medium::Proxied(elsewhere);
        let mut status = scene.client().status();
        status.wait_for(|status| matches!(status, Status::Suspended { .. })).await.unwrap();
        let (report, done) = run_on(&scene, receivers, &options, Duration::from_secs(2)).await;
        assert_eq!((report.sent, report.tally.received, report.tally.lost), (14, 0, 14));
        let error = done.unwrap_err().to_string();
        let expected = "nothing happened for 2s: the server received 0 of 7 messages sent, the \
                        client 0 of 7, and the client's conduit is suspended, ";
        assert!(error.starts_with(expected), "{error}");
    }
}
