//! Sessions through child processes, as a user runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const CUSTOM_LINK: &str = env!("CARGO_BIN_EXE_custom_link");

fn run(arguments: &[&str]) -> Output {
    Command::new(CUSTOM_LINK).args(arguments).output().unwrap()
}

#[test]
fn a_session_outlives_the_relays_that_are_killed() {
    let output = run(&["--numbers", "5000", "--kills", "5", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((of("numbers"), of("answers"), of("wrong")), (5000, 5000, 0), "{report}");
    assert_eq!(of("kills"), 5, "{report}");
    assert!(of("resumes") >= 5, "{report}");
}

#[test]
fn a_client_reaches_a_server_through_a_command() {
    let mut server = Command::new(CUSTOM_LINK)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    let output = run(&["call", "1", "2", "-10", "--", CUSTOM_LINK, "relay", "--to", address]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1\n3\n-7\n");
}

#[test]
fn a_command_that_must_not_be_run_is_told_and_not_tried_again() {
    let folder = std::env::temp_dir();
    let output = run(&["call", "1", "--", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("trying again would not help"), "{message}");
}
