//! `cargo xtask conformance`: the conformance suite over every transport that has a test for it, and
//! a matrix of trials and transports.
//!
//! A transport takes part by having a test called `conformance`, or `conformance_` and more, as
//! `rejoin-conformance` tells how to write. Nothing is listed here.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};

use clap::Args;
use serde_json::{Value, json};

use crate::Outcome;
use crate::process::{cargo, output, run, run_lines};

/// What the command takes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Prints the results as one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(options: &Options) -> Outcome {
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    let suites = suites(&serde_json::from_str(&metadata)?);
    if suites.is_empty() {
        return Err("no package has a conformance test".into());
    }
    for suite in &suites {
        if !run(suite.command().arg("--no-run"))?.success() {
            return Err("the tests do not build".into());
        }
    }
    let mut matrix = Matrix::default();
    for suite in &suites {
        matrix.add(run_suite(suite)?);
    }
    print!("{}", matrix.table());
    println!("{}", if options.json { matrix.json().to_string() } else { matrix.totals() });
    Ok(if matrix.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A test that runs the suite over one transport.
#[derive(Debug, PartialEq, Eq)]
struct Suite {
    package: String,
    test: String,
    /// Those that it does not build without.
    features: Vec<String>,
}

/// The conformance tests of a workspace, by its metadata.
fn suites(metadata: &Value) -> Vec<Suite> {
    let mut suites = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            let is_test = list(&target["kind"]).iter().any(|kind| kind == "test");
            let name = target["name"].as_str().unwrap_or_default();
            if is_test && (name == "conformance" || name.starts_with("conformance_")) {
                let package = package["name"].as_str().unwrap_or_default().to_owned();
                let features = list(&target["required-features"]).iter().filter_map(Value::as_str);
                let features = features.map(str::to_owned).collect();
                suites.push(Suite { package, test: name.to_owned(), features });
            }
        }
    }
    suites.sort_by(|a, b| (&a.package, &a.test).cmp(&(&b.package, &b.test)));
    suites
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How the trials of one transport went.
#[derive(Debug, Default)]
struct Column {
    transport: String,
    /// In the order in which they ended.
    cells: Vec<(String, Cell)>,
    /// The test ended badly for another reason than a trial.
    broken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Pass,
    Skip(String),
    Fail,
}

fn run_suite(suite: &Suite) -> Result<Column, Box<dyn Error>> {
    let mut command = suite.command();
    // The lines are read here, and the trials are run as they are by `cargo test`.
    command.args(["--", "--color", "never"]);
    let mut column = Column { transport: suite.transport(), ..Column::default() };
    let status = run_lines(&mut command, |line| {
        match cell(line) {
            Some(cell) => column.cells.push(cell),
            // What a failed trial has to say.
            None => print!("{line}"),
        }
        Ok(())
    })?;
    column.broken = !status.success() && !column.cells.iter().any(|(_, cell)| *cell == Cell::Fail);
    Ok(column)
}

impl Suite {
    /// Runs it, unless more is added.
    fn command(&self) -> Command {
        let mut command = cargo(["test", "--package", &self.package, "--test", &self.test]);
        for feature in &self.features {
            command.args(["--features", feature]);
        }
        command
    }

    /// What the transport is called: the package without what all packages are called, and what
    /// tells one of its tests from another.
    fn transport(&self) -> String {
        let package = self.package.strip_prefix("rejoin-").unwrap_or(&self.package);
        // The suite's own crate tests the transport of the core.
        let package = if package == "conformance" { "memory" } else { package };
        match self.test.strip_prefix("conformance_") {
            // An example is called by its own name.
            Some(variant) if package == "examples" => variant.to_owned(),
            Some(variant) => format!("{package} {variant}"),
            None => package.to_owned(),
        }
    }
}

/// What one line of a test's output says of a trial.
fn cell(line: &str) -> Option<(String, Cell)> {
    let (name, outcome) = line.trim_end().strip_prefix("test ")?.split_once(" ... ")?;
    let cell = match outcome {
        "ok" => Cell::Pass,
        "FAILED" => Cell::Fail,
        outcome => {
            let reason = outcome.strip_prefix("ignored")?.trim();
            Cell::Skip(reason.trim_start_matches('(').trim_end_matches(')').to_owned())
        }
    };
    Some((name.trim().to_owned(), cell))
}

/// All trials of all transports.
#[derive(Debug, Default)]
struct Matrix {
    columns: Vec<Column>,
}

impl Matrix {
    fn add(&mut self, column: Column) {
        self.columns.push(column);
    }

    /// Whether something ran and nothing failed, for each transport.
    fn good(&self) -> bool {
        let is_good = |column: &Column| {
            let passed = column.cells.iter().any(|(_, cell)| *cell == Cell::Pass);
            passed && !column.broken && !column.cells.iter().any(|(_, cell)| *cell == Cell::Fail)
        };
        !self.columns.is_empty() && self.columns.iter().all(is_good)
    }

    /// The names of all trials, by layer.
    fn trials(&self) -> Vec<&str> {
        let mut trials: Vec<&str> = self
            .columns
            .iter()
            .flat_map(|column| column.cells.iter().map(|(name, _)| name.as_str()))
            .collect();
        trials.sort_unstable();
        trials.dedup();
        trials
    }

    fn count(&self, wanted: fn(&Cell) -> bool) -> usize {
        self.columns
            .iter()
            .flat_map(|column| &column.cells)
            .filter(|(_, cell)| wanted(cell))
            .count()
    }

    fn totals(&self) -> String {
        format!(
            "{} transports: {} passed, {} skipped, {} failed",
            self.columns.len(),
            self.count(|cell| *cell == Cell::Pass),
            self.count(|cell| matches!(cell, Cell::Skip(_))),
            self.count(|cell| *cell == Cell::Fail)
                + self.columns.iter().filter(|column| column.broken).count(),
        )
    }

    /// A row for each trial, a column for each transport, and the reasons of the skips below.
    fn table(&self) -> String {
        const CELL: usize = "skip 99".len();
        let width = self.trials().iter().map(|name| name.len()).max().unwrap_or(0);
        let mut notes: Vec<&str> = Vec::new();
        let mut table = format!("\n{:width$}", "");
        for column in &self.columns {
            table.push_str(&format!("  {:CELL$}", column.transport));
        }
        table.push('\n');
        for trial in self.trials() {
            table.push_str(&format!("{trial:width$}"));
            for column in &self.columns {
                let found = column.cells.iter().find(|(name, _)| name == trial);
                let shown = match found.map(|(_, cell)| cell) {
                    None => "-".to_owned(),
                    Some(Cell::Pass) => "pass".to_owned(),
                    Some(Cell::Fail) => "FAIL".to_owned(),
                    Some(Cell::Skip(reason)) => {
                        let known = notes.iter().position(|note| note == reason);
                        let number = known.unwrap_or_else(|| {
                            notes.push(reason);
                            notes.len() - 1
                        });
                        format!("skip {}", number + 1)
                    }
                };
                let space = column.transport.len().max(CELL);
                table.push_str(&format!("  {shown:space$}"));
            }
            table.push('\n');
        }
        for (number, note) in (1..).zip(notes) {
            table.push_str(&format!("skip {number}: {note}\n"));
        }
        for column in self.columns.iter().filter(|column| column.broken) {
            table.push_str(&format!("{}: the test failed, and no trial did\n", column.transport));
        }
        table
    }

    fn json(&self) -> Value {
        let transports: BTreeMap<_, _> = self
            .columns
            .iter()
            .map(|column| {
                let trials: BTreeMap<_, _> = column
                    .cells
                    .iter()
                    .map(|(name, cell)| {
                        let value = match cell {
                            Cell::Pass => json!({ "outcome": "pass" }),
                            Cell::Fail => json!({ "outcome": "fail" }),
                            Cell::Skip(reason) => json!({ "outcome": "skip", "reason": reason }),
                        };
                        (name, value)
                    })
                    .collect();
                (&column.transport, trials)
            })
            .collect();
        json!({
            "passed": self.count(|cell| *cell == Cell::Pass),
            "skipped": self.count(|cell| matches!(cell, Cell::Skip(_))),
            "failed": self.count(|cell| *cell == Cell::Fail)
                + self.columns.iter().filter(|column| column.broken).count(),
            "good": self.good(),
            "transports": transports,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tests_of_transports_only() {
        let metadata = json!({ "packages": [
            { "name": "rejoin-tcp", "targets": [
                {
                    "name": "conformance_tls",
                    "kind": ["test"],
                    "required-features": ["tls"],
                },
                { "name": "conformance", "kind": ["test"] },
                { "name": "tcp", "kind": ["test"] },
            ]},
            { "name": "rejoin-conformance", "targets": [
                { "name": "conformance", "kind": ["lib"] },
                { "name": "conformance", "kind": ["test"] },
            ]},
            { "name": "rejoin-examples", "targets": [
                { "name": "conformance_custom_link", "kind": ["test"] },
            ]},
        ]});
        let suites = suites(&metadata);
        let names: Vec<_> = suites.iter().map(Suite::transport).collect();
        assert_eq!(names, ["memory", "custom_link", "tcp", "tcp tls"]);
        assert!(suites[2].features.is_empty());
        assert_eq!(suites[3].features, ["tls"], "or it is not built");
    }

    #[test]
    fn reads_what_a_test_prints() {
        let skip = Cell::Skip("no (such) thing".into());
        for (line, expected) in [
            ("test link::order   ... ok\n", Some(("link::order", Cell::Pass))),
            ("test link::order ... FAILED\n", Some(("link::order", Cell::Fail))),
            ("test a ... ignored (no (such) thing)\n", Some(("a", skip))),
            ("test result: ok. 1 passed; 0 failed\n", None),
            ("running 2 tests\n", None),
        ] {
            let expected = expected.map(|(name, cell)| (name.to_owned(), cell));
            assert_eq!(cell(line), expected, "{line}");
        }
    }

    fn matrix(outcomes: &[&str]) -> Matrix {
        let cells =
            outcomes.iter().filter_map(|outcome| cell(&format!("test t ... {outcome}"))).collect();
        Matrix { columns: vec![Column { transport: "tcp".into(), cells, broken: false }] }
    }

    #[test]
    fn is_good_when_each_transport_passes_something_and_fails_nothing() {
        assert!(matrix(&["ok", "ignored (reason)"]).good());
        assert!(!matrix(&["ok", "FAILED"]).good());
        assert!(!matrix(&["ignored (reason)"]).good());
        assert!(!matrix(&[]).good());
        assert!(!Matrix::default().good());
        let mut broken = matrix(&["ok"]);
        broken.columns[0].broken = true;
        assert!(!broken.good());
    }

    #[test]
    fn a_cell_longer_than_its_heading_leaves_the_columns_straight() {
        let column = |transport: &str, outcome| Column {
            transport: transport.into(),
            cells: Vec::from_iter(cell(&format!("test t ... {outcome}"))),
            broken: false,
        };
        let matrix = Matrix {
            columns: vec![column("tcp", "ignored (reason)"), column("websocket tls", "ok")],
        };
        let table = matrix.table();
        let places: Vec<_> =
            table.lines().filter_map(|line| line.find("websocket").or(line.find("pass"))).collect();
        assert_eq!(places.len(), 2, "{table}");
        assert_eq!(places[0], places[1], "{table}");
    }

    #[test]
    fn shows_reasons_below_the_table_and_in_the_json() {
        let matrix = matrix(&["ignored (the reason)"]);
        assert!(matrix.table().contains("skip 1: the reason\n"), "{}", matrix.table());
        let cell = &matrix.json()["transports"]["tcp"]["t"];
        assert_eq!(*cell, json!({ "outcome": "skip", "reason": "the reason" }));
    }
}
