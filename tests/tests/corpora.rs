//! The kept inputs of the fuzzers, on any compiler: each does what it did, at a cost that is in
//! proportion to it.
//!
//! A test binary with a single test, because it counts every allocation in the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rejoin_tests::fuzz::{ALLOCATOR, Guard, TARGETS};
use stats_alloc::StatsAlloc;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = ALLOCATOR;

#[test]
fn every_kept_input_does_no_harm() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut failed = Vec::new();
    for target in TARGETS {
        let guard = Guard::new(target);
        guard.run(&[]);
        let inputs = files(&corpora.join(target.name));
        assert!(inputs.len() >= 5, "{} has {} kept inputs", target.name, inputs.len());
        for file in inputs {
            let input = std::fs::read(&file).unwrap();
            // The panic says what is wrong, and this where.
            if catch_unwind(AssertUnwindSafe(|| guard.run(&input))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
