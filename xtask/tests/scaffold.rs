//! A crate that was just begun compiles, and its conformance test says what is to be written.
//!
//! The templates are Rust as they stand, so they are compiled here, as a part of this test, with the
//! dependencies that are built anyway; a build of a crate of its own would build all of them again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use rejoin_conformance::{Suite, Verdict};

#[path = "../src/scaffold/templates/lib.rs"]
#[expect(unreachable_pub, unused_imports, reason = "what it offers is for users elsewhere")]
mod template;

// The fixture of the template knows the crate from outside, by its name.
extern crate self as rejoin_xyz;
#[doc(hidden)]
pub use template::{XyzConfig, XyzLinkListener, XyzSource};

#[path = "../src/scaffold/templates/conformance.rs"]
#[expect(dead_code, reason = "it has a `main` of its own")]
mod conformance;

#[test]
fn no_trial_passes_and_each_says_what_is_missing() {
    let suite = Suite::new(conformance::Xyz);
    let mut named = BTreeSet::new();
    for name in Suite::names() {
        let verdict = suite.run(name).unwrap();
        let Verdict::Failed { because } = verdict else { panic!("{name}: {verdict:?}") };
        let (_, rest) = because.split_once("not written yet: `").expect(&because);
        named.insert(rest.split_once('`').unwrap().0.to_owned());
    }
    // Each hides those that are asked for later.
    let first = [
        "Fixture::exhausted in tests/conformance.rs",
        "Fixture::nobody in tests/conformance.rs",
        "XyzLinkListener::bind in src/listener.rs",
    ];
    assert_eq!(named, first.map(str::to_owned).into());
}

fn scaffold(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["scaffold", "transport"]).args(arguments).arg("--path").arg(folder);
    command.output().unwrap()
}

/// An empty folder that is this test's alone.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scaffold-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_crate_outside_of_the_workspace_is_whole() {
    let folder = folder("outside");
    let output = scaffold(&["radio-modem"], &folder);
    assert!(output.status.success(), "{output:?}");
    let made = folder.join("rejoin-radio-modem");
    let mut files = 0;
    let mut waiting = vec![made.clone()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.to_lowercase().contains("xyz"), "{path:?}: {text}");
    }
    assert_eq!(files, 9);
    let source = fs::read_to_string(made.join("src/source.rs")).unwrap();
    assert!(source.contains("impl LinkSource for RadioModemSource {"), "{source}");

    // Cargo can resolve it, with the versions that are here.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::copy(root.join("Cargo.lock"), made.join("Cargo.lock")).unwrap();
    let cargo = |arguments: &str| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let cargo = cargo.current_dir(&made).arg("--offline").args(arguments.split(' '));
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    // For this platform only: nothing has asked for those of the others on a fresh machine.
    cargo("tree --edges normal,dev");
    let metadata = cargo("metadata --no-deps --format-version=1");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let made = packages.iter().find(|package| package["name"] == "rejoin-radio-modem").unwrap();
    let targets = made["targets"].as_array().unwrap();
    let names: BTreeSet<_> = targets.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["conformance", "rejoin_radio_modem"].into());
}

#[track_caller]
fn check_refused(output: &Output, expected: &str) {
    assert!(!output.status.success(), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains(expected), "{message}");
}

#[test]
fn nothing_that_exists_is_touched() {
    let folder = folder("exists");
    fs::create_dir(folder.join("rejoin-mine")).unwrap();
    check_refused(&scaffold(&["mine"], &folder), "rejoin-mine exists already");
    assert_eq!(fs::read_dir(folder.join("rejoin-mine")).unwrap().count(), 0);
    check_refused(&scaffold(&["new"], &folder.join("gone")), "there is no folder");
    check_refused(&scaffold(&["../mine"], &folder), "is no name for a transport");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}
