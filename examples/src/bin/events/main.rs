//! A web server that pushes a stream of events to many clients over WebSockets, and its client.
//!
//! - [`server`]: axum serves a page and the route of the events, and hands upgraded streams over. At
//!   SIGTERM the server drains: it says goodbye to all, and tells who did not hear it.
//! - [`fanout`]: each client has a task of its own, so a slow one holds up nobody. An event that could
//!   not go out while it was fresh is left out, and its client is told how many those were.
//! - [`mod@watch`]: the client. Its connection may be cut: what was sent is not lost by that.
//! - [`demo`]: all of it in one process, with a client that is slow and one whose connection is cut.
//!
//! Events are not stored: who connects sees those from then on.

mod demo;
mod fanout;
mod server;
mod watch;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use facet::Facet;

/// What ends a program or a task of it.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Events for many clients, over WebSockets whose connections may be cut.
///
/// Without a command it shows that by itself: a server, clients of which one is slow and one loses
/// its connection again and again, and a drain. The exit code is 0 if every client can account for
/// every event.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Serves a page at / and events at /events, and drains at SIGTERM or Ctrl-C.
    Serve(server::Options),
    /// Prints events until the server says goodbye.
    Watch {
        /// Where the events are.
        #[arg(default_value = "ws://127.0.0.1:8080/events", value_name = "URL")]
        url: String,
        /// Take so many milliseconds for each event.
        #[arg(long, default_value_t = 0, value_name = "MS")]
        slow: u64,
    },
}

/// What the server sends. Clients send nothing.
#[derive(Facet)]
#[repr(u8)]
pub(crate) enum Event {
    /// Something has happened.
    Happened {
        /// Counted from 0, in the life of the server.
        number: u64,
        /// What.
        text: String,
    },
    /// So many events were left out here, as they were too old before they could be sent.
    Skipped {
        /// How many.
        count: u64,
    },
    /// The server ends; nothing follows.
    Goodbye {
        /// How many events there were.
        events: u64,
    },
}

async fn serve(options: &server::Options) -> Result<(), Failure> {
    let server = server::Server::start(options).await?;
    print(&format!("listening on {}", server.address()))?;
    let served = server.run(server::told_to_stop()).await?;
    print(&served.to_string())?;
    Ok(())
}

async fn watch(url: &str, slow: u64) -> Result<(), Failure> {
    let show = |event: &Event| match event {
        Event::Happened { number, text } => print(&format!("{number}: {text}")),
        Event::Skipped { count } => print(&format!("skipped {count}")),
        Event::Goodbye { events } => print(&format!("goodbye after {events}")),
    };
    let seen = watch::follow(url, Duration::from_millis(slow), show).await?;
    if seen.told_goodbye { Ok(()) } else { Err("the server closed without a goodbye".into()) }
}

async fn demonstrate(options: &demo::Options) -> Result<(), Failure> {
    let report = demo::run(options).await?;
    print(&if options.json { report.json() } else { report.to_string() })?;
    if report.good() { Ok(()) } else { Err("a client cannot account for every event".into()) }
}

/// Prints a line; where nobody reads any more, that is no error.
fn print(line: &str) -> Result<(), String> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("the output could not be written: {error}"))
        }
        _ => Ok(()),
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let program = Program::parse();
    let done = match program.command {
        Some(Command::Serve(options)) => serve(&options).await,
        Some(Command::Watch { url, slow }) => watch(&url, slow).await,
        None => demonstrate(&program.demo).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}
