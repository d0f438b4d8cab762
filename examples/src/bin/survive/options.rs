//! The command line, and which of its combinations make sense.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

/// Each cut needs messages of its own: some to be cut, and a few that are sent while it happens.
pub(crate) const MESSAGES_PER_CUT_MIN: u64 = 4;

/// The largest message where a serial line is involved, so that none takes long.
const SLOW_SIZE_MAX: u32 = 4 << 10;

/// What a run goes over.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP
    Tcp,
    /// A Unix socket
    #[cfg(unix)]
    Unix,
    /// A WebSocket
    Websocket,
    /// A serial line of 3 Mbaud with noise, between two pseudo-terminals
    #[cfg(unix)]
    Serial,
    /// Links within the process
    Memory,
    /// One session from a serial line to TCP, WebSocket, a Unix socket, and back, again and again
    #[cfg(unix)]
    Roam,
}

impl Transport {
    /// Whether the harm is done by a proxy of connections.
    pub(crate) fn has_proxy(self) -> bool {
        match self {
            Self::Tcp | Self::Websocket => true,
            Self::Memory => false,
            #[cfg(unix)]
            Self::Unix => true,
            #[cfg(unix)]
            Self::Serial | Self::Roam => false,
        }
    }

    /// What there is to know to judge the numbers of a run.
    pub(crate) fn description(self) -> Option<&'static str> {
        match self {
            #[cfg(unix)]
            Self::Serial | Self::Roam => Some(crate::media::serial::DESCRIPTION),
            _ => None,
        }
    }

    /// Whether a serial line is involved.
    fn is_slow(self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Serial | Self::Roam => true,
            _ => false,
        }
    }
}

/// Sends messages both ways over a connection that is cut again and again, and counts what arrives.
///
/// Two conduits in this process talk over the loopback interface, through a proxy that does to
/// their connection what networks do: an orderly end, a reset, silence, an end inside a frame or
/// inside a handshake, at an exact byte of either direction. A serial line has noise, and its plugs
/// are pulled. Ends with success only if every message arrived once and in order, and every cut
/// fell while messages were on their way.
#[derive(Parser, Clone, Debug, PartialEq, Eq)]
#[command(name = "survive")]
pub(crate) struct Options {
    /// What the messages go over.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Transport::Tcp)]
    pub(crate) transport: Transport,
    /// How many messages each side sends; by default fewer on a serial line.
    #[arg(long, value_name = "COUNT", default_value_t = 200_000,
          default_value_if("transport", "serial", "8000"),
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) messages: u64,
    /// How many bytes each message carries.
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) size: u32,
    /// How often the connection is cut; when roaming, how often the session moves.
    #[arg(long, value_name = "COUNT", default_value_t = 40,
          default_value_if("transport", "serial", "10"),
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
        if self.transport.is_slow() && self.size > SLOW_SIZE_MAX {
            return Some(format!(
                "{} bytes are too many for a message on a serial line: there it carries up to \
                 {SLOW_SIZE_MAX}",
                self.size
            ));
        }
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
        check("survive --transport tcp", true);
        check("survive --transport carrier-pigeon", false);
        check("survive --transport memory --size 1048576", true);
        check("survive --transport serial --size 4097", false);
    }
}
