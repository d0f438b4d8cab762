//! The command line, and which of its combinations make sense.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

/// Each cut needs messages of its own: some to be cut, and a few that are sent while it happens.
pub(crate) const MESSAGES_PER_CUT_MIN: u64 = 4;

/// Sends messages both ways over a TCP connection that is cut again and again, and counts what
/// arrives.
///
/// Two conduits in this process talk over the loopback interface, through a proxy that does to
/// their connection what networks do: an orderly end, a reset, silence, an end inside a frame or
/// inside a handshake, at an exact byte of either direction. Ends with success only if every
/// message arrived once and in order, and every cut fell while messages were on their way.
#[derive(Parser, Clone, Debug, PartialEq, Eq)]
#[command(name = "survive")]
pub(crate) struct Options {
    /// How many messages each side sends.
    #[arg(long, value_name = "COUNT", default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) messages: u64,
    /// How many bytes each message carries.
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) size: u32,
    /// How often the connection is cut.
    #[arg(long, value_name = "COUNT", default_value_t = 40,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) cuts: u32,
    /// What the schedule of the cuts is made from; the same seed gives the same schedule.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Prints the result as one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Prints each cut when it is done, on standard error.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Prints the schedule of the cuts, and does nothing else.
    #[arg(long)]
    pub(crate) show_schedule: bool,
}

impl Options {
    /// Reads the command line; ends the process where that asks for help or makes no sense.
    pub(crate) fn from_command_line() -> Self {
        let options = Self::parse();
        match options.fault() {
            None => options,
            Some(fault) => Self::command().error(ErrorKind::ValueValidation, fault).exit(),
        }
    }

    /// What is wrong with the options together.
    fn fault(&self) -> Option<String> {
        let cuts_max = self.messages / MESSAGES_PER_CUT_MIN;
        (u64::from(self.cuts) > cuts_max).then(|| {
            format!(
                "{} cuts are too many for {} messages: with one cut for {MESSAGES_PER_CUT_MIN} \
                 messages there can be {cuts_max}",
                self.cuts, self.messages
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, sensible: bool) {
        let parsed = Options::try_parse_from(arguments.split(' '));
        let accepted = parsed.is_ok_and(|options| options.fault().is_none());
        assert_eq!(accepted, sensible, "{arguments}");
    }

    #[test]
    fn only_sensible_options_are_accepted() {
        check("survive", true);
        check("survive --messages 160 --cuts 40", true);
        check("survive --messages 159 --cuts 40", false);
        check("survive --messages 10 --cuts 11", false);
        check("survive --messages 0", false);
        check("survive --messages 1 --cuts 0", true);
        check("survive --size 0", false);
        check("survive --size 1048576", true);
        check("survive --size 1048577", false);
        check("survive --seed -1", false);
        check("survive --frobnicate", false);
    }
}
