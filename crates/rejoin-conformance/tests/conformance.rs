//! The memory transport passes its own suite.

mod memory;

use std::process::ExitCode;

fn main() -> ExitCode {
    rejoin_conformance::main(memory::Memory)
}
