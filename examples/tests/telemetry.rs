//! The telemetry example as a user runs it: a device and a gateway, each with its plug pulled, and each
//! killed and started again, on a cable with noise.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::Value;

const TELEMETRY: &str = env!("CARGO_BIN_EXE_telemetry");

fn output(arguments: &str) -> Output {
    Command::new(TELEMETRY).args(arguments.split_whitespace()).output().unwrap()
}

/// What a run that ends with success prints.
#[track_caller]
fn printed(arguments: &str) -> String {
    let output = output(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn check_refused(arguments: &str, code: i32, expected: &str) {
    let output = output(arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(expected), "{message}");
}

/// A path in the temporary folder, free before and after.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("rejoin-telemetry-{}-{name}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        place.clear();
        place
    }

    fn clear(&self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

#[track_caller]
fn check_survives(options: &str, readings: u64) -> Value {
    let stdout = printed(&format!("--json --interval 1 --readings {readings} {options}"));
    let verdict: Value = serde_json::from_str(stdout.trim()).unwrap();
    let of = |key: &str| verdict[key].as_u64().unwrap();
    assert_eq!((of("readings"), of("rows")), (readings, readings), "{verdict}");
    assert_eq!((of("gaps"), of("duplicates"), of("wrong")), (0, 0, 0), "{verdict}");
    assert_eq!((of("unplugged"), of("restarts")), (2, 2), "{verdict}");
    assert!(of("sessions") >= 3, "each restart begins a session: {verdict}");
    assert!(of("resumes") >= 2, "each pulled plug costs a link: {verdict}");
    verdict
}

#[test]
fn every_reading_is_stored_once_whatever_happens_to_line_and_programs() {
    check_survives("", 600);
}

#[test]
fn much_noise_costs_links_and_no_readings() {
    let verdict = check_survives("--noise 800 --seed 7", 600);
    assert!(verdict["resumes"].as_u64().unwrap() > 5, "{verdict}");
}

#[test]
fn what_happens_is_shown_in_lines_and_the_table_stays() {
    let place = Place::new("table");
    let database = place.0.display().to_string();
    let shown = printed(&format!("--interval 1 --readings 200 --noise 0 --database {database}"));
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "--- the plug of the device is pulled ---",
        "--- the gateway is killed and started again ---",
        "gateway: connected by link 1 of its session",
        "device: has lost its session: the peer refused to resume",
        "device: has delivered all 200 readings",
        "rows in the table 200",
        "missing 0",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    let table = Connection::open(&place.0).unwrap();
    let numbers = "SELECT count(*), min(number), max(number) FROM readings";
    let found = table.query_row(numbers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    assert_eq!(found.unwrap(), (200, 0, 199));
    check_refused(&format!("--database {database}"), 1, "is there already");
}

#[test]
fn what_cannot_work_is_told_in_clear_words() {
    check_refused("--readings 1", 2, "1 is not in 50..=1000000");
    check_refused("gateway", 2, "--port <PATH>");
    check_refused("device --port /dev/null --journal /nonexistent/j", 1, "No such file");
    check_refused("gateway --port x --database /nonexistent/d", 1, "unable to open database file");
}

#[test]
fn the_program_has_help() {
    let help = printed("--help");
    for part in ["device", "gateway", "--readings", "--noise", "--json", "--database"] {
        assert!(help.contains(part), "no {part} in {help}");
    }
    assert!(!help.contains("supervised"));
    assert!(printed("device --help").contains("--journal"));
    assert!(printed("gateway --help").contains("--database"));
}
