//! The server of events as a user runs it: its page, its clients, its end, and what it says to others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

const EVENTS: &str = env!("CARGO_BIN_EXE_events");

/// A program whose output is read line by line, stopped when it is dropped.
struct Program {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(arguments: &str) -> Self {
        let mut command = Command::new(EVENTS);
        let command = command.args(arguments.split_whitespace()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// What else it prints until it ends with success.
    #[track_caller]
    fn rest(mut self) -> Vec<String> {
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {rest:?}");
        rest
    }

    #[cfg(unix)]
    fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server, and where it listens.
fn serve(options: &str) -> (Program, String) {
    let mut server = Program::start(&format!("serve --listen 127.0.0.1:0 {options}"));
    let address = server.line().strip_prefix("listening on ").unwrap().to_owned();
    (server, address)
}

/// What a server answers to a GET.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn events_live_beside_other_routes() {
    let (_server, address) = serve("--rate 100");
    let mut client = Program::start(&format!("watch ws://{address}/events"));
    assert!(client.line().ends_with(" of the feed"));
    let page = get(&address, "/");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("events at /events\n"), "{page}");
    assert!(get(&address, "/events").starts_with("HTTP/1.1 426 "));
}

#[test]
fn a_wrong_path_is_told_and_not_tried_again() {
    let (_server, address) = serve("");
    let url = format!("ws://{address}/elsewhere");
    let output = Command::new(EVENTS).args(["watch", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("HTTP status 404 Not Found"), "{message}");
    assert!(message.contains("trying again would not help"), "{message}");
}

#[test]
#[cfg(unix)]
fn a_server_that_is_terminated_says_goodbye_to_all() {
    let (server, address) = serve("--rate 100");
    let mut clients: Vec<_> =
        (0..3).map(|_| Program::start(&format!("watch ws://{address}/events"))).collect();
    for client in &mut clients {
        client.line();
    }
    server.terminate();
    let mut told = Vec::new();
    for client in clients {
        let last = client.rest().pop().unwrap();
        told.push(last.strip_prefix("goodbye after ").unwrap().parse::<u64>().unwrap());
    }
    let events = told[0];
    assert!(told.iter().all(|each| *each == events), "{told:?}");
    assert_eq!(server.rest(), [format!("{events} events, 3 clients")]);
}

#[test]
#[cfg(unix)]
fn a_client_that_takes_nothing_is_reported_and_keeps_nobody() {
    let (server, address) = serve("--rate 1000 --drain-limit 1");
    let mut stuck = Program::start(&format!("watch ws://{address}/events --slow 3600000"));
    stuck.line();
    let mut brisk = Program::start(&format!("watch ws://{address}/events"));
    let number = |line: &str| line.split(':').next().unwrap().parse::<u64>().unwrap();
    // By then, the stuck one's inbox is full.
    let first = number(&brisk.line());
    while number(&brisk.line()) < first + 1500 {}
    server.terminate();
    assert!(brisk.rest().pop().unwrap().starts_with("goodbye after "));
    let report = server.rest();
    assert_eq!(report.len(), 2, "{report:?}");
    assert!(report[0].ends_with(" events, 2 clients"), "{report:?}");
    assert!(report[1].starts_with("not finished: 127.0.0.1:"), "{report:?}");
}

#[test]
fn every_client_of_the_demonstration_can_account_for_every_event() {
    let output =
        Command::new(EVENTS).args(["--events", "1000", "--cuts", "3", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["good"], &report["unfinished"]), (&true.into(), &0.into()), "{report}");
    let clients = report["clients"].as_array().unwrap();
    for client in clients {
        let of = |key: &str| client[key].as_u64().unwrap();
        let is = |kind: &str| client["kind"] == kind;
        assert_eq!((of("wrong"), &client["goodbye"]), (0, &true.into()), "{report}");
        assert!(of("skipped") > 0 || !is("slow"), "{report}");
        assert!(of("resumes") >= if is("cut") { 3 } else { 0 }, "{report}");
        // Whoever reads is not held up by who does not.
        assert!(of("received") > if is("slow") { 0 } else { 500 }, "{report}");
    }
    assert_eq!(clients.len(), 7, "{report}");
}
