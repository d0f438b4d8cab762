//! `cargo xtask package`: makes the packages that are published, builds each from what is in it, and
//! tells in which order they are published.
//!
//! It publishes nothing: that is for a person, with `docs/releasing.md` at hand.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::Outcome;
use crate::process::{cargo, exit_code, output, run};
use crate::tidy::is_published;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only tells the order.
    #[arg(long)]
    order: bool,
    /// Also with changes that are not committed.
    #[arg(long)]
    allow_dirty: bool,
}

pub(crate) fn main(options: &Options) -> Outcome {
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let order = order(&metadata)?;
    if !options.order {
        let mut command = cargo(["package"]);
        command.args(order.iter().flat_map(|name| ["--package", name]));
        command.args(options.allow_dirty.then_some("--allow-dirty"));
        let status = run(&mut command)?;
        if !status.success() {
            return Ok(exit_code(status));
        }
    }
    let mut stdout = io::stdout().lock();
    for name in order {
        // Read by `head` and the like, which may have left.
        writeln!(stdout, "cargo publish -p {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of the published packages, each after those that it needs, also for its tests: the
/// registry wants to know them all.
fn order(metadata: &Value) -> Result<Vec<&str>, String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut waiting: Vec<&Value> = packages.iter().filter(|it| is_published(it)).collect();
    waiting.sort_by_key(|package| package["name"].as_str());
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let needs = |package: &Value, other: &Value| {
            let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
            dependencies.iter().any(|dependency| dependency["name"] == other["name"])
        };
        let next = waiting
            .iter()
            .position(|package| !waiting.iter().any(|other| needs(package, other)))
            .ok_or("the packages need each other in a circle")?;
        order.push(waiting.remove(next)["name"].as_str().ok_or("a package has no name")?);
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, needs: &[&str]) -> Value {
        let needs: Vec<_> = needs.iter().map(|name| json!({ "name": name })).collect();
        json!({ "name": name, "publish": null, "dependencies": needs })
    }

    #[test]
    fn each_comes_after_what_it_needs() {
        let mut private = package("a-tests", &["tcp"]);
        private["publish"] = json!([]);
        let packages = json!([
            package("tcp", &["core", "suite"]),
            private,
            package("suite", &["core"]),
            package("core", &["bytes"])
        ]);
        assert_eq!(order(&json!({ "packages": packages })), Ok(vec!["core", "suite", "tcp"]));
    }

    #[test]
    fn a_circle_is_told() {
        let packages = json!([package("a", &["b"]), package("b", &["a"])]);
        assert!(order(&json!({ "packages": packages })).is_err());
    }
}
