//! `cargo xtask soak`: builds and runs the soak of the package `tests`. It adds nothing to that
//! program's standard output and ends with its exit code.

use std::ffi::OsString;

use crate::Outcome;
use crate::process::{cargo, exit_code, run};

pub(crate) fn main(args: &[OsString]) -> Outcome {
    let program = "run --release --package rejoin-tests --features faults --bin soak --";
    let status = run(cargo(program.split(' ')).args(args))?;
    Ok(exit_code(status))
}
