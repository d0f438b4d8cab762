//! `cargo xtask mutants`: plants kept bugs in a copy of the tree, one at a time, and asks the tests
//! to notice each. A survivor means that a check is missing.
//!
//! A mutant that does not build proves nothing and is an error, as is one whose text is not found
//! exactly once. All mutants share one copy and one target folder, so that each builds little.

mod scratch;
mod table;

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::Outcome;
use scratch::Scratch;
use table::{MUTANTS, Mutant};

/// What to do with which mutants.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Only mutants with this in their names.
    #[arg(long)]
    only: Option<String>,
    /// Shows them and does nothing.
    #[arg(long)]
    list: bool,
}

/// Tests that can be asked, quick ones first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Suite {
    /// A few hundred seeds of the simulator.
    Sim,
    /// The rules of the protocol, each as a story.
    Protocol,
    /// The unit tests of the core.
    Unit,
    /// The async driver under paused time.
    Stable,
    /// What threads do to the queues and wake-ups, under loom.
    Loom,
}

const SUITES: [Suite; 5] = [Suite::Sim, Suite::Protocol, Suite::Unit, Suite::Stable, Suite::Loom];

/// Many times what any suite takes. A test that hangs has noticed something.
const TIMEOUT: Duration = Duration::from_secs(300);

impl Suite {
    fn build(self) -> &'static str {
        match self {
            Self::Sim => "build --package rejoin-tests --bin sim",
            Self::Protocol => "test --no-run --package rejoin-core --test protocol",
            Self::Unit => "test --no-run --package rejoin-core --lib",
            Self::Stable => "test --no-run --package rejoin-core --test stable",
            Self::Loom => "test --no-run --package rejoin-loom --test models",
        }
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Sim => &["--seeds", "500", "--first-failure"],
            _ => &["--quiet"],
        }
    }
}

pub(crate) fn main(options: &Options) -> Outcome {
    let wanted = |mutant: &&Mutant| {
        options.only.as_ref().is_none_or(|part| mutant.name.contains(part.as_str()))
    };
    let mutants: Vec<_> = MUTANTS.iter().filter(wanted).collect();
    if options.list {
        for Mutant { name, file, killer, why, .. } in &mutants {
            println!("{name} ({file}, {killer:?}): {why}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = Scratch::new()?;
    for suite in SUITES {
        if mutants.iter().any(|mutant| mutant.killer == suite) && ask(&scratch, suite)?.is_some() {
            let said = fs::read_to_string(scratch.said())?;
            return Err(format!("{suite:?} fails without any mutant:\n{said}").into());
        }
    }
    let mut survivors = Vec::new();
    for mutant in &mutants {
        let begun = Instant::now();
        let death = kill(&scratch, mutant)?;
        let seconds = begun.elapsed().as_secs_f64();
        match death {
            Some(death) => println!("killed: {} by {death} ({seconds:.0} s)", mutant.name),
            None => {
                println!("SURVIVED: {} ({}): {}", mutant.name, mutant.file, mutant.why);
                survivors.push(mutant.name);
            }
        }
    }
    let killed = mutants.len() - survivors.len();
    if options.json {
        let json = serde_json::json!({
            "mutants": mutants.len(),
            "killed": killed,
            "survivors": survivors,
        });
        println!("{json}");
    } else {
        println!("{killed} of {} mutants killed", mutants.len());
    }
    let all = survivors.is_empty() && !mutants.is_empty();
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gives what has noticed the mutant, if anything has.
fn kill(scratch: &Scratch, mutant: &Mutant) -> Result<Option<String>, Box<dyn std::error::Error>> {
    scratch.plant(mutant)?;
    let others = SUITES.into_iter().filter(|suite| *suite != mutant.killer);
    let mut death = None;
    for suite in std::iter::once(mutant.killer).chain(others) {
        death = ask(scratch, suite).map_err(|error| format!("{}: {error}", mutant.name))?;
        if death.is_some() {
            break;
        }
    }
    scratch.restore(mutant)?;
    Ok(death)
}

/// Builds and runs a suite; gives how it failed, if it did.
fn ask(scratch: &Scratch, suite: Suite) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let program = build(scratch, suite)?;
    let said = fs::File::create(scratch.said())?;
    let mut child = Command::new(program)
        .args(suite.args())
        .current_dir(scratch.tree())
        .env("RUST_BACKTRACE", "0")
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| format!("{suite:?}")));
        }
        if begun.elapsed() > TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("{suite:?}, which did not end")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Builds a suite and gives the program to run.
fn build(scratch: &Scratch, suite: Suite) -> Result<String, Box<dyn std::error::Error>> {
    let output = scratch.cargo(suite.build()).arg("--message-format=json").output()?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stdout);
        let rendered = messages.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let message = &message["message"];
            (message["level"] == "error")
                .then(|| message["rendered"].as_str().map(str::to_owned))?
        });
        let shown: Vec<_> = rendered.collect();
        return Err(format!("{suite:?} does not build:\n{}", shown.join("\n")).into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let program = messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(str::to_owned)
    });
    program.ok_or_else(|| format!("{suite:?} has no program").into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The list must not rot: a mutant that cannot be planted tests nothing.
    #[test]
    fn every_mutant_can_be_planted() {
        let source = crate::process::root();
        for mutant in MUTANTS {
            let text = std::fs::read_to_string(source.join(scratch::path(mutant))).unwrap();
            let found = text.matches(mutant.search).count();
            assert_eq!(found, 1, "`{}` in {}: {}", mutant.search, mutant.file, mutant.name);
            assert_ne!(mutant.search, mutant.replacement, "{}", mutant.name);
            assert!(!mutant.why.is_empty());
        }
        let names: BTreeSet<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len(), "two mutants have one name");
        assert!(names.len() >= 25, "only {} mutants are kept", names.len());
    }
}
