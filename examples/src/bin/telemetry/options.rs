//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A device sends readings over a serial line, a gateway stores them in SQLite; none is lost, none is
/// stored twice.
///
/// Without a subcommand, both run on a cable of two pseudo-terminals with noise. On the way each has its
/// plug pulled, and each is killed and started again. Ends with success only if the table then has every
/// reading exactly once.
///
/// To try it on real hardware, run `telemetry gateway --port /dev/ttyUSB0` at one end of a cable and
/// `telemetry device --port /dev/ttyUSB1` at the other one, then pull plugs and stop programs as you
/// like.
#[derive(Parser, Debug)]
#[command(name = "telemetry", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) story: StoryOptions,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Role {
    /// Runs the device only: measures, and sends what it has measured.
    Device(DeviceOptions),
    /// Runs the gateway only: stores what the device sends.
    Gateway(GatewayOptions),
}

#[derive(Args, Debug)]
pub(crate) struct StoryOptions {
    /// How many readings the device takes.
    #[arg(long, value_name = "COUNT", default_value_t = 3000,
          value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
    pub(crate) readings: u64,
    /// How long the device waits from one reading to the next, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) interval: u64,
    /// The speed of the cable, in bits a second.
    #[arg(long, value_name = "BITS", default_value_t = 460_800,
          value_parser = clap::value_parser!(u32).range(9600..))]
    pub(crate) baud: u32,
    /// One byte in so many is harmed on the cable; 0 for a cable without noise.
    #[arg(long, value_name = "BYTES", default_value_t = 5000)]
    pub(crate) noise: u32,
    /// What the noise follows from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// A new file for the database, to look at afterwards; otherwise it goes with the cable.
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
    /// Prints nothing but the result, as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DeviceOptions {
    #[command(flatten)]
    pub(crate) line: LineOptions,
    /// The file that keeps readings until the gateway has them.
    #[arg(long, value_name = "FILE", default_value = "telemetry.journal")]
    pub(crate) journal: PathBuf,
    /// How many readings to take, counted from the first one in the journal's life; without end if
    /// not given.
    #[arg(long, value_name = "COUNT")]
    pub(crate) readings: Option<u64>,
    /// How long to wait from one reading to the next, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) interval: u64,
}

#[derive(Args, Debug)]
pub(crate) struct GatewayOptions {
    #[command(flatten)]
    pub(crate) line: LineOptions,
    /// The database, which is made if there is none.
    #[arg(long, value_name = "FILE", default_value = "telemetry.sqlite")]
    pub(crate) database: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct LineOptions {
    /// The serial port.
    #[arg(long, value_name = "PATH")]
    pub(crate) port: PathBuf,
    /// The speed of the line, in bits a second; the same at both ends.
    #[arg(long, value_name = "BITS", default_value_t = 115_200,
          value_parser = clap::value_parser!(u32).range(9600..))]
    pub(crate) baud: u32,
    /// Stops when standard input ends, as the story wants it; so no process is left over.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, sensible: bool) {
        assert_eq!(Options::try_parse_from(arguments.split(' ')).is_ok(), sensible, "{arguments}");
    }

    #[test]
    fn only_sensible_options_are_accepted() {
        check("telemetry", true);
        check("telemetry --readings 49", false);
        check("telemetry --noise 0 --json", true);
        check("telemetry gateway", false);
        check("telemetry gateway --port x", true);
        check("telemetry device --port x --readings 7 --interval 1", true);
        check("telemetry device --port x --interval 0", false);
        check("telemetry --json device --port x", false);
    }
}
