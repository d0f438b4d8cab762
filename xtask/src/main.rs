//! The project's own commands, run as `cargo xtask COMMAND`. One file per command; nothing here is
//! needed to build or use the library.

mod api;
mod bench;
mod chaos;
mod ci;
mod conformance;
mod demo;
mod fuzz;
mod memcheck;
mod mutants;
mod package;
mod process;
mod scaffold;
mod sim;
mod soak;
mod test;
mod tidy;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// What a command comes to: its exit code, or why it could not do its work.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    /// Runs every test of the workspace and prints one line of totals.
    Test,
    /// Shows a conversation that survives the faults of a real network.
    #[command(disable_help_flag = true)]
    Demo {
        /// Passed on to the demo; `--help` lists what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Runs the conformance suite over every transport and prints the matrix of trials.
    Conformance(conformance::Options),
    /// Simulates the protocol under faults: `--seeds N`, `--seed S`, `--json`.
    #[command(disable_help_flag = true)]
    Sim {
        /// Passed on to the simulator; `--help` lists what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measures what a conduit costs over its own link: `--quick`, `--json`, `--report`, `--peers`.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the measurements; `--help` lists what they take.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Runs sessions between processes under real faults, over every transport: `--minutes M`,
    /// `--seed S`, `--json`.
    #[command(disable_help_flag = true)]
    Chaos {
        /// Passed on to the program; `--help` lists what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Streams ten million messages over a link that is cut again and again, and watches the memory.
    #[command(disable_help_flag = true)]
    Soak {
        /// Passed on to the program; `--help` lists what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Plants kept bugs, one at a time, and requires that a test notices each.
    Mutants(mutants::Options),
    /// Throws hostile bytes at whatever reads them, guided by coverage where the tools are there.
    Fuzz(fuzz::Options),
    /// Runs the tests of the one module with `unsafe` code under a checker of memory.
    Memcheck,
    /// Compares the public API of each crate with what is kept of it in `docs/api`.
    Api(api::Options),
    /// Makes the packages that are published, builds each from what is in it, and tells their order.
    Package(package::Options),
    /// Begins a crate for a new transport, which compiles and tells what is to be written.
    #[command(subcommand)]
    Scaffold(scaffold::Options),
    /// Runs all that a change has to pass: the tests, then the lints.
    Ci,
    /// Checks the project's own conventions, which no compiler knows.
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse() {
        Xtask::Test => test::main(),
        Xtask::Demo { args } => demo::main(&args),
        Xtask::Conformance(options) => conformance::main(&options),
        Xtask::Sim { args } => sim::main(&args),
        Xtask::Bench { args } => bench::main(&args),
        Xtask::Chaos { args } => chaos::main(&args),
        Xtask::Soak { args } => soak::main(&args),
        Xtask::Mutants(options) => mutants::main(&options),
        Xtask::Fuzz(options) => fuzz::main(&options),
        Xtask::Memcheck => memcheck::main(),
        Xtask::Api(options) => api::main(&options),
        Xtask::Package(options) => package::main(&options),
        Xtask::Scaffold(options) => scaffold::main(&options),
        Xtask::Ci => ci::main(),
        Xtask::Tidy => tidy::main(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
