//! The axum server as a user runs it: its page, its sessions, and what it says to others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

const AXUM_SERVER: &str = env!("CARGO_BIN_EXE_axum_server");

/// A server, stopped when it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(AXUM_SERVER)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }

    /// What it answers to a GET.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn call(&self, path: &str, numbers: &[&str]) -> Output {
        let url = format!("ws://{}{path}", self.address);
        Command::new(AXUM_SERVER).args(["call", "--url", &url]).args(numbers).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn sessions_live_beside_other_routes() {
    let server = Server::start();
    for _ in 0..2 {
        let output = server.call("/links", &["1", "2", "-10"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "1\n3\n-7\n");
    }
    let page = server.get("/");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("sums at /links\n"), "{page}");
    assert!(server.get("/links").starts_with("HTTP/1.1 426 "));
}

#[test]
fn a_wrong_path_is_told_and_not_tried_again() {
    let server = Server::start();
    let output = server.call("/elsewhere", &["1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("HTTP status 404 Not Found"), "{message}");
    assert!(message.contains("trying again would not help"), "{message}");
}

#[test]
fn the_program_has_help() {
    let help = |arguments: &[&str]| {
        let output = Command::new(AXUM_SERVER).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(help(&["--help"]).contains("serve"));
    assert!(help(&["serve", "--help"]).contains("--listen"));
    assert!(help(&["call", "--help"]).contains("--url"));
}
