//! The terminal of the client: raw mode, and its size. Where there is no terminal, nothing of it.

use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::message::WindowSize;

/// Raw mode of standard input, until this is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Passes every key on as it is, if standard input is a terminal.
    pub(crate) fn begin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !rustix::termios::isatty(&stdin) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Without a terminal there is nothing left to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// The size of the window, or what is usual where there is none.
pub(crate) fn window_size() -> WindowSize {
    match tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_row > 0 => WindowSize { rows: size.ws_row, columns: size.ws_col },
        _ => WindowSize { rows: 24, columns: 80 },
    }
}
