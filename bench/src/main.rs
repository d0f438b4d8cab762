//! `cargo xtask bench`: the command line of the measurements. What they are is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(unix)]
    return rejoin_bench::bench();
    #[cfg(not(unix))]
    {
        eprintln!("the measurements need the sockets and terminals of Unix");
        ExitCode::FAILURE
    }
}
