//! `cargo xtask test`: every test of the workspace with plain `cargo test`, all features on, then the totals alone
//! on the last line.
//!
//! All binaries run even after one failed; only a build error ends the run early. Benchmarks are
//! not run here.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::Outcome;
use crate::process::{cargo, run, run_lines};

pub(crate) fn main() -> Outcome {
    let tally = run_all()?;
    println!("{tally}");
    Ok(if tally.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every test, with all features: they only add. That everything builds without them is a
/// lint of `cargo xtask ci`.
pub(crate) fn run_all() -> Result<Tally, Box<dyn Error>> {
    let mut tally = Tally::default();
    let cargo_test = |last: &str| cargo(["test", "--workspace", "--all-features", last]);
    if !run(&mut cargo_test("--no-run"))?.success() {
        return Err("the tests do not build".into());
    }
    let status = run_lines(&mut cargo_test("--no-fail-fast"), |line| {
        tally.read(line);
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.flush()
    })?;
    tally.end_of_binary();
    if !status.success() && tally.failed == 0 {
        // Something failed that does not speak libtest's language; it must not pass as nothing.
        tally.failed += 1;
    }
    Ok(tally)
}

/// What libtest said so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// A binary has said that it begins, and not yet how it ended.
    running: bool,
}

impl Tally {
    /// Whether something ran and nothing failed.
    pub(crate) fn good(&self) -> bool {
        self.passed > 0 && self.failed == 0
    }

    /// Takes a line of what libtest says.
    pub(crate) fn read(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["running", count, "test" | "tests"] if count.parse::<u64>().is_ok() => {
                self.end_of_binary();
                self.running = true;
            }
            ["test", "result:", ..] => {
                self.passed += count_before(&words, "passed;");
                self.failed += count_before(&words, "failed;");
                self.running = false;
            }
            _ => {}
        }
    }

    /// A binary that began and gave no result died on the way: that is one failure.
    fn end_of_binary(&mut self) {
        self.failed += u64::from(std::mem::take(&mut self.running));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

fn count_before(words: &[&str], label: &str) -> u64 {
    words
        .windows(2)
        .find(|pair| pair[1] == label)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, expected: &str, good: bool) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally.end_of_binary();
        assert_eq!((tally.to_string().as_str(), tally.good()), (expected, good));
    }

    const GOOD: &str = "\nrunning 3 tests\ntest a ... ok\n\n\
        test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";

    #[test]
    fn adds_up_all_binaries() {
        check(GOOD, "3 passed, 0 failed", true);
        check(&format!("{GOOD}{GOOD}"), "6 passed, 0 failed", true);
        let bad =
            "running 3 tests\ntest result: \x1b[31mFAILED\x1b[0m. 1 passed; 2 failed; 0 ignored";
        check(&format!("{bad}\n{GOOD}"), "4 passed, 2 failed", false);
    }

    #[test]
    fn counts_the_trials_of_a_binary_with_a_main_of_its_own() {
        let trials = "\nrunning 3 tests\ntest link::order       ... ok\n\
            test link::send_progress ... ignored (running 2 tests is no news)\n\
            test stable::roaming     ... FAILED\n\nfailures:\n\n---- stable::roaming ----\nhangs\n\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.06s\n";
        check(trials, "1 passed, 1 failed", false);
    }

    #[test]
    fn a_binary_that_dies_without_a_result_is_a_failure() {
        check("running 1 test\n", "0 passed, 1 failed", false);
        check(&format!("running 2 tests\ntest a ... ok\n{GOOD}"), "3 passed, 1 failed", false);
    }

    #[test]
    fn no_test_at_all_is_not_good() {
        check("", "0 passed, 0 failed", false);
        check("test running ... ok\n", "0 passed, 0 failed", false);
    }
}
