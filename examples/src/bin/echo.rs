//! The smallest client and server: the client sends lines, the server sends them back in capitals.
//!
//! Take the network away between the two and give it back: nothing here has to care. Settings are
//! not shown here, nor any dealing with several sessions beyond a task for each.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use facet::Facet;
use rejoin_tcp::{StableConduit, StableListener, TcpLinkListener, TcpSource};

/// A client sends lines, a server sends them back in capitals.
#[derive(Parser)]
enum Command {
    /// Answers clients until it is stopped.
    Serve {
        /// Where to listen; port 0 lets the system choose one.
        #[arg(long, default_value = "127.0.0.1:7000", value_name = "HOST:PORT")]
        listen: String,
    },
    /// Sends lines and prints the answers.
    Call {
        /// Where the server listens.
        #[arg(long, default_value = "127.0.0.1:7000", value_name = "HOST:PORT")]
        connect: String,
        /// What to send.
        #[arg(required = true)]
        lines: Vec<String>,
    },
}

/// What both sides send.
#[derive(Facet)]
struct Line {
    number: usize,
    text: String,
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpLinkListener::bind(address).await?;
    print(&format!("listening on {}", listener.local_addr()?))?;
    let mut sessions = StableListener::<Line>::new(listener);
    loop {
        let conduit = sessions.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = answer(conduit).await {
                let _ = writeln!(io::stderr(), "{}", with_causes(&*error));
            }
        });
    }
}

async fn answer(conduit: StableConduit<Line>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (tx, mut rx) = conduit.split();
    while let Some(line) = rx.recv().await? {
        let answer = Line { number: line.number, text: line.text.to_uppercase() };
        tx.send(&answer).await?;
    }
    Ok(())
}

async fn call(address: &str, lines: Vec<String>) -> Result<(), Box<dyn Error>> {
    let conduit = StableConduit::<Line>::connect(TcpSource::new(address)).await?;
    let (tx, mut rx) = conduit.split();
    for (number, text) in lines.into_iter().enumerate() {
        tx.send(&Line { number, text }).await?;
        let Some(answer) = rx.recv().await? else { break };
        print(&format!("{}: {}", answer.number, answer.text))?;
    }
    tx.close().await?;
    Ok(())
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
    let done = match Command::parse() {
        Command::Serve { listen } => serve(&listen).await,
        Command::Call { connect, lines } => call(&connect, lines).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}
