//! What rejoin is for, in one program: messages go both ways over a connection that is cut again and
//! again, or from one transport to another and back, and every one of them arrives once and in order.
//!
//! What is between the two sides is a [medium](media). The [schedule] says where a connection is
//! cut, and the [saboteur] does it through a proxy; what has no proxy is harmed in [steps]. Each
//! direction is a [lane], and the [checker] keeps books of its own about what arrives. The library
//! has no part in the verdict.

mod checker;
mod lane;
mod media;
mod meter;
mod options;
mod report;
mod run;
mod saboteur;
mod schedule;
mod screen;
mod steps;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::from_command_line();
    let failures = if options.show_schedule {
        let cuts = schedule::schedule(&options).into_iter().map(|cut| cut.to_string());
        let cuts = cuts.chain(steps::steps(&options).into_iter().map(|step| step.to_string()));
        let lines = cuts.enumerate().map(|(index, cut)| format!("{:>5}  {cut}", index + 1));
        print(lines).err().into_iter().collect()
    } else {
        run_and_print(&options).await
    };
    for failure in &failures {
        // The exit code tells it even where nobody listens.
        let _ = writeln!(io::stderr(), "failed: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives what speaks against success.
async fn run_and_print(options: &Options) -> Vec<String> {
    let (report, done) = run::run(options).await;
    let printed =
        if options.json { print([report.json()]) } else { print(report.to_string().lines()) };
    let mut failures = match done {
        Ok(()) => report.faults(),
        Err(error) => vec![with_causes(&error)],
    };
    failures.extend(printed.err());
    failures
}

/// Prints lines, as long as somebody reads them.
fn print(lines: impl IntoIterator<Item = impl fmt::Display>) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let mut lines = lines.into_iter();
    match lines.try_for_each(|line| writeln!(stdout, "{line}")).and_then(|()| stdout.flush()) {
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
