//! A peer's process, as the parent holds it: starts it, reads what it tells, freezes and ends it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::judge::ProcessId;
use super::report::{Command, Report};

/// What comes from a process.
#[derive(Debug)]
pub(super) enum Told {
    Report(Report),
    /// It has said its last.
    End,
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    /// Whether it acknowledges only what it has told of.
    pub(super) exact: bool,
    pub(super) frozen: bool,
    child: Child,
    input: ChildStdin,
}

impl Process {
    /// Starts `program` with `arguments`; what it tells goes to `told`, under its number.
    pub(super) fn start(
        program: &Path,
        arguments: &[String],
        id: ProcessId,
        exact: bool,
        told: mpsc::Sender<(ProcessId, Told)>,
    ) -> io::Result<Self> {
        let mut child = Program::new(program)
            .args(arguments)
            .args(exact.then_some("--exact"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("standard input is piped");
        let output = child.stdout.take().expect("standard output is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line)
                    // The system takes a short line whole, also from a process that is killed.
                    .unwrap_or_else(|_| Report::Broken(format!("cannot read {line:?}")));
                if told.blocking_send((id, Told::Report(report))).is_err() {
                    return;
                }
            }
            // Nobody may listen any more.
            let _ = told.blocking_send((id, Told::End));
        });
        Ok(Self { id, exact, frozen: false, child, input })
    }

    /// Stops it where it is.
    pub(super) fn freeze(&mut self) -> io::Result<()> {
        self.frozen = true;
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(super) fn thaw(&mut self) -> io::Result<()> {
        self.frozen = false;
        self.signal(Signal::CONT)
    }

    /// Ends it without a warning.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Says something to it. A process that has ended does not listen.
    pub(super) fn tell(&mut self, command: Command) {
        let line = serde_json::to_string(&command).expect("a command has only simple parts");
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
    }

    /// Waits until it is gone.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
