//! A program on a pseudo-terminal. Knows nothing of sessions.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use tokio::process::Child;

use crate::message::WindowSize;

/// A program and both directions of its terminal. It is killed when this is dropped, and whatever it
/// has started is told by the system that its terminal has gone.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) process: Child,
    pub(crate) output: OwnedReadPty,
    pub(crate) input: OwnedWritePty,
}

impl Shell {
    /// Starts `command`, or this user's shell where that is empty.
    pub(crate) fn start(
        command: &[String],
        term: &str,
        size: WindowSize,
    ) -> pty_process::Result<Self> {
        let (pty, port) = pty_process::open()?;
        pty.resize(native(size))?;
        let shell = [std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())];
        let (program, arguments) = command.split_first().unwrap_or((&shell[0], &[]));
        let process = pty_process::Command::new(program)
            .args(arguments)
            .env("TERM", term)
            .kill_on_drop(true)
            .spawn(port)?;
        let (output, input) = pty.into_split();
        Ok(Self { process, output, input })
    }
}

/// The size as the system has it.
pub(crate) fn native(size: WindowSize) -> Size {
    Size::new(size.rows, size.columns)
}

/// An exit code that says how a process has ended, as shells have it.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(crate::UNKNOWN)
}
