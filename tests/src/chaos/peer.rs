//! What a peer's process does: many sessions, each busy in both directions, and a running check of
//! what arrives. It tells what happened and judges nothing but its own messages.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use rejoin_tcp::{Raw, StableConduit, StableConfig, StableTx};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::message::Side;
use super::report::{Command, Report, SessionReport};
use super::talk::{Talk, talk};
use super::transport::{Sessions, Transport};

/// How a peer lives.
#[derive(Clone, Debug, Parser)]
pub struct Life {
    /// Which end of its sessions it is.
    #[command(subcommand)]
    role: Role,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Role {
    /// Accepts sessions.
    Serve(Place),
    /// Keeps some sessions open, and opens another one for each that is lost.
    Call {
        #[command(flatten)]
        place: Place,
        /// How many sessions at a time.
        #[arg(long)]
        sessions: u64,
        /// The number of the first session.
        #[arg(long)]
        first: u64,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The transport.
    transport: Transport,
    /// Where to listen, or whom to call.
    address: String,
    /// What its messages and pauses follow from.
    #[arg(long)]
    seed: u64,
    /// Acknowledges nothing that was not told of before.
    #[arg(long)]
    exact: bool,
}

/// How long a session may be without a link.
pub(super) const OUTAGE_MAX: Duration = Duration::from_secs(20);

fn config(exact: bool) -> StableConfig {
    let mut config = StableConfig::default();
    config.message_bytes_max = 64 << 10;
    // Little, so that it is full now and then.
    config.send_log_bytes_max = 128 << 10;
    config.inbox_bytes_max = 64 << 10;
    config.ping_interval = Duration::from_millis(500);
    config.peer_dead_after = Duration::from_secs(2);
    config.outage_max = OUTAGE_MAX;
    config.linger = OUTAGE_MAX;
    config.redial.backoff_min = Duration::from_millis(20);
    config.redial.backoff_max = Duration::from_millis(500);
    config.redial.connect_limit = Duration::from_secs(60);
    config.manual_ack = exact;
    config
}

/// What the tasks of a process have in common.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) transport: Transport,
    pub(super) side: Side,
    pub(super) exact: bool,
    pub(super) seed: u64,
    finish: watch::Sender<bool>,
    live: Mutex<BTreeMap<u64, Live>>,
}

#[derive(Debug)]
struct Live {
    tx: StableTx<Raw>,
    report: SessionReport,
}

impl Process {
    pub(super) fn finishing(&self) -> watch::Receiver<bool> {
        self.finish.subscribe()
    }

    /// From now on the session is told of when the process is told to exit.
    pub(super) fn update(&self, tx: &StableTx<Raw>, report: &SessionReport) {
        let live = Live { tx: tx.clone(), report: report.clone() };
        self.live().insert(report.session, live);
    }

    pub(super) fn remove(&self, session: u64) {
        self.live().remove(&session);
    }

    /// Tells what the conduits have received, and ends before they can receive more: all of them are
    /// driven by this thread.
    fn exit(&self) -> ! {
        for Live { tx, report } in self.live().values_mut() {
            report.received = tx.stats().messages_received;
            Report::Session(report.clone()).tell();
        }
        Report::Done.tell();
        std::process::exit(0);
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lives until told to end, or until the parent is gone.
///
/// # Errors
///
/// When the peer cannot begin.
pub fn live(life: Life) -> Result<(), Box<dyn Error>> {
    // A process that is frozen when its parent dies could not end by itself.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live_here(life))
}

async fn live_here(life: Life) -> Result<(), Box<dyn Error>> {
    let (side, place) = match &life.role {
        Role::Serve(place) => (Side::Server, place.clone()),
        Role::Call { place, .. } => (Side::Client, place.clone()),
    };
    let process = Arc::new(Process {
        transport: place.transport,
        side,
        exact: place.exact,
        seed: place.seed,
        finish: watch::Sender::new(false),
        live: Mutex::default(),
    });
    tokio::spawn(obey(Arc::clone(&process)));
    match life.role {
        Role::Serve(_) => serve(&process, &place.address).await?,
        Role::Call { sessions, first, .. } => call(&process, &place.address, sessions, first).await,
    }
    Report::Done.tell();
    Ok(())
}

/// Does what the parent says.
async fn obey(process: Arc<Process>) {
    let (said, mut commands) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(command) = serde_json::from_str::<Command>(&line) else { break };
            if said.blocking_send(command).is_err() {
                break;
            }
        }
    });
    loop {
        match commands.recv().await {
            Some(Command::Finish) => {
                process.finish.send_replace(true);
            }
            // The parent is gone.
            None | Some(Command::Exit) => process.exit(),
        }
    }
}

/// Serves until it is to finish and all sessions have ended.
async fn serve(process: &Arc<Process>, address: &str) -> Result<(), Box<dyn Error>> {
    let listening = process.transport.listen(address, config(process.exact)).await;
    let (mut sessions, address) = listening?;
    Report::Listening(address).tell();
    let mut finishing = process.finishing();
    let mut talks = JoinSet::new();
    loop {
        let finished = *finishing.borrow_and_update();
        if finished && talks.is_empty() {
            return Ok(());
        }
        let takes_more = matches!(sessions, Sessions::Many(_)) || talks.is_empty();
        tokio::select! {
            next = sessions.next(), if takes_more => match next {
                Ok(conduit) => {
                    talks.spawn(talk(Arc::clone(process), conduit, Talk::Answers));
                }
                Err(error) if process.transport.has_listener() => {
                    Report::Broken(format!("accept: {error}")).tell();
                }
                // The one peer was gone before its session began.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(ended) = talks.join_next() => tell_of_panic(ended),
            _ = finishing.changed() => {}
        }
    }
}

/// Keeps so many sessions busy until it is to finish.
async fn call(process: &Arc<Process>, address: &str, sessions: u64, first: u64) {
    let mut lanes = JoinSet::new();
    for lane in 0..sessions {
        let process = Arc::clone(process);
        let address = address.to_owned();
        lanes.spawn(async move {
            let finishing = process.finishing();
            for session in (first + lane..).step_by(usize::try_from(sessions).unwrap_or(1)) {
                if let Some(conduit) = open(&process, &address).await {
                    talk(Arc::clone(&process), conduit, Talk::Begins { session }).await;
                }
                if *finishing.borrow() {
                    return;
                }
            }
        });
    }
    while let Some(ended) = lanes.join_next().await {
        tell_of_panic(ended);
    }
}

async fn open(process: &Process, address: &str) -> Option<StableConduit<Raw>> {
    match process.transport.dial(address, config(process.exact)).await {
        Ok(conduit) => Some(conduit),
        // The server may be on its way down.
        Err(error) if error.is_transient() => None,
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            Report::Broken(format!("connect: {error}: {cause:?}")).tell();
            None
        }
    }
}

fn tell_of_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        Report::Broken(error.to_string()).tell();
    }
}
