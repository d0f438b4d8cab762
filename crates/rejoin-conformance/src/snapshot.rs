//! The list of trials that a transport runs and skips, as a file that is reviewed with the code: a
//! trial that is lost, or skipped for another reason, is a visible difference.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use crate::capability::Capability;
use crate::trials;

/// Set to accept the present list.
const ACCEPT: &str = "REJOIN_ACCEPT";

/// What the file of this transport holds.
pub(crate) fn of(capability: &Capability) -> String {
    let mut text = format!("transport: {}\n", capability.name());
    for trial in trials::all() {
        let line = match capability.lacks(trial.needs) {
            None => writeln!(text, "{}: run", trial.name),
            Some(because) => writeln!(text, "{}: skipped, {because}", trial.name),
        };
        line.expect("a string takes everything");
    }
    text
}

/// Compares the file with what it should hold, or writes it where that is asked for.
pub(crate) fn check(path: &Path, current: &str) -> Result<(), String> {
    if std::env::var_os(ACCEPT).is_some_and(|value| value == "1") {
        return std::fs::write(path, current)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()));
    }
    let accepted = match std::fs::read_to_string(path) {
        Ok(text) => text.replace("\r\n", "\n"),
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    match difference(&accepted, current) {
        None => Ok(()),
        Some(difference) => Err(format!(
            "the trials of this transport differ from {}:\n{difference}\
             Accept this by running the test with {ACCEPT}=1, and review the file.",
            path.display()
        )),
    }
}

/// The lines that only one of the two has.
fn difference(accepted: &str, current: &str) -> Option<String> {
    if accepted == current {
        return None;
    }
    let missing = |from: &str, line: &str| !from.lines().any(|other| other == line);
    let gone = accepted.lines().filter(|line| missing(current, line)).map(|line| ('-', line));
    let new = current.lines().filter(|line| missing(accepted, line)).map(|line| ('+', line));
    let lines: String = gone.chain(new).map(|(sign, line)| format!("{sign} {line}\n")).collect();
    Some(if lines.is_empty() { "  only in the order of the lines\n".to_owned() } else { lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_trial_and_a_new_reason_are_differences() {
        assert_eq!(difference("a: run\n", "a: run\n"), None);
        let lines = difference("a: run\nb: run\n", "a: skipped, no a\n").unwrap();
        assert_eq!(lines, "- a: run\n- b: run\n+ a: skipped, no a\n");
        assert!(difference("a\nb\n", "b\na\n").unwrap().contains("order"));
    }
}
