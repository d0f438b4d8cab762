//! The command line.

use clap::{Parser, Subcommand};

use crate::address::Address;

/// A remote shell that goes on after the network was away.
///
/// Without a subcommand, server and client run in one process, over a Unix socket in a folder that only
/// this user can enter: to look at it, and at the tests.
///
/// An ADDRESS is one of
///
///   tcp:HOST:PORT
///   unix:PATH
///   ws://HOST:PORT/PATH
///   serial:PATH, serial:PATH:BAUD
///
/// The exit code is that of the shell, 128 and the number of the signal if one has killed it, and 255
/// where it is not known. At the beginning of a line, `~.` leaves, and `~~` is a `~`.
#[derive(Parser, Debug)]
#[command(
    name = "terminal",
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What to run instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) program: Vec<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Gives a shell to everybody who connects.
    ///
    /// This is dangerous: WHOEVER CAN CONNECT CAN DO WHAT YOU CAN, and nothing is encrypted. The default
    /// is the loopback interface, where that is every user of this machine. At a Unix socket only you
    /// are let in: its file has the mode 0600, and the system is asked who is at the other end.
    Serve {
        /// Where to listen; port 0 lets the system choose one.
        #[arg(long, default_value = "tcp:127.0.0.1:7000", value_name = "ADDRESS")]
        listen: Address,
    },
    /// Connects this terminal to a shell there.
    Connect {
        /// Where the server listens.
        #[arg(default_value = "tcp:127.0.0.1:7000", value_name = "ADDRESS")]
        address: Address,
        /// Says nothing when the link is away or back.
        #[arg(long)]
        quiet: bool,
        /// What to run instead of a shell.
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, sensible: bool) {
        let parsed = Options::try_parse_from(arguments.split(' '));
        assert_eq!(parsed.is_ok(), sensible, "{arguments}: {parsed:?}");
    }

    #[test]
    fn only_sensible_options_are_accepted() {
        check("terminal", true);
        check("terminal -- ls -l", true);
        check("terminal serve", true);
        check("terminal serve --listen unix:/tmp/x", true);
        check("terminal serve --listen somewhere", false);
        check("terminal connect", true);
        check("terminal connect --quiet ws://host:80/path -- ls -l", true);
        check("terminal connect serial:/dev/ttyUSB0:9600", true);
        check("terminal connect serial:/dev/ttyUSB0:fast", false);
        check("terminal ls", false);
    }
}
