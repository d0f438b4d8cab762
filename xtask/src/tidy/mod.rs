//! `cargo xtask tidy`: the project's own conventions, as a scan of its text.
//!
//! It understands Rust only as far as [`source`] does: comments, strings, doc comments, test code
//! and the heads of functions. A check is a function from the [`Tree`] to its faults; its tests
//! run it on small trees, and the test below runs all of them on the real one.

mod dependencies;
mod docs;
mod licences;
mod packaging;
mod rules;
mod source;
mod text;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use crate::Outcome;
use crate::process::{cargo, output, root};
use source::Source;

pub(crate) use packaging::is_published;

pub(crate) fn main() -> Outcome {
    let faults = faults()?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("tidy found {} to mend", faults.len()).into())
}

fn faults() -> Result<Vec<Fault>, Box<dyn Error>> {
    let tree = Tree::load(&root())?;
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata = serde_json::from_str(&metadata)?;
    let mut faults = dependencies::check(&tree, &metadata);
    faults.extend(packaging::check(&tree, &metadata));
    // What is not for this platform may not have been downloaded.
    let all = ["metadata", "--all-features", "--format-version=1", "--filter-platform", &host()?];
    faults.extend(licences::check(&tree, &serde_json::from_str(&output(&mut cargo(all))?)?));
    for check in CHECKS {
        faults.extend(check(&tree));
    }
    faults.sort();
    Ok(faults)
}

/// The platform that this toolchain builds for.
fn host() -> Result<String, Box<dyn Error>> {
    let version = output(&mut cargo(["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("cargo does not say its host")?.to_owned())
}

const CHECKS: [fn(&Tree) -> Vec<Fault>; 9] = [
    docs::modules_say_what_they_are_for,
    docs::functions_state_their_contract,
    docs::markdown_code_is_compiled,
    rules::check,
    text::protocol_is_pure,
    text::files_are_short,
    text::nothing_unfinished,
    text::tests_do_not_sleep,
    text::no_machine_paths,
];

/// One place that breaks a convention.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    path: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl Fault {
    /// A fault in the line with this index, counted from 0.
    fn at(path: &str, index: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: index + 1, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The project's files.
#[derive(Debug, Default)]
struct Tree {
    /// Every text file: its path from the root, with `/`, and what it holds.
    texts: Vec<(String, String)>,
    /// The Rust among them.
    sources: Vec<Source>,
}

impl Tree {
    fn load(root: &Path) -> io::Result<Self> {
        let mut texts = Vec::new();
        collect(root, "", &mut texts)?;
        texts.sort();
        Ok(Self::new(texts))
    }

    fn new(texts: Vec<(String, String)>) -> Self {
        let rust = texts.iter().filter(|(path, _)| path.ends_with(".rs"));
        let mut sources: Vec<_> = rust.map(|(path, text)| Source::new(path, text)).collect();
        source::mark_test_modules(&mut sources);
        Self { texts, sources }
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|(each, _)| each == path).map(|(_, text)| text.as_str())
    }
}

/// Reads every text file under `folder` but for what tools and editors leave there.
fn collect(folder: &Path, prefix: &str, texts: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        let is_ours = match name.as_str() {
            ".cargo" | ".ci" | ".github" => true,
            _ => name != "target" && !name.starts_with('.'),
        };
        if kind.is_dir() && is_ours {
            collect(&entry.path(), &format!("{path}/"), texts)?;
        } else if kind.is_file() && name != ".git" {
            // What is not UTF-8 is not text.
            if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
                texts.push((path, text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one check on a tree of these files and compares the faults as they are shown, up to
    /// the colon before the message.
    #[track_caller]
    pub(super) fn check(check: fn(&Tree) -> Vec<Fault>, files: &[(&str, &str)], expected: &[&str]) {
        let texts = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned()));
        let mut faults = check(&Tree::new(texts.collect()));
        faults.sort();
        let places: Vec<_> =
            faults.iter().map(|fault| format!("{}:{}", fault.path, fault.line)).collect();
        assert_eq!(places, expected, "{faults:#?}");
    }

    #[test]
    fn the_project_is_tidy() {
        let faults = faults().unwrap();
        let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "\n{}\n", shown.join("\n"));
    }

    #[test]
    fn a_fault_shows_where_it_is() {
        assert_eq!(Fault::at("a/b.rs", 0, "is wrong").to_string(), "a/b.rs:1: is wrong");
    }
}
