//! One run: sets everything up, lets it go, and collects the result.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rejoin_conformance::proxy::FaultProxy;
use rejoin_tcp::{
    ConnectError, ListenerConfig, RecvError, SendError, SessionLost, StableConduit, StableConfig,
    StableListener, StableRx, Status, TcpLinkListener, TcpSource,
};
use thiserror::Error;
use tokio::sync::watch;

use crate::checker::Numbered;
use crate::lane::Lane;
use crate::meter::{Meter, Metered};
use crate::options::Options;
use crate::report::Report;
use crate::saboteur::{self, Progress, Scene, Way};
use crate::schedule::{PlannedCut, schedule};
use crate::screen::{self, Screen};

/// A run in which nothing happens for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Why a run came to no result.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error("no port could be had on the loopback interface")]
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

/// The settings of both conduits. A real network deserves more patience: here a silent connection
/// is noticed, and a new one made, in well under a second, because nothing is farther away than
/// the loopback interface and a run has a dozen silences to sit out.
fn config() -> StableConfig {
    let mut config = StableConfig::default();
    config.ping_interval = Duration::from_millis(150);
    config.peer_dead_after = Duration::from_millis(500);
    config.handshake_deadline = Duration::from_millis(500);
    config.redial.backoff_min = Duration::from_millis(10);
    config.redial.backoff_max = Duration::from_millis(100);
    config
}

/// Runs as `options` say, to the end or up to an error. The report tells what is known either way.
pub(crate) async fn run(options: &Options) -> (Report, Result<(), RunError>) {
    match open(options).await {
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
    let schedule = schedule(options);
    let progress = watch::Sender::new(Progress::default());
    let screen = Screen::new(options.messages * 2, options.verbose);
    let status = scene.client().status();

    let began = Instant::now();
    let traffic = async {
        tokio::try_join!(
            send_and_cut(scene, &schedule, options, &progress, &screen),
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

/// The receiving halves of two conduits.
struct Receivers {
    client: StableRx<Numbered>,
    server: StableRx<Numbered>,
}

/// Opens two conduits that are each other's peer, with the proxy between them.
async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let Options { messages, size, .. } = *options;
    let (to_server, to_client) = (Meter::default(), Meter::default());
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.map_err(RunError::Bind)?;
    let address = listener.local_addr().map_err(RunError::Bind)?;
    let proxy = FaultProxy::start(address).await.map_err(RunError::Bind)?;
    let source = Metered::new(TcpSource::new(proxy.addr()), &to_server);
    let listener = Metered::new(listener, &to_client);

    let mut listener_config = ListenerConfig::default();
    listener_config.conduit = config();
    let mut listener =
        StableListener::with_config(listener, listener_config).expect("the settings make sense");
    let client = StableConduit::connect_with(source, config()).await.map_err(RunError::Connect)?;
    let server = listener.accept().await.map_err(RunError::Accept)?;
    let (client_tx, client) = client.split();
    let (server_tx, server) = server.split();
    let scene = Arc::new(Scene {
        proxy,
        to_server: Way { lane: Lane::new(client_tx, 0x5e17, messages, size), meter: to_server },
        to_client: Way { lane: Lane::new(server_tx, 0xc11e, messages, size), meter: to_client },
        _listener: listener,
    });
    Ok((scene, Receivers { client, server }))
}

/// Sends everything in both directions, does the cuts meanwhile, and closes.
async fn send_and_cut(
    scene: &Arc<Scene>,
    schedule: &[PlannedCut],
    options: &Options,
    progress: &watch::Sender<Progress>,
    screen: &Screen,
) -> Result<(), RunError> {
    let Options { messages, size, .. } = *options;
    let send = |way: fn(&Scene) -> &Way| {
        let scene = Arc::clone(scene);
        spawned(async move { way(&scene).lane.send(messages, size).await })
    };
    let cuts = saboteur::cut_all(scene, schedule, messages, progress, |line| screen.log(line));
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
    use tokio::time::timeout;

    use super::*;

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
        let elsewhere = FaultProxy::start(scene.proxy.addr()).await.unwrap();
        Arc::get_mut(&mut scene).unwrap().proxy = elsewhere;
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
