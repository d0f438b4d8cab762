//! `cargo xtask ci`: all that a change has to pass, in one list. `.ci/run` calls it.
//!
//! A failed step does not hide the ones after it, except that nothing can follow a broken build.

use std::error::Error;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::process::{cargo, output, run};
use crate::{Outcome, test};

pub(crate) fn main() -> Outcome {
    let tally = test::run_all()?;
    let mut failed = Vec::new();
    if !tally.good() {
        failed.push("test");
    }
    let features =
        features_alone(&output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?)?;
    for (name, mut command) in lints().into_iter().chain(features) {
        if !run(&mut command)?.success() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
    }
    println!("{tally}");
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lints() -> [(&'static str, Command); 5] {
    // Programs that are not published have nothing to gain from fewer features.
    let check = "check --workspace --exclude rejoin-bench --exclude rejoin-examples \
                 --exclude rejoin-tests --exclude xtask";
    let clippy = "clippy --workspace --all-targets --all-features -- -D warnings";
    let mut doc = cargo("doc --workspace --no-deps --all-features".split(' '));
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    [
        ("default features", cargo(check.split_whitespace())),
        ("fmt", cargo("fmt --all --check".split(' '))),
        ("clippy", cargo(clippy.split(' '))),
        ("doc", doc),
        ("tidy", cargo(["xtask", "tidy"])),
    ]
}

/// Builds each library with each of its features alone: with none and with all, others do. A crate
/// that has one feature only is thereby through.
fn features_alone(metadata: &str) -> Result<Vec<(&'static str, Command)>, Box<dyn Error>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let mut checks = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let features = package["features"].as_object().into_iter().flatten();
        let features: Vec<_> =
            features.map(|(name, _)| name).filter(|it| *it != "default").collect();
        if !package["publish"].is_null() || features.len() < 2 {
            continue;
        }
        let name = package["name"].as_str().ok_or("a package has no name")?;
        for feature in features {
            let check =
                ["check", "--package", name, "--no-default-features", "--features", feature];
            checks.push(("a feature alone", cargo(check)));
        }
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_with_several_features_are_built_with_each() {
        let metadata = r#"{ "packages": [
            { "name": "a", "publish": null, "features": { "x": [], "y": [], "default": [] } },
            { "name": "b", "publish": null, "features": { "x": [] } },
            { "name": "c", "publish": [], "features": { "x": [], "y": [] } }
        ] }"#;
        let checks = features_alone(metadata).unwrap();
        let shown: Vec<_> = checks
            .iter()
            .map(|(_, command)| command.get_args().last().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(shown, ["x", "y"]);
        assert!(checks.iter().all(|(_, it)| it.get_args().any(|word| word == "a")));
    }
}
