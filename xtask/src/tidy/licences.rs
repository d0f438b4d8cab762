//! The licence of everything that is built into ours, against the list in `deny.toml`.
//!
//! `cargo deny check` looks at more: advisories, sources, what other platforms need. This needs
//! nothing to be installed, and sees what this platform builds with all features.

use serde_json::Value;

use super::{Fault, Tree};

const LIST: &str = "deny.toml";

/// Checks what `cargo metadata` says about all packages.
pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Fault> {
    let text = tree.text(LIST).unwrap_or_default();
    let Some(allowed) = allowed(text) else {
        return vec![Fault::at(LIST, 0, "there is no list of licences")];
    };
    let built = metadata["resolve"]["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let is_built = |id: &Value| built.iter().any(|node| node["id"] == *id);
    packages
        .iter()
        .filter(|package| is_built(&package["id"]))
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or_default();
            let fine = permits(licence, &|one| allowed.iter().any(|it| it == one));
            (!fine).then(|| {
                let name = &package["name"];
                Fault::at(LIST, 0, format!("the licence of {name} is not allowed: `{licence}`"))
            })
        })
        .collect()
}

/// The list `allow` of the section `[licenses]`.
fn allowed(text: &str) -> Option<Vec<String>> {
    let section = text.split_once("[licenses]")?.1;
    let list = section.split_once("allow = [")?.1.split_once(']')?.0;
    let entries = list.split(',').map(|it| it.trim().trim_matches('"').to_owned());
    Some(entries.filter(|it| !it.is_empty()).collect())
}

/// Whether a licence expression (SPDX, or the older form with `/`) can be fulfilled by licences
/// that are `allowed`. `AND` binds closer than `OR`.
fn permits(expression: &str, allowed: &impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(words: &mut &[&str], allowed: &impl Fn(&str) -> bool) -> bool {
    let mut fine = all(words, allowed);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        fine |= all(words, allowed);
    }
    fine
}

fn all(words: &mut &[&str], allowed: &impl Fn(&str) -> bool) -> bool {
    let mut fine = one(words, allowed);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        fine &= one(words, allowed);
    }
    fine
}

fn one(words: &mut &[&str], allowed: &impl Fn(&str) -> bool) -> bool {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let fine = any(words, allowed);
            let [")", rest @ ..] = words else { return false };
            *words = rest;
            fine
        }
        [licence, "WITH", exception, rest @ ..] => {
            let name = format!("{licence} WITH {exception}");
            *words = rest;
            allowed(&name)
        }
        [licence, rest @ ..] => {
            let licence = *licence;
            *words = rest;
            allowed(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expression_is_fulfilled_or_not() {
        #[track_caller]
        fn check(expression: &str, expected: bool) {
            let allowed = |it: &str| matches!(it, "MIT" | "ISC" | "Apache-2.0 WITH LLVM-exception");
            assert_eq!(permits(expression, &allowed), expected, "{expression}");
        }
        check("MIT", true);
        check("GPL-3.0", false);
        check("", false);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0/MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("MIT AND ISC", true);
        check("GPL-3.0 OR MIT AND ISC", true);
        check("(GPL-3.0 OR MIT) AND ISC", true);
        check("(GPL-3.0 OR MIT) AND Zlib", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Apache-2.0", false);
        check("(MIT", false);
        check("MIT ISC", false);
    }

    #[test]
    fn what_is_built_has_a_licence_of_the_list() {
        let list = "[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\n";
        let tree = Tree::new(vec![("deny.toml".into(), list.into())]);
        let metadata = |licence: &str| {
            json!({
                "packages": [
                    { "id": "a", "name": "a", "license": licence },
                    { "id": "b", "name": "elsewhere", "license": "GPL-3.0" },
                ],
                "resolve": { "nodes": [{ "id": "a" }] },
            })
        };
        assert_eq!(check(&tree, &metadata("MIT OR Zlib")), []);
        assert_eq!(check(&tree, &metadata("Zlib")).len(), 1);
        assert_eq!(check(&Tree::default(), &metadata("MIT")).len(), 1);
    }
}
