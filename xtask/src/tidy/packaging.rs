//! What a package needs so that it can be published, and be found and used where it is.
//!
//! Whether it builds from what is in it, `cargo xtask package` finds out: that takes minutes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Fault, Tree};
use crate::process::root;

/// The categories of the public registry that ours are in. Another one is looked up there first.
const CATEGORIES: [&str; 6] = [
    "asynchronous",
    "development-tools::testing",
    "embedded",
    "hardware-support",
    "network-programming",
    "web-programming::websocket",
];

/// What the registry takes.
const KEYWORDS_MAX: usize = 5;
const KEYWORD_LEN_MAX: usize = 20;

/// Files that lie in each package.
const FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Checks what `cargo metadata --no-deps` says about the packages that are published.
pub(super) fn check(_: &Tree, metadata: &Value) -> Vec<Fault> {
    let packages = list(&metadata["packages"]);
    let is_private =
        |name: &Value| packages.iter().any(|it| it["name"] == *name && !is_published(it));
    let mut faults = Vec::new();
    for package in packages.iter().filter(|it| is_published(it)) {
        let manifest = package["manifest_path"].as_str().unwrap_or_default().replace('\\', "/");
        let from_root = root().to_string_lossy().replace('\\', "/");
        let path = manifest.strip_prefix(&from_root).unwrap_or(&manifest).trim_start_matches('/');
        let mut wrong = fields(package);
        for dependency in list(&package["dependencies"]) {
            if dependency["path"].is_string() && dependency["req"] == "*" {
                wrong.push(format!("the dependency on {} has no version", dependency["name"]));
            }
            if is_private(&dependency["name"]) {
                wrong.push(format!("{} is not published", dependency["name"]));
            }
        }
        let folder = Path::new(&manifest).parent().map(Path::to_path_buf).unwrap_or_default();
        wrong.extend(files(&folder));
        faults.extend(wrong.into_iter().map(|message| Fault::at(path, 0, message)));
    }
    faults
}

/// Whether a package goes to a registry.
pub(crate) fn is_published(package: &Value) -> bool {
    package["publish"].is_null()
}

fn fields(package: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for field in ["description", "license", "readme", "repository", "rust_version"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("`{field}` is missing"));
        }
    }
    let keywords = list(&package["keywords"]);
    if !(1..=KEYWORDS_MAX).contains(&keywords.len()) {
        wrong.push(format!("there are {} keywords, not 1 to {KEYWORDS_MAX}", keywords.len()));
    }
    for keyword in keywords.iter().filter_map(Value::as_str) {
        let plain = |it: char| it.is_ascii_alphanumeric() || "-_+".contains(it);
        let begins_well = keyword.starts_with(|it: char| it.is_ascii_alphanumeric());
        if keyword.len() > KEYWORD_LEN_MAX || !begins_well || !keyword.chars().all(plain) {
            wrong.push(format!("`{keyword}` is no keyword that the registry takes"));
        }
    }
    let categories = list(&package["categories"]);
    if categories.is_empty() {
        wrong.push("there is no category".to_owned());
    }
    for category in categories.iter().filter_map(Value::as_str) {
        if !CATEGORIES.contains(&category) {
            wrong.push(format!("`{category}` is not among the known categories"));
        }
    }
    let features = package["features"].as_object().map_or(0, serde_json::Map::len);
    if features > 0 && package["metadata"]["docs"]["rs"]["all-features"] != true {
        wrong.push("docs.rs does not show its features: `all-features = true`".to_owned());
    }
    wrong
}

/// The files of a package: licences as at the root, and a text for its front page.
fn files(folder: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in FILES {
        match fs::read_to_string(folder.join(name)) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(text) if name.starts_with("LICENSE") => {
                if fs::read_to_string(root().join(name)).is_ok_and(|ours| ours != text) {
                    wrong.push(format!("{name} is another one than that of the project"));
                }
            }
            // Relative links lead nowhere from a registry or from docs.rs.
            Ok(text) if text.contains("](../") => {
                wrong.push(format!("{name} links to a file that is not in the package"));
            }
            Ok(_) => {}
        }
    }
    wrong
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "name": "ours",
            "publish": null,
            "manifest_path": root().join("crates/rejoin-core/Cargo.toml"),
            "description": "it", "license": "MIT", "readme": "README.md", "repository": "there",
            "rust_version": "1.90", "keywords": ["a", "b-c"], "categories": ["embedded"],
            "features": {}, "dependencies": [], "metadata": null,
        })
    }

    #[track_caller]
    fn check_with(change: impl FnOnce(&mut Value), expected: &str) {
        let mut package = good();
        change(&mut package);
        let private = json!({ "name": "private", "publish": [] });
        let metadata = json!({ "packages": [package, private] });
        let faults = check(&Tree::default(), &metadata);
        let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
        match expected {
            "" => assert!(shown.is_empty(), "{shown:?}"),
            _ => assert!(shown.len() == 1 && shown[0].contains(expected), "{shown:?}"),
        }
    }

    #[test]
    fn what_is_published_is_described() {
        check_with(|_| {}, "");
        check_with(|it| it["description"] = json!(null), "`description`");
        check_with(|it| it["repository"] = json!(""), "`repository`");
        check_with(|it| it["keywords"] = json!([]), "0 keywords");
        check_with(|it| it["keywords"] = json!(["a", "b", "c", "d", "e", "f"]), "6 keywords");
        check_with(|it| it["keywords"] = json!(["two words"]), "`two words`");
        check_with(|it| it["categories"] = json!(["fun"]), "`fun`");
        check_with(|it| it["categories"] = json!([]), "no category");
        check_with(|it| it["features"] = json!({ "tls": [] }), "docs.rs");
        check_with(|it| it["publish"] = json!([]), "");
    }

    #[test]
    fn what_is_published_depends_on_what_is_too() {
        let on = |name: &str, req: &str| json!([{ "name": name, "req": req, "path": "x" }]);
        check_with(|it| it["dependencies"] = on("other", "^0.1"), "");
        check_with(|it| it["dependencies"] = on("other", "*"), "no version");
        check_with(|it| it["dependencies"] = on("private", "^0.1"), "not published");
    }

    #[test]
    fn licences_lie_in_the_package() {
        let elsewhere = root().join("crates/Cargo.toml");
        let mut package = good();
        package["manifest_path"] = json!(elsewhere);
        assert_eq!(check(&Tree::default(), &json!({ "packages": [package] })).len(), FILES.len());
    }
}
