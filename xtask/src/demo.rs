//! `cargo xtask demo`: builds and runs the story `survive` of the examples. It adds nothing to the
//! story's standard output and ends with its exit code.

use std::ffi::OsString;

use crate::Outcome;
use crate::process::{cargo, exit_code, run};

pub(crate) fn main(args: &[OsString]) -> Outcome {
    let story = "run --release --package rejoin-examples --bin survive --";
    let status = run(cargo(story.split(' ')).args(args))?;
    Ok(exit_code(status))
}
