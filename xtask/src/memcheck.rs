//! `cargo xtask memcheck`: the tests of the one module with `unsafe` code, under AddressSanitizer where
//! there is a nightly compiler, and under valgrind otherwise.

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::process::{cargo, output, root, run_lines};
use crate::test::Tally;

/// What the tests of the module have in their names.
const MODULE: &str = "selfref";

pub(crate) fn main() -> Outcome {
    let target = host()?;
    // The sanitizer is there for Linux and macOS; elsewhere the build says so.
    if has_nightly() {
        let mut command = Command::new("rustup");
        command
            .current_dir(root())
            .args(["run", "nightly", "cargo", "test", "--package", "rejoin-core", "--lib"])
            .args(["--target", &target, "--target-dir", "target/memcheck", MODULE])
            .env("RUSTFLAGS", "-Zsanitizer=address");
        return run_tests(&mut command);
    }
    let mut build = cargo(["test", "--no-run", "--package", "rejoin-core", "--lib"]);
    let built = output(build.arg("--message-format=json"))?;
    let Some(tests) = executable(&built) else { return Err("there are no tests to run".into()) };
    let mut valgrind = Command::new("valgrind");
    // One thread at a time is all that valgrind runs.
    valgrind.args(["--error-exitcode=1", "--quiet", &tests, MODULE, "--test-threads=1"]);
    run_tests(valgrind.current_dir(root()))
}

/// Runs tests, of which there must be some: a name that is not theirs any more would check nothing.
fn run_tests(command: &mut Command) -> Outcome {
    let mut tally = Tally::default();
    let status = run_lines(command, |line| {
        tally.read(line);
        io::stdout().lock().write_all(line.as_bytes())
    })?;
    Ok(if status.success() && tally.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn has_nightly() -> bool {
    let mut version = Command::new("rustup");
    version.args(["run", "nightly", "rustc", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// What this compiler builds for; a sanitizer has to be told, so that it leaves build scripts alone.
fn host() -> Result<String, Box<dyn std::error::Error>> {
    let version = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc names no host".into())
}

/// The program that cargo has built, of what it says.
fn executable(said: &str) -> Option<String> {
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(str::to_owned)).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_among_what_cargo_says() {
        let said = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"deps/core-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(said).as_deref(), Some("deps/core-1"));
        assert_eq!(executable(""), None);
    }
}
