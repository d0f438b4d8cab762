//! `cargo xtask bench`: builds and runs the measurements of the package `bench`, or with `--peers`
//! those of what users would pick instead. It adds nothing to their standard output and ends with
//! their exit code.

use std::ffi::OsString;

use crate::Outcome;
use crate::process::{cargo, exit_code, run};

pub(crate) fn main(args: &[OsString]) -> Outcome {
    let (peers, args): (Vec<_>, Vec<_>) = args.iter().partition(|arg| *arg == "--peers");
    let program = if peers.is_empty() {
        // With the program that it starts, which `cargo run` alone would not build.
        let build = "build --release --package rejoin-bench --all-features --bins";
        let status = run(&mut cargo(build.split(' ')))?;
        if !status.success() {
            return Ok(exit_code(status));
        }
        "run --release --package rejoin-bench --all-features --bin rejoin-bench --"
    } else {
        "run --release --manifest-path bench/peers/Cargo.toml --"
    };
    let status = run(cargo(program.split(' ')).args(args))?;
    Ok(exit_code(status))
}
