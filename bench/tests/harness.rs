//! The measurements themselves, with some hundred messages each: that every case still runs, checks
//! what arrives, and says what it should. Nothing here is about speed.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rejoin-bench")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    std::str::from_utf8(&output.stdout).unwrap()
}

fn last_line(output: &Output) -> Value {
    serde_json::from_str(stdout(output).lines().last().unwrap()).unwrap()
}

#[test]
fn every_case_runs_and_gives_figures() {
    let listed = bench(&["--tiny", "--list"]);
    let titles: Vec<_> = stdout(&listed).lines().collect();
    let output = bench(&["--tiny", "--json"]);
    let results = last_line(&output);
    let results = results.as_array().unwrap();
    let text = |result: &Value, field: &str| result[field].as_str().unwrap().to_owned();
    let measured: Vec<_> =
        results.iter().map(|it| format!("{}, {}", text(it, "case"), it["size"])).collect();
    assert_eq!(measured, titles);
    assert!(titles.len() >= 19, "{titles:?}");
    for result in results {
        assert!(!text(result, "unit").is_empty());
        let may_be_zero = text(result, "case").starts_with("allocations");
        let ours = result["ours"].as_f64();
        assert!(ours.is_some_and(|ours| ours > 0.0 || may_be_zero), "{result}");
        let (baseline, ratio) = (result["baseline"].as_f64(), result["ratio"].as_f64());
        assert_eq!(baseline.is_some(), ratio.is_some(), "{result}");
        assert!(baseline.is_none_or(|baseline| baseline > 0.0), "{result}");
    }
    // What the process beside this one counted; zero if its allocator no longer does.
    let heap = results.iter().find(|it| text(it, "case").starts_with("heap")).unwrap();
    assert!(heap["ours"].as_f64().is_some_and(|bytes| bytes > 256.0), "{heap}");
}

#[test]
fn only_what_was_asked_for_is_measured() {
    let output = bench(&["--tiny", "--json", "--only", "both ways"]);
    let results = last_line(&output);
    assert_eq!(results.as_array().unwrap().len(), 1);
    assert_eq!(results[0]["case"], "both ways at once, TCP");
    assert!(stdout(&output).contains("load average"));
}

#[test]
fn a_case_that_does_not_exist_is_an_error() {
    let output = bench(&["--tiny", "--only", "carrier pigeon"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no case has such a name"));
}
