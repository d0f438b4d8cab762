//! How the commands run other programs: from the root of the workspace, shown before they start.

use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// The root of the workspace that this build of xtask belongs to.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .expect("cargo sets this for what `cargo run` and `cargo test` start");
    Path::new(&package).parent().expect("xtask is a folder of the workspace").to_path_buf()
}

/// The cargo that runs this program, about to be called from the root.
pub(crate) fn cargo<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs `command` to its end with this program's own input and output.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus, Box<dyn Error>> {
    announce(command);
    command.status().map_err(|error| cannot_run(command, error))
}

/// Runs `command` to its end and gives `each` every line of its standard output as it comes.
pub(crate) fn run_lines(
    command: &mut Command,
    mut each: impl FnMut(&str) -> io::Result<()>,
) -> Result<ExitStatus, Box<dyn Error>> {
    announce(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| cannot_run(command, error))?;
    let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut line = Vec::new();
    // Bytes, not `lines()`: a test may print what is not UTF-8.
    while stdout.read_until(b'\n', &mut line)? > 0 {
        each(&String::from_utf8_lossy(&line))?;
        line.clear();
    }
    Ok(child.wait()?)
}

/// Runs `command` to its end, shows its standard error and gives `each` every line of it.
pub(crate) fn run_stderr_lines(
    command: &mut Command,
    mut each: impl FnMut(&str),
) -> Result<ExitStatus, Box<dyn Error>> {
    announce(command);
    let mut child =
        command.stderr(Stdio::piped()).spawn().map_err(|error| cannot_run(command, error))?;
    let mut stderr = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let mut line = Vec::new();
    while stderr.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        eprint!("{text}");
        each(&text);
        line.clear();
    }
    Ok(child.wait()?)
}

/// Runs `command` and gives its standard output, which it must end well to give.
pub(crate) fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| cannot_run(command, error))?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", shown(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The exit code with which a program passes on how another one ended.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code().map(u8::try_from) {
        Some(Ok(code)) => ExitCode::from(code),
        // Ended by a signal, or with a code that only this platform has.
        _ => ExitCode::FAILURE,
    }
}

fn announce(command: &Command) {
    eprintln!("$ {}", shown(command));
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cannot_run(command: &Command, error: io::Error) -> Box<dyn Error> {
    format!("cannot run `{}`: {error}", shown(command)).into()
}
