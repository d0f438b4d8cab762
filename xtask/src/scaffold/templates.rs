//! What a new crate consists of: the files of `templates/`, in which `Xyz` and `xyz` stand for the
//! transport's name.

use super::name::Name;

/// The files of a crate but for its manifest, by their path in it.
const FILES: [(&str, &str); 8] = [
    ("README.md", include_str!("templates/README.md")),
    ("src/config.rs", include_str!("templates/config.rs")),
    ("src/error.rs", include_str!("templates/error.rs")),
    ("src/lib.rs", include_str!("templates/lib.rs")),
    ("src/link.rs", include_str!("templates/link.rs")),
    ("src/listener.rs", include_str!("templates/listener.rs")),
    ("src/source.rs", include_str!("templates/source.rs")),
    ("tests/conformance.rs", include_str!("templates/conformance.rs")),
];

const MANIFEST: &str = include_str!("templates/manifest.toml");

/// What a crate of another workspace needs of each dependency; that of one in here says it is the
/// workspace's.
const OUTSIDE: [(&str, &str); 2] = [("bytes", "\"1.12\""), ("thiserror", "\"2.0\"")];

/// Where a crate is to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home<'a> {
    /// Among the crates of this workspace.
    Here,
    /// Anywhere else, as a workspace of its own: `checkout` is the root of this one.
    Elsewhere {
        /// The root of this workspace, with `/` between its parts.
        checkout: &'a str,
        /// The version of its crates.
        version: &'a str,
    },
}

/// All files of the crate called `name`: their path in it, and what they hold.
pub(super) fn files(name: &Name, home: Home<'_>) -> Vec<(&'static str, String)> {
    let mut files: Vec<_> = FILES.map(|(path, text)| (path, filled(text, name))).into();
    files.push(("Cargo.toml", manifest(name, home)));
    files
}

fn filled(text: &str, name: &Name) -> String {
    text.replace("rejoin_xyz", &name.module())
        .replace("Xyz", &name.type_prefix())
        .replace("xyz", name.as_str())
}

fn manifest(name: &Name, home: Home<'_>) -> String {
    let (package, end) = match home {
        Home::Here => {
            let keys = ["version", "edition", "rust-version", "license", "repository"];
            (
                keys.map(|key| format!("{key}.workspace = true")).join("\n"),
                "\n[lints]\nworkspace = true\n",
            )
        }
        Home::Elsewhere { .. } => (
            "version = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.90\"\n\
             license = \"MIT OR Apache-2.0\""
                .to_owned(),
            "\n# A workspace of its own, wherever it is. Without this line it can be a member of another.\n\
             [workspace]\n",
        ),
    };
    let text = MANIFEST
        .replace("@package@", &package)
        .replace("@dependencies@", &dependencies(&["bytes", "rejoin-core", "thiserror"], home))
        .replace("@dev-dependencies@", &dependencies(&["rejoin-conformance"], home))
        .replace("@end@\n", end);
    filled(&text, name)
}

fn dependencies(names: &[&str], home: Home<'_>) -> String {
    let line = |name: &&str| match home {
        Home::Here => format!("{name}.workspace = true"),
        Home::Elsewhere { checkout, version } => {
            let outside = OUTSIDE.iter().find(|(outside, _)| outside == name);
            match outside {
                Some((_, version)) => format!("{name} = {version}"),
                // The path serves until the version is in a registry, and is ignored by it.
                None => {
                    let path = format!("{checkout}/crates/{name}").replace('\\', "\\\\");
                    format!("{name} = {{ version = \"{version}\", path = \"{path}\" }}")
                }
            }
        }
    };
    names.iter().map(line).collect::<Vec<_>>().join("\n")
}
