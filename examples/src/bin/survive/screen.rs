//! What a run shows while it lasts: a progress bar on a terminal, nothing anywhere else.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};
use rejoin_tcp::Status;

use crate::saboteur::Progress;

/// Standard error, with a progress bar if it is a terminal.
#[derive(Debug)]
pub(crate) struct Screen {
    bar: ProgressBar,
    verbose: bool,
}

impl Screen {
    /// A bar for `messages` messages.
    pub(crate) fn new(messages: u64, verbose: bool) -> Self {
        let bar = ProgressBar::new(messages);
        let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len}\n{msg}")
            .expect("the template is a template");
        bar.set_style(style);
        Self { bar, verbose }
    }

    /// Shows how far the run is.
    pub(crate) fn show(&self, received: u64, progress: Progress, status: &Status) {
        if self.bar.is_hidden() {
            return;
        }
        let status = in_words(status);
        self.bar.set_position(received);
        self.bar.set_message(format!("{} cuts, {status}", progress.cuts));
    }

    /// Prints a line for those who want to know everything.
    pub(crate) fn log(&self, line: &str) {
        if self.verbose {
            // Whoever closes standard error does not want to know.
            let _ = self.bar.suspend(|| writeln!(io::stderr(), "{line}"));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Where a conduit stands, to follow "it is".
pub(crate) fn in_words(status: &Status) -> String {
    match status {
        Status::Connecting { .. } => "connecting".to_owned(),
        Status::Connected { generation, .. } => format!("connected by link {generation}"),
        Status::Suspended { cause, attempts, .. } => {
            format!("suspended, {attempts} attempts: {cause}")
        }
        Status::Lost(reason) => format!("lost: {reason}"),
        _ => "closed".to_owned(),
    }
}
