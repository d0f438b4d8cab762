//! The command line of the measurements.

use clap::Parser;

use crate::measure::Effort;

/// Measures what a conduit costs over its own link.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
pub(crate) struct Args {
    /// Three short rounds instead of nine long ones: to see that all works, not to state figures.
    #[arg(long)]
    quick: bool,
    /// Ends with one line of JSON: an array with an object for each case.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes tables and plots into docs/benchmarks.md.
    #[arg(long)]
    pub(crate) report: bool,
    /// Only the cases with this in their names; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Names the cases and measures nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Some hundred messages in each case: what a test of the measurements themselves runs.
    #[arg(long, hide = true, conflicts_with = "report")]
    tiny: bool,
}

impl Args {
    pub(crate) fn effort(&self) -> Effort {
        match (self.tiny, self.quick) {
            (true, _) => Effort::Tiny,
            (false, true) => Effort::Quick,
            (false, false) => Effort::Full,
        }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}
