//! A simulator of the protocol: many sessions, an acceptor's table and links that do everything that
//! links do, over `rejoin_core::protocol` alone, under virtual time. `cargo xtask sim` and the tests
//! share it. No sockets, no runtime: the async driver has its own tests.
//!
//! A seed makes a plan (`plan.rs`), and the plan is the whole run. Faults happen, then they stop, and then
//! everything must arrive, be acknowledged and close. A plan that fails is made smaller for as long
//! as it goes on failing (`shrink.rs`).

mod act;
mod check;
mod events;
mod greet;
mod plan;
pub(crate) mod rng;
mod shrink;
mod side;
mod stats;
mod wire;
mod world;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Instant;

pub use stats::Stats;

use plan::{Plan, SECOND};
use world::{Checked, World};

/// Returns a message from a checker unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
use ensure;

/// A run that broke a rule.
#[derive(Debug)]
pub struct Failure {
    /// Makes the run happen again.
    pub seed: u64,
    /// Which rule, in words.
    pub message: String,
    /// The shortest run found that breaks a rule: its setting, what happened and what came of it.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.message)?;
        f.write_str(&self.trace)
    }
}

/// Which seeds to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// On how many threads.
    pub threads: usize,
    /// After how many failures to stop.
    pub failures_max: usize,
    /// Whether to look for the shortest run that fails, which takes some seconds.
    pub shrink: bool,
}

/// Runs a batch of seeds. The counts are of those that were run, which are all unless some failed.
#[must_use]
pub fn run_seeds(batch: Batch) -> (Stats, Vec<Failure>) {
    let Batch { first, count, threads, failures_max, shrink } = batch;
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let results = Mutex::new((Stats::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut stats = Stats::default();
                while !enough.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    stats.seeds += 1;
                    if let Err(failure) = run_seed(first.wrapping_add(index), shrink, &mut stats) {
                        let mut results = results.lock().expect("no checker panics here");
                        results.1.push(failure);
                        enough.fetch_or(results.1.len() >= failures_max, Ordering::Relaxed);
                    }
                }
                results.lock().expect("no checker panics here").0.add(&stats);
            });
        }
    });
    results.into_inner().expect("no checker panics here")
}

/// Runs one seed; if told to shrink, a failure comes with the shortest run that fails.
///
/// # Errors
///
/// When the run breaks a rule.
pub fn run_seed(seed: u64, shrink: bool, stats: &mut Stats) -> Result<(), Failure> {
    let plan = Plan::new(seed);
    let report = run(&plan, false);
    stats.add(&report.stats);
    let Some(message) = report.failure else { return Ok(()) };
    stats.failures += 1;
    let plan = if shrink { shrink::shrink(plan, &message) } else { plan };
    let report = run(&plan, true);
    let shortest = report.failure.unwrap_or_default();
    let trace = format!("{plan}\n{}\n=> {shortest}\n", abridged(&report.trace));
    Err(Failure { seed, message, trace })
}

/// The end of a trace says what is wrong and its beginning why; between them the rule may be waited
/// for in vain for a long time.
fn abridged(trace: &[String]) -> String {
    const FIRST: usize = 200;
    const LAST: usize = 20;
    let Some(left_out) = trace.len().checked_sub(FIRST + LAST).filter(|lines| *lines > 0) else {
        return trace.join("\n");
    };
    let (first, last) = (trace[..FIRST].join("\n"), trace[FIRST + left_out..].join("\n"));
    format!("{first}\n  ({left_out} lines left out)\n{last}")
}

/// What a run came to.
struct Report {
    failure: Option<String>,
    stats: Stats,
    trace: Vec<String>,
}

fn run(plan: &Plan, traced: bool) -> Report {
    let mut world = World::new(plan, Instant::now(), traced);
    let outcome = quietly(|| run_world(plan, &mut world));
    let mut stats = world.stats;
    stats.note_sides(&world);
    Report { failure: outcome.err(), stats, trace: world.take_trace() }
}

fn run_world(plan: &Plan, world: &mut World) -> Checked {
    for op in &plan.ops {
        world.act(*op)?;
    }
    world.heal()?;
    world.settle()?;
    let undisturbed = plan.closes_are_undisturbed();
    if undisturbed {
        // Links that died in silence are found out before the last words are said.
        world.run_for(25 * SECOND)?;
        world.settle()?;
        world.check_promptness()?;
    }
    let living: Vec<_> =
        (0..world.sides.len()).map(|number| !world.sides[number].is_over()).collect();
    for op in &plan.closes {
        world.act(*op)?;
    }
    world.close_all()?;
    world.heal()?;
    world.settle()?;
    world.run_out()?;
    for client in 0..plan.setups.len() {
        world.check_rejection(client)?;
        let Some(peer) = world.partner(client) else { continue };
        let sides = [&world.sides[client], &world.sides[peer]];
        let lived = living[client] && living.get(peer) == Some(&true);
        if undisturbed && lived && !sides[0].base {
            ensure!(
                sides.iter().all(|side| side.has_closed()),
                "nothing disturbed the close of session {client}, but: {:?}",
                sides.map(|side| &side.ending)
            );
        }
        for side in sides {
            // CLOSE-3: who is told that the close was confirmed is told the truth.
            let confirmed = !side.close_confirmed
                || world.sides[side.peer.unwrap_or(client)].received == side.sent;
            ensure!(confirmed, "a close of session {client} was confirmed before all had come");
        }
        world.stats.last_words_lost +=
            sides.iter().filter(|side| side.is_lost() && lived).count() as u64;
    }
    Ok(())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a check; a panic in it is a failure like any other, and prints nothing.
fn quietly(check: impl FnOnce() -> Checked) -> Checked {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(check));
    QUIET.set(false);
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("no message")))
    })
}
