//! Measures what a conduit costs over its own link, side by side with the same work done without a
//! conduit. `cargo xtask bench` runs it; `docs/benchmarks.md` says what the cases are.
//!
//! A library only so that its two programs and its test share it. It has no figures of its own:
//! those belong to the machine and the moment in which they were taken.

#![cfg(unix)]

mod allocations;
mod apart;
mod args;
mod cases;
mod content;
mod endpoints;
mod machine;
mod measure;
mod report;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::machine::Machine;

/// What goes wrong in a measurement, which is then worth nothing.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the cases that the command line asks for and tells what they gave.
pub fn bench() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does one part of a case in this process and prints its numbers.
pub fn apart() -> ExitCode {
    match apart::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    machine::raise_file_limit();
    let effort = args.effort();
    let mut cases = cases::all(effort);
    cases.retain(|case| args.wants(case.name));
    if cases.is_empty() {
        return Err("no case has such a name".into());
    }
    if args.list {
        cases.iter().for_each(|case| println!("{}", case.title()));
        return Ok(ExitCode::SUCCESS);
    }
    let machine = Machine::now();
    println!("{machine}, {}", effort.describe());
    let mut results = Vec::new();
    let mut failed = false;
    for case in cases {
        eprintln!("measuring {}", case.title());
        let title = case.title();
        match measure::measure(case, effort) {
            Ok(result) => results.push(result),
            Err(error) => {
                eprintln!("FAILED: {title}: {error}");
                failed = true;
            }
        }
    }
    print!("{}", table::plain(&results));
    println!("load average afterwards: {:.2}", Machine::now().load);
    if args.report {
        report::write(&results, &machine, effort)?;
    }
    if args.json {
        println!("{}", table::json(&results));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
