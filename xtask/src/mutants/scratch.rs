//! A copy of the tree in which mutants are planted. It stays between runs: files that are as they
//! were keep their times, so that cargo builds only what depends on what changed.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::table::Mutant;
use crate::process::{cargo, output, root};

/// The file of a mutant, from the root.
pub(super) fn path(mutant: &Mutant) -> PathBuf {
    Path::new("crates/rejoin-core/src").join(mutant.file)
}

#[derive(Debug)]
pub(super) struct Scratch {
    source: PathBuf,
    home: PathBuf,
}

impl Scratch {
    /// Brings the copy up to date.
    pub(super) fn new() -> Result<Self, Box<dyn Error>> {
        let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        let target = metadata["target_directory"].as_str().ok_or("cargo names no target folder")?;
        let scratch = Self { source: root(), home: Path::new(target).join("mutants") };
        let mut kept = BTreeSet::new();
        copy(&scratch.source, &scratch.tree(), Path::new(""), &mut kept)?;
        remove_others(&scratch.tree(), Path::new(""), &kept)?;
        Ok(scratch)
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// What the last suite said.
    pub(super) fn said(&self) -> PathBuf {
        self.home.join("said")
    }

    /// A cargo command in the copy, with a target folder of its own.
    pub(super) fn cargo(&self, words: &str) -> Command {
        let mut command = cargo(words.split(' '));
        command.current_dir(self.tree()).env("CARGO_TARGET_DIR", self.home.join("target"));
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        command
    }

    pub(super) fn plant(&self, mutant: &Mutant) -> Result<(), Box<dyn Error>> {
        let text = fs::read_to_string(self.source.join(path(mutant)))?;
        let found = text.matches(mutant.search).count();
        if found != 1 {
            return Err(
                format!("{}: its text stands {found} times in its file", mutant.name).into()
            );
        }
        let text = text.replace(mutant.search, mutant.replacement);
        Ok(fs::write(self.tree().join(path(mutant)), text)?)
    }

    pub(super) fn restore(&self, mutant: &Mutant) -> io::Result<()> {
        let text = fs::read(self.source.join(path(mutant)))?;
        fs::write(self.tree().join(path(mutant)), text)
    }
}

/// What is built, and not what tools and editors leave.
fn is_ours(name: &str) -> bool {
    name == ".cargo" || (name != "target" && !name.starts_with('.'))
}

fn copy(from: &Path, to: &Path, folder: &Path, kept: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    fs::create_dir_all(to.join(folder))?;
    for entry in fs::read_dir(from.join(folder))? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_ours) {
            continue;
        }
        let path = folder.join(entry.file_name());
        #[cfg(unix)]
        if entry.file_type()?.is_symlink() {
            copy_link(&entry.path(), &to.join(&path))?;
            kept.insert(path);
            continue;
        }
        let kind = fs::metadata(entry.path())?;
        if kind.is_dir() {
            copy(from, to, &path, kept)?;
        } else if kind.is_file() {
            let bytes = fs::read(from.join(&path))?;
            if fs::read(to.join(&path)).ok().as_ref() != Some(&bytes) {
                fs::write(to.join(&path), bytes)?;
            }
            kept.insert(path);
        }
    }
    Ok(())
}

/// What is planted in a file is then in all that lead to it.
#[cfg(unix)]
fn copy_link(from: &Path, to: &Path) -> io::Result<()> {
    let target = fs::read_link(from)?;
    if fs::read_link(to).ok().as_ref() == Some(&target) {
        return Ok(());
    }
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to)?;
    }
    std::os::unix::fs::symlink(target, to)
}

/// Files that are no longer in the tree would go on being built.
fn remove_others(tree: &Path, folder: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(tree.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(tree, &path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(tree.join(path))?;
        }
    }
    Ok(())
}
