//! `cargo xtask api`: what users of each crate can name, one line each, kept in `docs/api/`, so that
//! every change of it is a change of a file that somebody reads.
//!
//! It works with any toolchain, because it reads the sources and not what the compiler makes of them.
//! What it lacks for that: what macros make, but for derives; auto traits (the tests of the crates pin
//! those); inferred types and the values of constants; the items of other crates behind `pub use
//! name::*`, which have a file of their own. Every `cfg` counts as set, and is shown.

mod allowed;
mod diff;
mod krate;
mod show;
mod surface;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::Outcome;
use crate::process::{cargo, output, root};
use crate::tidy::is_published;
use krate::Crate;
use surface::Surface;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keeps what there is now.
    #[arg(long)]
    bless: bool,
}

pub(crate) fn main(options: &Options) -> Outcome {
    let mut faults = Vec::new();
    for package in packages()? {
        let surface = Surface::of(&package.read()?);
        if options.bless {
            fs::write(package.kept_at(), text(&surface.lines))?;
        }
        faults.extend(package.faults(&surface));
    }
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", faults.join("\n"));
    Err("the public API is not what is kept of it; `cargo xtask api --bless` keeps what it is"
        .into())
}

/// A library that users depend on.
#[derive(Debug)]
struct Package {
    name: String,
    root: PathBuf,
    /// As they are written in code.
    dependencies: Vec<String>,
}

impl Package {
    fn read(&self) -> Result<Crate, Box<dyn Error>> {
        Crate::read(&self.name.replace('-', "_"), &self.root, self.dependencies.clone())
    }

    fn kept_at(&self) -> PathBuf {
        root().join("docs/api").join(&self.name).with_extension("txt")
    }

    /// What differs from what is kept, and what may not stand in an API.
    fn faults(&self, surface: &Surface) -> Vec<String> {
        let kept = fs::read_to_string(self.kept_at()).unwrap_or_default();
        let kept: BTreeSet<_> = kept.lines().map(str::to_owned).collect();
        let mut faults = diff::changes(&kept, &surface.lines);
        let strangers = allowed::faults(allowed::ALLOWED, &self.name, &surface.foreign);
        faults.extend(strangers.into_iter().map(|fault| format!("{}: {fault}", self.name)));
        faults
    }
}

/// The libraries of the workspace that are published.
fn packages() -> Result<Vec<Package>, Box<dyn Error>> {
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    packages
        .iter()
        .filter(|package| is_published(package))
        .map(|package| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let library = list(&package["targets"])
                .into_iter()
                .find(|target| list(&target["kind"]).iter().any(|kind| kind == "lib"))
                .ok_or_else(|| format!("{} is published and no library", package["name"]))?;
            let dependencies = list(&package["dependencies"])
                .iter()
                .filter(|it| it["kind"] != "dev")
                .map(|it| {
                    if it["rename"].is_string() { &it["rename"] } else { &it["name"] }.clone()
                })
                .map(|name| text(&name).replace('-', "_"))
                .chain(["std", "core", "alloc"].map(str::to_owned))
                .collect();
            let source = text(&library["src_path"]);
            Ok(Package {
                name: text(&package["name"]),
                root: Path::new(&source).to_path_buf(),
                dependencies,
            })
        })
        .collect()
}

fn text(lines: &BTreeSet<String>) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}
