//! `cargo xtask ci`: all that a change has to pass, in one list. `.ci/run` calls it.
//!
//! A failed step does not hide the ones after it, except that nothing can follow a broken build.

use std::process::{Command, ExitCode};

use crate::process::{cargo, run};
use crate::{Outcome, test};

pub(crate) fn main() -> Outcome {
    let tally = test::run_all()?;
    let mut failed = Vec::new();
    if !tally.good() {
        failed.push("test");
    }
    for (name, mut command) in lints() {
        if !run(&mut command)?.success() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
    }
    println!("{tally}");
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lints() -> [(&'static str, Command); 5] {
    let clippy = "clippy --workspace --all-targets --all-features -- -D warnings";
    let mut doc = cargo("doc --workspace --no-deps --all-features".split(' '));
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    [
        ("default features", cargo("check --workspace".split(' '))),
        ("fmt", cargo("fmt --all --check".split(' '))),
        ("clippy", cargo(clippy.split(' '))),
        ("doc", doc),
        ("tidy", cargo(["xtask", "tidy"])),
    ]
}
