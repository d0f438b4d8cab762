//! Sessions between processes under faults, over every transport: `cargo xtask chaos`. The same
//! program, told so, is one of the peers.

use std::error::Error;
use std::process::ExitCode;

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("error: processes are frozen and cables laid on Unix only");
    ExitCode::FAILURE
}

#[cfg(unix)]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    program::main()
}

#[cfg(unix)]
mod program {
    use std::error::Error;
    use std::process::ExitCode;
    use std::time::Duration;

    use clap::{Parser, Subcommand};
    use rejoin_tests::chaos::{Life, Options, Transport, live, run};

    /// Runs sessions between processes under faults.
    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(subcommand)]
        peer: Option<Peer>,
        /// For how long there are faults.
        #[arg(long, default_value_t = 2.0)]
        minutes: f64,
        /// What the faults follow from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One transport, or several; all of them unless told.
        #[arg(long)]
        transport: Vec<Transport>,
        /// Ends with one line of JSON.
        #[arg(long)]
        json: bool,
    }

    #[derive(Debug, Subcommand)]
    enum Peer {
        /// Is one of the peers.
        #[command(hide = true)]
        Peer(Life),
    }

    pub(crate) fn main() -> Result<ExitCode, Box<dyn Error>> {
        let Arguments { peer, minutes, seed, mut transport, json } = Arguments::parse();
        if let Some(Peer::Peer(life)) = peer {
            live(life)?;
            return Ok(ExitCode::SUCCESS);
        }
        if transport.is_empty() {
            transport = Transport::ALL.to_vec();
        }
        let summary = run(&Options {
            transports: transport,
            time: Duration::try_from_secs_f64(minutes * 60.0)?,
            seed,
            program: std::env::current_exe()?,
            arguments: vec!["peer".into()],
        })?;
        if json {
            eprintln!("{summary}");
            println!("{}", summary.json());
        } else {
            println!("{summary}");
        }
        Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
