//! `cargo xtask chaos`: builds and runs the run of real faults of the package `tests`. It adds nothing to that
//! program's standard output and ends with its exit code.

use std::ffi::OsString;

use crate::Outcome;
use crate::process::{cargo, exit_code, run};

pub(crate) fn main(args: &[OsString]) -> Outcome {
    let program = "run --release --package rejoin-tests --features faults --bin chaos --";
    let status = run(cargo(program.split(' ')).args(args))?;
    Ok(exit_code(status))
}
