//! A remote shell that goes on after the network was away: over TCP, a Unix socket, a WebSocket or a
//! serial line, with the very same code behind them.
//!
//! The [server](serve) gives each session a [shell] on a pseudo-terminal of its own, the
//! [client](connect) puts the local [terminal](tty) into raw mode and passes on what is typed. Nothing
//! in either deals with links that die: what the shell has printed meanwhile comes once there is a link
//! again, and what was typed goes to the shell. All that the client does about it is to
//! [say so](notice).
//!
//! There is no memory to worry about, either: a shell whose output nobody reads waits, as it does on a
//! terminal that was stopped with Ctrl-S, because sending waits while the bounded log of the session is
//! full.
//!
//! What is deliberately missing is what a shell for strangers needs: encryption and logins. A session
//! also lives in the memory of both programs, so it survives neither of them.

#[cfg(unix)]
mod address;
#[cfg(unix)]
mod connect;
#[cfg(unix)]
mod escape;
#[cfg(unix)]
mod message;
#[cfg(unix)]
mod notice;
#[cfg(unix)]
mod options;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod shell;
#[cfg(unix)]
mod tty;

#[cfg(unix)]
use std::{error::Error, io, io::Write};

use std::process::ExitCode;

/// Whatever ends a part of this program.
#[cfg(unix)]
type Failure = Box<dyn Error + Send + Sync>;

/// The exit code when that of the shell is not known, as `ssh` has it.
#[cfg(unix)]
const UNKNOWN: u8 = 255;

#[cfg(unix)]
#[tokio::main]
async fn main() -> ExitCode {
    use clap::Parser;

    use options::{Command, Options};

    let options = Options::parse();
    let done = match &options.command {
        Some(Command::Serve { listen, .. }) => serve::run(listen).await.map(|()| 0),
        Some(Command::Connect { address, quiet, command }) => {
            connect::run(address, command, *quiet).await
        }
        None => both(&options.program).await,
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The exit code tells it even where nobody listens.
            let _ = writeln!(io::stderr(), "failed: {}", with_causes(&*error));
            ExitCode::from(UNKNOWN)
        }
    }
}

/// A server and its client in one process, over a socket that no other user can reach.
#[cfg(unix)]
async fn both(command: &[String]) -> Result<u8, Failure> {
    use address::{Address, PrivateFolder};

    let folder = PrivateFolder::new()?;
    let address = Address::Unix(folder.path().join("terminal"));
    let (listener, address) = address.listen().await?;
    let server = tokio::spawn(serve::serve(listener, address.clone()));
    let done = connect::run(&address, command, false).await;
    server.abort();
    done
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("failed: this example needs pseudo-terminals, which only Unix has");
    ExitCode::FAILURE
}

/// An error and what caused it, in one line.
#[cfg(unix)]
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
