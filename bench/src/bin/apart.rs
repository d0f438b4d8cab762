//! What is measured in a process of its own, because it concerns the whole of a process: what it
//! allocates, how much memory it has, how much it computes. `rejoin-bench` starts it and reads its
//! one line of numbers.
//!
//! Counting slows every allocation down, so the program that measures speed does not do it.

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    #[cfg(unix)]
    return rejoin_bench::apart();
    #[cfg(not(unix))]
    {
        eprintln!("the measurements need the sockets and terminals of Unix");
        ExitCode::FAILURE
    }
}
