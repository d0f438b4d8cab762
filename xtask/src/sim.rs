//! `cargo xtask sim`: builds and runs the simulator of the package `tests`. It adds nothing to the
//! simulator's standard output and ends with its exit code.

use std::ffi::OsString;

use crate::Outcome;
use crate::process::{cargo, exit_code, run};

pub(crate) fn main(args: &[OsString]) -> Outcome {
    let simulator = "run --release --package rejoin-tests --bin sim --";
    let status = run(cargo(simulator.split(' ')).args(args))?;
    Ok(exit_code(status))
}
