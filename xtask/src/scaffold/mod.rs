//! `cargo xtask scaffold`: begins a crate for somebody who wants to add a transport.
//!
//! The crate compiles at once. What is still to be written returns an error that says so, and its
//! conformance test fails with that. Nothing that exists is changed or replaced.

mod name;
mod templates;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::Outcome;
use crate::process::root;
use name::Name;
use templates::{Home, files};

/// What the command takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// A crate with a link, a source, a listener and a conformance test that tells what is missing.
    Transport(Transport),
}

/// A transport to begin.
#[derive(Debug, Args)]
pub(crate) struct Transport {
    /// What it is called, such as `mqtt`: the crate is then `rejoin-mqtt`.
    name: Name,
    /// The folder to make the crate's folder in; `crates` of this workspace unless told.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub(crate) fn main(options: &Options) -> Outcome {
    let Options::Transport(transport) = options;
    let folder = transport.make()?;
    println!("made {}", folder.display());
    println!("next: cargo test --test conformance, in that folder, says what to write");
    println!("docs/writing-a-transport.md tells what each part has to take care of");
    Ok(ExitCode::SUCCESS)
}

impl Transport {
    /// Writes the crate, and gives its folder.
    fn make(&self) -> Result<PathBuf, Box<dyn Error>> {
        let root = root();
        let crates = root.join("crates");
        let parent = self.path.as_deref().unwrap_or(&crates);
        let parent = parent
            .canonicalize()
            .map_err(|error| format!("there is no folder {}: {error}", parent.display()))?;
        let folder = parent.join(self.name.package());
        let checkout = root.to_string_lossy().into_owned();
        let home = if parent == crates.canonicalize()? {
            Home::Here
        } else {
            Home::Elsewhere { checkout: &checkout, version: env!("CARGO_PKG_VERSION") }
        };
        // Never into a folder that is there, not even an empty one: it is somebody's.
        fs::create_dir(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{} exists already", folder.display()),
            _ => format!("{} cannot be made: {error}", folder.display()),
        })?;
        for (path, text) in files(&self.name, home) {
            write(&folder.join(path), &text)?;
        }
        Ok(folder)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let done =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    done.map_err(|error| format!("{} cannot be written: {error}", path.display()).into())
}
