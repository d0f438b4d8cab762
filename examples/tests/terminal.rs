//! The terminal example as a user runs it: server and client as processes of their own, and between
//! them what networks do.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pty_process::{Size, blocking};
use rejoin_conformance::line::{Cable, End};
use rejoin_conformance::proxy::{Admission, Direction, Fault, FaultProxy};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::termios::tcgetattr;

const TERMINAL: &str = env!("CARGO_BIN_EXE_terminal");

/// A server, stopped when it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(listen: &str) -> Self {
        let mut process = Command::new(TERMINAL)
            .args(["serve", "--listen", listen])
            .env("SHELL", "/bin/sh")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }

    /// A proxy in front of it, and the address of that.
    async fn proxy(&self) -> (FaultProxy, String) {
        let upstream = self.address.strip_prefix("tcp:").unwrap().parse().unwrap();
        let proxy = FaultProxy::start(upstream).await.unwrap();
        let address = format!("tcp:{}", proxy.addr());
        (proxy, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(address: &str, command: &[&str]) -> Command {
    let mut client = Command::new(TERMINAL);
    client.args(["connect", address, "--"]).args(command).stdin(Stdio::null());
    client
}

/// Waits beside the runtime, which has a proxy or a cable to run.
async fn output(mut client: Command) -> Output {
    tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap()
}

#[track_caller]
fn check_exit(output: &Output, code: i32, stdout: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_whole_over_a_connection_that_is_cut_again_and_again() {
    let server = Server::start("tcp:127.0.0.1:0");
    let (proxy, address) = server.proxy().await;
    let faults = [Fault::Reset, Fault::Fin, Fault::Reset, Fault::Reset, Fault::Fin];
    let cuts = faults.map(|fault| proxy.cut_next(Direction::ToClient, 70_000, fault));
    let client = connect(&address, &["sh", "-c", "seq 1 100000; exit 3"]);
    let output = output(client).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    // A terminal ends lines with both.
    let expected: String = (1..=100_000).map(|number| format!("{number}\r\n")).collect();
    assert!(output.stdout == expected.as_bytes(), "{} bytes came", output.stdout.len());
    for cut in cuts {
        assert!(cut.report().await.hit());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_while_the_network_is_away_is_kept() {
    let server = Server::start("tcp:127.0.0.1:0");
    let (proxy, address) = server.proxy().await;
    let mut client =
        connect(&address, &["sh", "-c", "stty -echo; echo ready; read a; echo \"got $a\"; exit 4"]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut stdout = BufReader::new(client.stdout.take().unwrap());
    let mut stderr = BufReader::new(client.stderr.take().unwrap());
    assert_eq!(line(&mut stdout), "ready");
    proxy.admit(Admission::Refuse);
    proxy.cut(Fault::Reset).report().await;
    assert_eq!(line(&mut stderr), "");
    let said = line(&mut stderr);
    assert!(said.starts_with("[terminal: the link is away: "), "{said}");
    client.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    proxy.admit(Admission::Forward);
    assert_eq!(line(&mut stdout), "got hello");
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("[terminal: the link is back]"), "{said}");
    assert_eq!(client.wait().unwrap().code(), Some(4));
}

/// The next line, without its end.
fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn a_shell_reads_standard_input_and_its_exit_code_is_passed_on() {
    let server = Server::start("tcp:127.0.0.1:0");
    for (code, last) in [(3, "exit 3\n"), (0, "exit\n"), (137, "kill -9 $$\n")] {
        let mut client = connect(&server.address, &[]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = client.spawn().unwrap();
        let typed = format!("echo $((6 * 7))\n{last}");
        client.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("42\r\n"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_same_over_every_transport() {
    let cable = Cable::lay().unwrap();
    let [near, far] =
        [End::Near, End::Far].map(|end| format!("serial:{}:1000000", cable.port(end).display()));
    let socket = cable.folder().join("socket");
    for listen in [
        "tcp:127.0.0.1:0".to_owned(),
        "ws://127.0.0.1:0/shell".to_owned(),
        format!("unix:{}", socket.display()),
        far,
    ] {
        let server = Server::start(&listen);
        let address = if listen.starts_with("serial") { &near } else { &server.address };
        let output = output(connect(address, &["sh", "-c", "echo here; exit 3"])).await;
        check_exit(&output, 3, "here\r\n");
        if listen.starts_with("unix") {
            let mode = socket.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[test]
fn without_a_subcommand_server_and_client_are_one() {
    let output =
        |command: &[&str]| Command::new(TERMINAL).arg("--").args(command).output().unwrap();
    check_exit(&output(&["sh", "-c", "echo here; exit 3"]), 3, "here\r\n");
    let refused = output(&["/nonexistent/program"]);
    check_exit(&refused, 255, "");
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("failed: that cannot be run: No such file"), "{message}");
}

#[test]
fn a_client_that_leaves_takes_its_shell_along() {
    let server = Server::start("tcp:127.0.0.1:0");
    let mut client = connect(&server.address, &["sh", "-c", "echo $$; exec cat"]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let shell = line(&mut BufReader::new(client.stdout.take().unwrap())).parse().unwrap();
    let shell = Pid::from_raw(shell).unwrap();
    test_kill_process(shell).unwrap();
    kill_process(Pid::from_child(&client), Signal::TERM).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(255));
    let deadline = Instant::now() + Duration::from_secs(20);
    while test_kill_process(shell).is_ok() {
        assert!(Instant::now() < deadline, "the shell lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_terminal_is_raw_has_its_size_and_is_restored() {
    let (mut terminal, port) = blocking::open().unwrap();
    terminal.resize(Size::new(40, 100)).unwrap();
    let before = tcgetattr(&terminal).unwrap();
    let client = blocking::Command::new(TERMINAL).env("SHELL", "/bin/sh").env("PS1", "");
    // Keeps the port open when the client has gone, so that there is something to look at.
    let kept = rustix::io::dup(&port).unwrap();
    let mut client = client.spawn(port).unwrap();
    let mut shown = String::new();
    terminal.write_all(b"echo size $(stty size)\r").unwrap();
    read_until(&mut terminal, &mut shown, "size 40 100");
    assert_ne!(modes(&tcgetattr(&terminal).unwrap()), modes(&before), "it is not raw");
    terminal.resize(Size::new(50, 120)).unwrap();
    let wait = "until [ \"$(stty size)\" = '50 120' ]; do :; done; echo re''sized\r";
    terminal.write_all(wait.as_bytes()).unwrap();
    read_until(&mut terminal, &mut shown, "resized");
    terminal.write_all(b"echo ~.\r").unwrap();
    read_until(&mut terminal, &mut shown, "~.\r\n~.\r\n");
    terminal.write_all(b"~.").unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(255), "{shown}");
    assert_eq!(modes(&tcgetattr(&terminal).unwrap()), modes(&before));
    drop(kept);
}

/// What raw mode changes.
fn modes(settings: &rustix::termios::Termios) -> String {
    format!("{:?} {:?}", settings.local_modes, settings.output_modes)
}

#[track_caller]
fn read_until(terminal: &mut blocking::Pty, shown: &mut String, expected: &str) {
    while !shown.contains(expected) {
        let mut chunk = [0; 4096];
        let count = terminal.read(&mut chunk).unwrap();
        assert_ne!(count, 0, "no `{expected}` in {shown}");
        shown.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
}

#[test]
fn senseless_options_are_refused_and_there_is_help() {
    let output = |arguments: &[&str]| Command::new(TERMINAL).args(arguments).output().unwrap();
    let refused = output(&["connect", "carrier-pigeon:7"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("an address is `tcp:HOST:PORT`"), "{message}");
    let help = |arguments: &[&str]| {
        let output = output(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let general = help(&["--help"]);
    for part in ["serve", "connect", "serial:PATH:BAUD", "~."] {
        assert!(general.contains(part), "no {part} in {general}");
    }
    let serve = help(&["serve", "--help"]);
    for part in ["--listen", "dangerous", "0600", "tcp:127.0.0.1:7000"] {
        assert!(serve.contains(part), "no {part} in {serve}");
    }
    assert!(help(&["connect", "--help"]).contains("--quiet"));
}
