//! `cargo xtask fuzz`: throws hostile bytes at whatever reads them. With a nightly compiler and
//! cargo-fuzz that is libFuzzer, guided by coverage and under AddressSanitizer; without, random changes
//! of the kept inputs, which find less. Both use the same targets and start from the same inputs.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use serde_json::{Value, json};

use crate::Outcome;
use crate::process::{cargo, output, root, run, run_stderr_lines};

/// What to fuzz, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One target; all of them, one after the other, if there is none.
    #[arg(long)]
    target: Option<String>,
    /// How long each target is run.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Does without libFuzzer also where it is there.
    #[arg(long)]
    mutate: bool,
}

pub(crate) fn main(options: &Options) -> Outcome {
    let targets: Vec<_> = targets()?
        .into_iter()
        .filter(|target| options.target.as_ref().is_none_or(|wanted| wanted == target))
        .collect();
    if targets.is_empty() {
        return Err("there is no such target".into());
    }
    let guided = !options.mutate && has_cargo_fuzz();
    if !guided {
        eprintln!("without nightly and cargo-fuzz: random changes, not guided by coverage");
    }
    let seconds = std::time::Duration::try_from_secs_f64(options.minutes * 60.0)?.as_secs();
    let mut reports = Vec::new();
    for target in &targets {
        reports.push(if guided { guide(target, seconds)? } else { mutate(target, seconds)? });
    }
    let failures: u64 = reports.iter().filter_map(|report| report["failures"].as_u64()).sum();
    if options.json {
        println!("{}", json!({ "targets": reports, "failures": failures }));
    } else {
        for report in &reports {
            println!("{report}");
        }
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those that have kept inputs.
fn targets() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("tests/fuzz/corpus"))? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The nightly cargo. A `cargo` that rustup has not chosen knows no `+nightly`.
fn nightly<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(root()).args(["run", "nightly", "cargo"]).args(args);
    command
}

fn has_cargo_fuzz() -> bool {
    let mut version = nightly(["fuzz", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Runs libFuzzer. What it finds new is kept below `target`, not beside the kept inputs.
fn guide(target: &str, seconds: u64) -> Result<Value, Box<dyn std::error::Error>> {
    let found = root().join("tests/fuzz/target/corpus").join(target);
    fs::create_dir_all(&found)?;
    let mut command = nightly(["fuzz", "run", "--fuzz-dir", "tests/fuzz", target]);
    command.arg(found).arg(root().join("tests/fuzz/corpus").join(target)).args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-print_final_stats=1",
        "-timeout=20",
        "-max_len=4096",
    ]);
    let mut totals = Totals::default();
    let status = run_stderr_lines(&mut command, |line| totals.read(line))?;
    Ok(json!({
        "engine": "libFuzzer",
        "target": target,
        "executions": totals.executions,
        "seconds": seconds,
        "edges": totals.edges,
        "features": totals.features,
        "failures": u64::from(!status.success()),
    }))
}

fn mutate(target: &str, seconds: u64) -> Result<Value, Box<dyn std::error::Error>> {
    let build = "build --release --package rejoin-tests --features fuzz --bin mutate";
    if !run(&mut cargo(build.split(' ')))?.success() {
        return Err("the mutator does not build".into());
    }
    let seconds = seconds.to_string();
    let mut command = cargo(build.replacen("build", "run --quiet", 1).split(' '));
    command.args(["--", "--target", target, "--seconds", &seconds]);
    // It says that it has failed and then fails; what it says is enough.
    let said = output(&mut command);
    let failed = json!({ "engine": "mutations", "target": target, "failures": 1 });
    Ok(said.ok().and_then(|said| serde_json::from_str(said.trim()).ok()).unwrap_or(failed))
}

/// What libFuzzer has said so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    executions: u64,
    edges: u64,
    features: u64,
}

impl Totals {
    fn read(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let total = match word {
                "stat::number_of_executed_units:" => &mut self.executions,
                "cov:" => &mut self.edges,
                "ft:" => &mut self.features,
                _ => continue,
            };
            *total = words.next().and_then(|word| word.parse().ok()).unwrap_or(*total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libfuzzer_says() {
        let mut totals = Totals::default();
        for line in [
            "INFO: seed corpus: files: 3 min: 1b max: 25b total: 51b rss: 33Mb",
            "#4\tINITED cov: 120 ft: 130 corp: 3/51b exec/s: 0 rss: 34Mb",
            "#99\tDONE   cov: 150 ft: 180 corp: 9/99b lim: 4096 exec/s: 9 rss: 34Mb",
            "stat::number_of_executed_units: 99",
            "stat::average_exec_per_sec:     9",
        ] {
            totals.read(line);
        }
        assert_eq!(totals, Totals { executions: 99, edges: 150, features: 180 });
    }

    #[test]
    fn every_target_has_a_program_and_a_corpus() {
        let table = fs::read_to_string(root().join("tests/src/fuzz/mod.rs"));
        let table = table.expect("it is part of the workspace");
        let programs = fs::read_to_string(root().join("tests/fuzz/Cargo.toml"));
        let programs = programs.expect("it is part of the tree");
        let targets = targets().expect("it is part of the tree");
        for target in &targets {
            assert!(table.contains(&format!("name: \"{target}\"")), "{target}");
            assert!(programs.contains(&format!("name = \"{target}\"")), "{target}");
        }
        assert_eq!(table.matches("Target { name: ").count(), targets.len());
        assert_eq!(programs.matches("[[bin]]").count(), targets.len());
    }
}
