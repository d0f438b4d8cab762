//! Sessions between separate processes while everything around them fails: over every transport at
//! once, a random mixture that follows from a seed. `cargo xtask chaos` runs it for as long as told,
//! and `tests/chaos.rs` for two minutes.
//!
//! The parent decides and judges, and owns what is between the peers; each peer is a process of its
//! own that tells what it sent, received and lost. A seed gives the same faults at about the same
//! times, but not the same run: the machine has a say in that.

mod arena;
mod deck;
mod judge;
mod medium;
mod message;
mod peer;
mod process;
mod report;
mod talk;
mod transport;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use arena::{Arena, Outcome, Plan};
pub use peer::{Life, live};
pub use transport::Transport;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// On which transports, side by side.
    pub transports: Vec<Transport>,
    /// For how long there are faults.
    pub time: Duration,
    /// What the faults follow from.
    pub seed: u64,
    /// The program that becomes a peer when it is given `arguments` and those of [`Life`].
    pub program: PathBuf,
    /// See `program`.
    pub arguments: Vec<String>,
}

/// What has come of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// What the faults followed from.
    pub seed: u64,
    /// How long there were faults.
    pub minutes: f64,
    /// On which transports.
    pub transports: Vec<&'static str>,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Messages that were received.
    pub messages: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Links after the first of a session.
    pub resumes: u64,
    /// Processes that were ended and started again.
    pub restarts: u64,
    /// Processes that were frozen and continued.
    pub freezes: u64,
    /// Messages that were written again after a resume.
    pub replayed: u64,
    /// Ends of sessions that were told that the session is lost, for their peer was.
    pub sessions_lost: u64,
    /// Messages that were handed back to those.
    pub handed_back: u64,
    /// The longest time between two messages of a session.
    pub longest_pause_ms: u64,
    /// Messages that were said to be delivered and were not.
    pub lost: u64,
    /// Messages that were received twice.
    pub duplicated: u64,
    /// Messages that were received after later ones.
    pub out_of_order: u64,
    /// Whatever else must not happen, and the three above in words.
    pub violations: Vec<String>,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        let Outcome { verdict, faults, restarts, freezes } = outcome;
        self.sessions += verdict.sessions;
        self.messages += verdict.messages;
        for (fault, count) in faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.resumes += verdict.resumes;
        self.restarts += restarts;
        self.freezes += freezes;
        self.replayed += verdict.replayed;
        self.sessions_lost += verdict.lost_sessions;
        self.handed_back += verdict.returned;
        self.longest_pause_ms = self.longest_pause_ms.max(verdict.longest_pause_ms);
        self.lost += verdict.lost;
        self.duplicated += verdict.duplicated;
        self.out_of_order += verdict.out_of_order;
        self.violations.extend(verdict.violations);
    }

    /// Whether everything was kept that is promised.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && (self.lost, self.duplicated, self.out_of_order) == (0, 0, 0)
    }

    /// As one line of JSON.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a summary has only simple parts")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:.1} minutes over {}",
            self.seed,
            self.minutes,
            self.transports.join(", ")
        )?;
        writeln!(
            f,
            "{} sessions, {} messages, {} resumes, {} replayed",
            self.sessions, self.messages, self.resumes, self.replayed
        )?;
        writeln!(
            f,
            "{} restarts, {} freezes; {} ends told of a loss, {} messages handed back; longest pause \
             {} ms",
            self.restarts,
            self.freezes,
            self.sessions_lost,
            self.handed_back,
            self.longest_pause_ms
        )?;
        for (fault, count) in &self.faults {
            writeln!(f, "{count:>6} {fault}")?;
        }
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        write!(
            f,
            "{} lost, {} duplicated, {} out of order",
            self.lost, self.duplicated, self.out_of_order
        )
    }
}

/// Runs it all.
///
/// # Errors
///
/// When a run cannot be made. What goes wrong in it is in the summary.
pub fn run(options: &Options) -> Result<Summary, Box<dyn Error>> {
    let mut summary = Summary {
        seed: options.seed,
        minutes: options.time.as_secs_f64() / 60.0,
        transports: options.transports.iter().map(|transport| transport.name()).collect(),
        ..Summary::default()
    };
    let outcomes: Vec<Result<Outcome, String>> = std::thread::scope(|scope| {
        let runs: Vec<_> = options
            .transports
            .iter()
            .map(|&transport| scope.spawn(move || run_one(options, transport)))
            .collect();
        let joined = runs.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|run| run.unwrap_or_else(|_| Err("a run has panicked".into()))).collect()
    });
    for outcome in outcomes {
        summary.add(outcome?);
    }
    Ok(summary)
}

/// Runs one transport on a thread of its own, with which its processes end.
fn run_one(options: &Options, transport: Transport) -> Result<Outcome, String> {
    let plan = Plan {
        transport,
        seed: options.seed,
        time: options.time,
        program: options.program.clone(),
        arguments: options.arguments.clone(),
    };
    let run = || -> Result<Outcome, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Arena::open(plan).await?.run().await })
    };
    run().map_err(|error| format!("{}: {error}", transport.name()))
}
