//! Runs seeds of the protocol's simulation, or one again: `cargo xtask sim`.
//!
//! Prints the shortest failing run found for each failing seed, then a summary.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rejoin_tests::sim::{Batch, Stats, run_seed, run_seeds};

/// Simulates sessions under faults.
#[derive(Debug, Parser)]
struct Options {
    /// How many runs.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed; alone, only this one is run.
    #[arg(long)]
    seed: Option<u64>,
    /// How many threads; as many as there are processors unless told.
    #[arg(long)]
    threads: Option<usize>,
    /// Stops at the first failure, and shows it as it is.
    #[arg(long)]
    first_failure: bool,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

const FAILURES_MAX: usize = 5;

fn main() -> ExitCode {
    let only_seed = std::env::args().all(|argument| !argument.starts_with("--seeds"));
    let options = Options::parse();
    let started = Instant::now();
    let (stats, failures) = match options.seed {
        Some(seed) if only_seed => {
            let mut stats = Stats::default();
            stats.seeds = 1;
            let failure = run_seed(seed, !options.first_failure, &mut stats).err();
            (stats, failure.into_iter().collect())
        }
        first => {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = options.threads.unwrap_or(processors);
            run_seeds(Batch {
                first: first.unwrap_or(0),
                count: options.seeds,
                threads,
                failures_max: if options.first_failure { 1 } else { FAILURES_MAX },
                shrink: !options.first_failure,
            })
        }
    };
    for failure in &failures {
        println!("{failure}");
    }
    eprintln!("{:.1} s, {stats:#?}", started.elapsed().as_secs_f64());
    if options.json {
        println!(
            "{{\"seeds\":{},\"failures\":{},\"sessions\":{},\"messages\":{},\"link_failures\":{},\"resumes\":{}}}",
            stats.seeds,
            stats.failures,
            stats.sessions,
            stats.messages,
            stats.link_failures,
            stats.resumes
        );
    } else {
        println!(
            "{} seeds, {} failures: {} sessions, {} messages, {} link failures, {} resumes",
            stats.seeds,
            stats.failures,
            stats.sessions,
            stats.messages,
            stats.link_failures,
            stats.resumes
        );
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
