//! A transport of one's own: sessions through the standard input and output of a child process, as
//! with `ssh host custom_link relay`.
//!
//! ```text
//!  custom_link call                 ssh host custom_link relay          custom_link serve
//!  the session's one end   ══pipes══   a child, may be killed   ══TCP══   its other end
//! ```
//!
//! The child only carries bytes. When it is killed, `call` starts another one, which connects to the
//! same server, and the session goes on where it was. Had the child itself been the peer, the
//! session would have died with it: an end of a session must live where nothing kills it.
//!
//! The transport is in [`transport`], four small files; the rest of this folder uses it.

mod demo;
mod relay;
mod transport;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use facet::Facet;
use rejoin_stream::StreamConfig;
use rejoin_tcp::{StableConduit, StableListener};

use transport::{ProcessSource, RelayListener};

/// What ends a program or a task of it.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Sessions through a child process that may be killed at any time.
///
/// Without a command it shows that by itself: a server, a client, and relays of which one after
/// another is killed. The exit code is 0 if nothing was lost or came twice.
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
    /// Adds up the numbers of each client until it is stopped.
    Serve {
        /// Where relays connect to; port 0 lets the system choose one.
        #[arg(long, default_value = "127.0.0.1:7003", value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
    },
    /// Carries bytes between its standard input and output and a server: what `call` starts.
    Relay {
        /// Where the server listens.
        #[arg(long, default_value = "127.0.0.1:7003", value_name = "ADDRESS:PORT")]
        to: SocketAddr,
    },
    /// Sends numbers through a child process and prints the sum so far after each.
    ///
    /// For instance: custom_link call 1 2 3 -- ssh host custom_link relay
    Call {
        /// What to send.
        #[arg(required = true, allow_negative_numbers = true)]
        numbers: Vec<i64>,
        /// The command that is the link; a relay on this machine unless told.
        #[arg(last = true, value_name = "COMMAND")]
        through: Vec<OsString>,
    },
}

/// What both sides send.
#[derive(Facet)]
pub(crate) struct Number {
    pub(crate) value: i64,
}

async fn serve(listen: SocketAddr) -> Result<(), Failure> {
    let listener = RelayListener::bind(listen, StreamConfig::default()).await?;
    print(&format!("listening on {}", listener.local_addr()?))?;
    accept(StableListener::new(listener)).await
}

pub(crate) async fn accept(mut sessions: StableListener<Number>) -> Result<(), Failure> {
    loop {
        let conduit = sessions.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = sum(conduit).await {
                let _ = writeln!(io::stderr(), "{}", with_causes(&*error));
            }
        });
    }
}

/// Adds up for one client. The sum outlives the child, as the session does.
async fn sum(conduit: StableConduit<Number>) -> Result<(), Failure> {
    let (tx, mut rx) = conduit.split();
    let mut sum = 0_i64;
    while let Some(number) = rx.recv().await? {
        sum = sum.wrapping_add(number.value);
        tx.send(&Number { value: sum }).await?;
    }
    Ok(())
}

async fn call(numbers: Vec<i64>, through: Vec<OsString>) -> Result<(), Failure> {
    let (mut words, config) = (through.into_iter(), StreamConfig::default());
    let source = match words.next() {
        Some(program) => ProcessSource::new(program, words, config),
        None => ProcessSource::new(std::env::current_exe()?, ["relay"], config),
    };
    let (tx, mut rx) = StableConduit::<Number>::connect(source).await?.split();
    for value in numbers {
        tx.send(&Number { value }).await?;
        let Some(sum) = rx.recv().await? else { break };
        print(&sum.value.to_string())?;
    }
    tx.close().await?;
    Ok(())
}

async fn demonstrate(options: &demo::Options) -> Result<(), Failure> {
    let report = demo::run(options).await?;
    let shown = if options.json { report.json() } else { report.to_string() };
    print(&shown)?;
    if report.good() { Ok(()) } else { Err("the session did not come through".into()) }
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

fn main() -> ExitCode {
    let program = Program::parse();
    let done = match program.command {
        // Carries bytes with two threads, and wants no runtime.
        Some(Command::Relay { to }) => relay::run(to).map_err(Failure::from),
        command => run(command, &program.demo),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Option<Command>, demo: &demo::Options) -> Result<(), Failure> {
    match command {
        Some(Command::Serve { listen }) => serve(listen).await,
        Some(Command::Call { numbers, through }) => call(numbers, through).await,
        Some(Command::Relay { .. }) | None => demonstrate(demo).await,
    }
}
