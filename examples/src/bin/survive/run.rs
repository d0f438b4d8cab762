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

use crate::checker::{Numbered, Tally};
use crate::lane::Lane;
use crate::meter::{Meter, Metered};
use crate::options::Options;
use crate::report::Report;
use crate::saboteur::{self, Progress, Scene, Way};
use crate::schedule::{PlannedCut, schedule};
use crate::screen::Screen;

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
    #[error("nothing happened for {STUCK_AFTER:?} ({0})")]
    Stuck(String),
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

/// Runs as `options` say, to the end.
pub(crate) async fn run(options: &Options) -> Result<Report, RunError> {
    let schedule = schedule(options);
    let (scene, receivers) = open().await?;
    let progress = watch::Sender::new(Progress::default());
    let screen = Screen::new(options.messages * 2, options.verbose);
    let status = scene.client().status();

    let began = Instant::now();
    let traffic = async {
        tokio::try_join!(
            send_and_cut(&scene, &schedule, options, &progress, &screen),
            receive(&scene, receivers, options),
        )
    };
    let ((), tallies) = tokio::select! {
        done = traffic => done?,
        stuck = watch_over(&scene, &status, &progress, &screen) => return Err(stuck),
    };
    let elapsed = began.elapsed();
    screen.finish();

    let mut report = Report {
        sent: scene.lanes().iter().map(|lane| lane.accepted.get()).sum(),
        cuts_planned: schedule.len() as u64,
        cuts: progress.borrow().cuts,
        resumes: scene.client().stats().resumes,
        replayed: scene.lanes().iter().map(|lane| lane.tx().stats().messages_replayed).sum(),
        elapsed,
        ..Report::default()
    };
    for (tally, longest_pause) in tallies {
        report.add(tally, longest_pause);
    }
    report.payload_bytes = report.tally.received * u64::from(options.size);
    Ok(report)
}

/// The receiving halves of two conduits.
struct Receivers {
    client: StableRx<Numbered>,
    server: StableRx<Numbered>,
}

/// Opens two conduits that are each other's peer, with the proxy between them.
async fn open() -> Result<(Arc<Scene>, Receivers), RunError> {
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
        to_server: Way { lane: Lane::new(client_tx, 0x5e17), meter: to_server },
        to_client: Way { lane: Lane::new(server_tx, 0xc11e), meter: to_client },
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
    options: &Options,
) -> Result<[(Tally, Duration); 2], RunError> {
    let Options { messages, size, .. } = *options;
    let receive = |way: fn(&Scene) -> &Way, rx| {
        let scene = Arc::clone(scene);
        spawned(async move { way(&scene).lane.receive(rx, messages, size).await })
    };
    let (to_server, to_client) = tokio::try_join!(
        receive(|scene| &scene.to_server, server),
        receive(|scene| &scene.to_client, client),
    )?;
    Ok([to_server, to_client])
}

/// Runs `task` beside the others, on any thread.
async fn spawned<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(task).await.expect("no task of this program panics or is aborted")
}

/// Keeps the screen up to date; ends only when nothing happens any more.
async fn watch_over(
    scene: &Scene,
    status: &watch::Receiver<Status>,
    progress: &watch::Sender<Progress>,
    screen: &Screen,
) -> RunError {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut last = (Instant::now(), None);
    loop {
        ticks.tick().await;
        let counts = scene.lanes().map(|lane| (lane.accepted.get(), lane.received.get()));
        let progress = *progress.borrow();
        screen.show(counts.iter().map(|(_, received)| received).sum(), progress, &status.borrow());
        if last.1 != Some((counts, progress)) {
            last = (Instant::now(), Some((counts, progress)));
        } else if last.0.elapsed() >= STUCK_AFTER {
            let status = format!("{:?}, {counts:?}, {progress:?}", &*status.borrow());
            return RunError::Stuck(status);
        }
    }
}
