//! What no input may cost, whatever it does: memory out of proportion, or time. Both count only in a
//! program that has [`ALLOCATOR`] for its allocator and runs one input at a time.

use std::alloc::System;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use super::Target;

/// Counts what is allocated; to be the allocator of the program.
pub static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs the inputs of one target.
#[derive(Debug)]
pub struct Guard {
    target: Target,
}

impl Guard {
    /// Many times what any input takes, also with sanitizers on a busy machine.
    const TIME_MAX: Duration = Duration::from_secs(10);

    /// A guard over `target`.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    /// Runs one input.
    ///
    /// # Panics
    ///
    /// When the target does, or when the input costs too much.
    pub fn run(&self, input: &[u8]) {
        let bytes_max = self.target.slack_bytes + self.target.factor * input.len();
        let mut allocated = 0;
        // Twice, because there are things that are made once and kept, such as what Facet knows of a
        // type.
        for _ in 0..2 {
            let start = Instant::now();
            let region = Region::new(ALLOCATOR);
            (self.target.run)(input);
            allocated = region.change().bytes_allocated;
            let took = start.elapsed();
            assert!(took < Self::TIME_MAX, "an input took {took:?}");
            if allocated <= bytes_max {
                return;
            }
        }
        panic!("{allocated} bytes were allocated for {} of input", input.len());
    }
}
