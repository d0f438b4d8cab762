//! What rejoin is for, in one program: messages go both ways over a TCP connection that is cut
//! again and again, and every one of them arrives once and in order.
//!
//! The [schedule] says where the connection is cut, the [saboteur] does it through a proxy, each
//! direction is a [lane], and the [checker] keeps books of its own about what arrives. The library
//! has no part in the verdict.

mod checker;
mod lane;
mod meter;
mod options;
mod report;
mod run;
mod saboteur;
mod schedule;
mod screen;

use std::error::Error;
use std::process::ExitCode;

use options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::from_command_line();
    if options.show_schedule {
        for (index, cut) in schedule::schedule(&options).iter().enumerate() {
            println!("{:>5}  {cut}", index + 1);
        }
        return ExitCode::SUCCESS;
    }
    match run::run(&options).await {
        Ok(report) => {
            if options.json {
                println!("{}", report.json());
            } else {
                print!("{report}");
            }
            let faults = report.faults();
            faults.iter().for_each(|fault| eprintln!("failed: {fault}"));
            if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let causes = std::iter::successors(error.source(), |&error| error.source());
            let line = causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"));
            eprintln!("failed: {line}");
            ExitCode::FAILURE
        }
    }
}
