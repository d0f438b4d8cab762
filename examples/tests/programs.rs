//! The programs as a user runs them: what they print, and how they end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const ECHO: &str = env!("CARGO_BIN_EXE_echo");
const SURVIVE: &str = env!("CARGO_BIN_EXE_survive");

fn output(program: &str, arguments: &str) -> Output {
    Command::new(program).args(arguments.split_whitespace()).output().unwrap()
}

/// What a program that ends with success prints.
#[track_caller]
fn printed(program: &str, arguments: &str) -> String {
    let output = output(program, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn check_refused(program: &str, arguments: &str, expected: &str) {
    let output = output(program, arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(expected), "{message}");
}

#[track_caller]
fn check_survives(seed: u32) {
    let options = format!("--messages 20000 --cuts 15 --seed {seed} --json");
    let stdout = printed(SURVIVE, &options);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let of = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((of("sent"), of("received")), (40_000, 40_000), "{report}");
    assert_eq!((of("lost"), of("duplicated"), of("out_of_order")), (0, 0, 0), "{report}");
    assert_eq!(of("cuts"), 15, "{report}");
    assert!(of("resumes") >= 15, "{report}");
    assert!(of("replayed") > 0, "{report}");
    assert!(report["seconds"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report.as_object().unwrap().len(), 9, "{report}");
}

#[test]
fn survives_the_cuts_of_seed_1() {
    check_survives(1);
}

#[test]
fn survives_the_cuts_of_seed_2() {
    check_survives(2);
}

#[test]
fn survives_the_cuts_of_seed_3() {
    check_survives(3);
}

/// Gives the report of a run over `transport`, which must be without fault.
#[track_caller]
fn check_survives_over(transport: &str, messages: u64, cuts: u64) -> Value {
    let options = format!("--transport {transport} --messages {messages} --cuts {cuts} --json");
    let report: Value = serde_json::from_str(printed(SURVIVE, &options).trim()).unwrap();
    let of = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((of("received"), of("cuts")), (2 * messages, cuts), "{report}");
    assert_eq!((of("lost"), of("duplicated"), of("out_of_order")), (0, 0, 0), "{report}");
    assert!(of("resumes") >= cuts, "{report}");
    report
}

#[test]
fn survives_over_every_transport() {
    check_survives_over("websocket", 4000, 10);
    check_survives_over("memory", 4000, 4);
    if cfg!(unix) {
        check_survives_over("unix", 4000, 10);
        check_survives_over("serial", 500, 3);
    }
}

#[test]
#[cfg(unix)]
fn survives_a_journey_over_all_transports_and_back() {
    let report = check_survives_over("roam", 1200, 8);
    let lap = ["serial", "tcp", "websocket", "unix"];
    let expected: Vec<_> = lap.into_iter().cycle().take(9).collect();
    assert_eq!(report["transports"], Value::from(expected), "{report}");
}

#[test]
fn survives_with_one_message_and_no_cut_and_shows_a_table() {
    let table = printed(SURVIVE, "--messages 1 --cuts 0 --size 1");
    for row in [
        "sent",
        "received",
        "lost",
        "duplicated",
        "out of order",
        "cuts",
        "resumes",
        "replayed",
        "throughput",
        "longest pause",
    ] {
        assert!(table.lines().any(|line| line.starts_with(row)), "no {row} in {table}");
    }
}

#[test]
fn survives_with_messages_larger_than_every_buffer_and_a_full_send_log() {
    let stdout = printed(SURVIVE, "--messages 60 --cuts 10 --size 1000000 --json");
    let report: Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!((&report["received"], &report["cuts"]), (&120.into(), &10.into()), "{report}");
}

#[test]
fn the_schedule_can_be_looked_at_and_follows_from_the_seed() {
    let schedule = printed(SURVIVE, "--show-schedule --seed 5");
    assert_eq!(schedule.lines().count(), 40);
    assert_eq!(schedule, printed(SURVIVE, "--seed 5 --show-schedule"));
    assert_ne!(schedule, printed(SURVIVE, "--seed 6 --show-schedule"));
}

/// How a program ends whose output nobody reads.
#[track_caller]
fn check_unread(program: &str, arguments: &str) {
    // Closed for reading before the program begins.
    let (_, closed) = std::io::pipe().unwrap();
    let mut command = Command::new(program);
    let output = command.args(arguments.split_whitespace()).stdout(closed).stderr(Stdio::piped());
    let output = output.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let server = EchoServer::start();
    check_unread(SURVIVE, "--show-schedule --cuts 5000");
    check_unread(SURVIVE, "--messages 5 --cuts 0");
    check_unread(ECHO, &format!("call --connect {} one two", server.address));
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_a_failure_in_clear_words() {
    let server = EchoServer::start();
    for (program, arguments) in [
        (SURVIVE, "--show-schedule"),
        (SURVIVE, "--messages 5 --cuts 0 --json"),
        (ECHO, &*format!("call --connect {} one two", server.address)),
        (ECHO, "serve --listen 127.0.0.1:0"),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(program);
        let output = command.args(arguments.split_whitespace()).stdout(full).stderr(Stdio::piped());
        let output = output.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("failed: the output could not be written: "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn the_cuts_that_are_done_are_those_of_the_schedule() {
    let options = "--messages 2000 --cuts 10 --seed 9";
    let planned = printed(SURVIVE, &format!("{options} --show-schedule"));
    let run = output(SURVIVE, &format!("{options} --verbose --json"));
    assert!(run.status.success(), "{run:?}");
    let log = String::from_utf8(run.stderr).unwrap();
    let done = log.lines().filter(|line| line.starts_with("cut "));
    let done: Vec<_> = done.map(|line| line.split_once(": ").unwrap().1).collect();
    let planned: Vec<_> =
        planned.lines().map(|line| line.trim_start().split_once("  ").unwrap().1).collect();
    assert_eq!(done, planned);
}

#[test]
fn senseless_options_are_refused_in_clear_words() {
    check_refused(SURVIVE, "--messages 0", "0 is not in 1..=100000000");
    check_refused(SURVIVE, "--size 0", "0 is not in 1..=1048576");
    check_refused(SURVIVE, "--size 4294967295", "is not in 1..=1048576");
    check_refused(SURVIVE, "--messages 10 --cuts 11", "11 cuts are too many for 10 messages");
    check_refused(SURVIVE, "--cuts many", "invalid value 'many'");
    check_refused(SURVIVE, "--unknown", "unexpected argument '--unknown'");
    check_refused(SURVIVE, "stray", "unexpected argument 'stray'");
    check_refused(ECHO, "", "Usage: echo");
    check_refused(ECHO, "call", "<LINES>...");
    check_refused(ECHO, "shout", "unrecognized subcommand 'shout'");
}

/// Every option and command that `program` lists says what it is for, and so do those of its commands.
#[track_caller]
fn check_help(program: &str, command: &str) {
    let help = printed(program, &format!("{command} --help"));
    assert!(help.contains("Usage: "), "{help}");
    let lines: Vec<_> = help.lines().collect();
    assert!(lines[0].len() > 20, "it does not say what it is for: {help}");
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut section = "";
    for (index, line) in lines.iter().enumerate() {
        if indent(line) == 0 && line.ends_with(':') {
            section = line;
        }
        let is_entry = match section {
            "Commands:" => indent(line) == 2,
            "Options:" => line.trim_start().starts_with('-') && indent(line) <= 6,
            _ => false,
        };
        if !is_entry {
            continue;
        }
        let said_here = line.trim_start().contains("  ");
        let said_below = lines.get(index + 1).is_some_and(|next| indent(next) > 6);
        assert!(said_here || said_below, "`{line}` says nothing: {help}");
        let word = line.split_whitespace().next().unwrap();
        if section == "Commands:" && word != "help" {
            check_help(program, &format!("{command} {word}"));
        }
    }
}

#[test]
fn every_program_has_help() {
    let folder = Path::new(ECHO).parent().unwrap();
    let mut programs = 0;
    for source in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).unwrap() {
        let name = source.unwrap().path().with_extension("").file_name().unwrap().to_owned();
        let program = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
        check_help(program.to_str().unwrap(), "");
        programs += 1;
    }
    assert!(programs >= 4, "{programs}");
}

/// An echo server, stopped when it is dropped.
struct EchoServer {
    process: Child,
    address: String,
}

impl EchoServer {
    fn start() -> Self {
        let mut process = Command::new(ECHO)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn echo_answers_each_line_in_turn() {
    let server = EchoServer::start();
    let call = |lines: &str| printed(ECHO, &format!("call --connect {} {lines}", server.address));
    assert_eq!(call("one two three"), "0: ONE\n1: TWO\n2: THREE\n");
    assert_eq!(call("another"), "0: ANOTHER\n");
}

#[test]
fn echo_says_what_is_wrong_with_an_address() {
    let call = output(ECHO, "call --connect nowhere hello");
    assert_eq!(call.status.code(), Some(1));
    let message = String::from_utf8(call.stderr).unwrap();
    assert!(message.contains("trying again would not help"), "{message}");
    assert!(message.contains("`nowhere` is not an address"), "{message}");
}
