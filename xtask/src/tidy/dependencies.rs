//! Which crate may depend on which: only on one of a lower layer. Dependencies of tests alone are
//! free.

use serde_json::Value;

use super::{Fault, Tree};
use crate::process::root;

/// The layers, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Layer {
    Core,
    Stream,
    /// Every other crate of `crates/`: a transport, or the suite that tests them.
    Transport,
    /// Examples, tests and xtask: nothing depends on them.
    Top,
}

struct Package<'a> {
    name: &'a str,
    /// Its folder's path from the root, with `/`.
    folder: String,
    /// Its dependencies, but for those of tests.
    dependencies: Vec<&'a str>,
}

impl Package<'_> {
    fn layer(&self) -> Layer {
        match self.name {
            "rejoin-core" => Layer::Core,
            "rejoin-stream" => Layer::Stream,
            _ if self.folder.starts_with("crates/") => Layer::Transport,
            _ => Layer::Top,
        }
    }
}

/// Checks what `cargo metadata --no-deps` says about the workspace.
pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Fault> {
    let packages: Vec<_> = list(&metadata["packages"]).iter().filter_map(package).collect();
    let mut faults = Vec::new();
    for package in &packages {
        let wrong = packages.iter().filter(|other| {
            package.dependencies.contains(&other.name) && other.layer() >= package.layer()
        });
        for other in wrong {
            let manifest = format!("{}Cargo.toml", package.folder);
            let text = tree.text(&manifest).unwrap_or_default();
            let line = text.lines().position(|line| line.trim_start().starts_with(other.name));
            let message = format!(
                "{} ({:?}) must not depend on {} ({:?}): dependencies go down the layers",
                package.name,
                package.layer(),
                other.name,
                other.layer(),
            );
            faults.push(Fault::at(&manifest, line.unwrap_or(0), message));
        }
    }
    faults
}

fn package(value: &Value) -> Option<Package<'_>> {
    let manifest = value["manifest_path"].as_str()?.replace('\\', "/");
    let root = root().to_string_lossy().replace('\\', "/");
    let path = manifest.strip_prefix(&root).unwrap_or(&manifest);
    let for_users = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
    Some(Package {
        name: value["name"].as_str()?,
        folder: path.trim_start_matches('/').strip_suffix("Cargo.toml")?.to_owned(),
        dependencies: list(&value["dependencies"])
            .iter()
            .filter(for_users)
            .filter_map(|dependency| dependency["name"].as_str())
            .collect(),
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_edge(from: &str, to: &str, kind: Option<&str>, allowed: bool) {
        let packages = [
            ("rejoin-core", "crates/rejoin-core"),
            ("rejoin-stream", "crates/rejoin-stream"),
            ("rejoin-tcp", "crates/rejoin-tcp"),
            ("rejoin-unix", "crates/rejoin-unix"),
            ("rejoin-examples", "examples"),
            ("xtask", "xtask"),
        ];
        let packages = packages.map(|(name, folder)| {
            let dependencies =
                if name == from { json!([{ "name": to, "kind": kind }]) } else { json!([]) };
            let manifest = root().join(folder).join("Cargo.toml");
            json!({ "name": name, "manifest_path": manifest, "dependencies": dependencies })
        });
        let manifest = format!("[dependencies]\n{to}.workspace = true\n");
        let tree = Tree::new(vec![(format!("crates/{from}/Cargo.toml"), manifest)]);
        let faults = check(&tree, &json!({ "packages": packages }));
        assert_eq!(faults.is_empty(), allowed, "{from} -> {to}: {faults:?}");
        if from.starts_with("rejoin-c") {
            assert!(faults.iter().all(|fault| fault.line == 2), "{faults:?}");
        }
    }

    #[test]
    fn dependencies_go_down_the_layers() {
        for (from, to, allowed) in [
            ("rejoin-stream", "rejoin-core", true),
            ("rejoin-tcp", "rejoin-core", true),
            ("rejoin-tcp", "rejoin-stream", true),
            ("rejoin-examples", "rejoin-tcp", true),
            ("xtask", "serde_json", true),
            ("rejoin-core", "rejoin-stream", false),
            ("rejoin-core", "rejoin-tcp", false),
            ("rejoin-stream", "rejoin-tcp", false),
            ("rejoin-tcp", "rejoin-unix", false),
            ("rejoin-core", "xtask", false),
            ("rejoin-tcp", "rejoin-examples", false),
            ("rejoin-examples", "xtask", false),
        ] {
            check_edge(from, to, None, allowed);
            check_edge(from, to, Some("build"), allowed);
            check_edge(from, to, Some("dev"), true);
        }
    }
}
