//! What the story shows while it goes on: on a terminal a view that is drawn again and again, and
//! elsewhere a line for each thing that happens.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::event::Event;
use crate::story::Who;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    bar: ProgressBar,
    quiet: bool,
    /// How each of the two stands.
    states: [String; 2],
}

impl Screen {
    /// A view of a story about so many readings.
    pub(crate) fn new(readings: u64, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stdout() };
        let bar = ProgressBar::with_draw_target(Some(readings), target);
        let style =
            ProgressStyle::with_template("{msg}\n{wide_bar} {human_pos} of {human_len} stored");
        bar.set_style(style.expect("the template is a template"));
        Self { bar, quiet, states: ["starting", "starting"].map(str::to_owned) }
    }

    /// Shows what one of the two tells.
    pub(crate) fn show(&mut self, who: Who, event: &Event) {
        let state = match event {
            Event::Stored { rows, .. } => return self.bar.set_position(*rows),
            Event::Session => "in a new session".to_owned(),
            Event::Link(number) => format!("connected by link {number} of its session"),
            Event::Away(cause) => format!("without a link: {cause}"),
            Event::Lost(cause) => format!("has lost its session: {cause}"),
            Event::Delivered(count) => format!("has delivered all {count} readings"),
        };
        self.log(&format!("{who}: {state}"));
        self.states[who as usize] = state;
        let [device, gateway] = &self.states;
        self.bar.set_message(format!("device   {device}\ngateway  {gateway}"));
    }

    /// Prints a line, above the view if there is one.
    pub(crate) fn log(&self, line: &str) {
        if self.quiet {
            return;
        }
        let line = format!("{:>7}  {line}", self.bar.position());
        // Whoever closes standard output does not want to know.
        let _ = self.bar.suspend(|| writeln!(io::stdout(), "{line}"));
    }

    /// Takes the view away; the lines stay.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
