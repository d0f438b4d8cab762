//! What doc comments must say: what a module is for, what dropping a future costs, what a method
//! of a trait promises.

use super::{Fault, Tree};
use crate::tidy::source::has_word;

pub(super) fn modules_say_what_they_are_for(tree: &Tree) -> Vec<Fault> {
    let silent = tree.sources.iter().filter(|source| {
        let first = source.lines.iter().find(|line| !line.raw.trim().is_empty());
        first.is_none_or(|line| !line.raw.starts_with("//!"))
    });
    silent
        .map(|source| {
            Fault::at(&source.path, 0, "the file begins without a `//!` that says what it is for")
        })
        .collect()
}

pub(super) fn functions_state_their_contract(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in tree.sources.iter().filter(|source| is_library(&source.path)) {
        for function in source.functions() {
            let gives_future = has_word(&function.head, "async fn")
                || function.head.split("->").skip(1).any(|given| has_word(given, "impl Future"));
            let heading = if function.in_public_trait {
                "# Behavior"
            } else if gives_future && function.head.starts_with("pub ") {
                "# Cancel safety"
            } else {
                continue;
            };
            if !function.docs.lines().any(|line| line == heading) {
                let message = format!("its doc comment has no `{heading}` section");
                faults.push(Fault::at(&source.path, function.line, message));
            }
        }
    }
    faults
}

/// Code in Markdown is compiled where a source takes the file in as its documentation; that of the
/// README at the root, by the build script of the tests.
pub(super) fn markdown_code_is_compiled(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        let is_code = |line: &str| line.trim_start().starts_with("```rust");
        let Some(line) = text.lines().position(is_code) else { continue };
        let compiled = match path.rsplit_once('/') {
            None => tree.text("tests/build.rs").is_some_and(|script| script.contains(path)),
            Some((folder, name)) => tree.sources.iter().any(|source| {
                let from_own = source.path.starts_with(&format!("{folder}/src/"));
                let given = if from_own { format!("/{name}\"") } else { format!("/{path}\"") };
                let takes_in = |line: &str| {
                    line.contains("doc = include_str!") && line.contains(given.as_str())
                };
                source.lines.iter().any(|line| takes_in(&line.raw))
            }),
        };
        if !compiled {
            faults.push(Fault::at(path, line, "nothing compiles this code"));
        }
    }
    faults
}

fn is_library(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::check;

    #[test]
    fn code_in_markdown_that_nothing_compiles_is_a_fault() {
        let files = [
            ("README.md", "```rust\nfn main() {}\n```"),
            ("tests/build.rs", "//! Reads README.md."),
            ("crates/a/README.md", "\n```rust,no_run\n```"),
            ("crates/a/src/lib.rs", "//! It.\n#![doc = include_str!(\"../README.md\")]"),
            ("crates/b/README.md", "text\n```rust\n```"),
            ("crates/b/src/lib.rs", "//! It."),
            ("docs/a.md", "```rust\n```"),
            ("docs/b.md", "```rust\n```"),
            ("docs/c.md", "```sh\n```"),
            ("tests/src/lib.rs", "//! It.\n#[doc = include_str!(\"../../docs/a.md\")]"),
        ];
        check(markdown_code_is_compiled, &files, &["crates/b/README.md:2", "docs/b.md:1"]);
    }

    #[test]
    fn a_module_without_a_purpose_is_a_fault() {
        let files = [
            ("crates/a/src/a.rs", "//! Does this."),
            ("crates/a/src/b.rs", "\n//! Does that.\n"),
            ("crates/a/src/c.rs", "/// Not of the module.\nstruct C;"),
            ("crates/a/src/d.rs", ""),
            ("crates/a/src/e.rs", "use std::io;\n//! Late."),
        ];
        let expected = ["crates/a/src/c.rs:1", "crates/a/src/d.rs:1", "crates/a/src/e.rs:1"];
        check(modules_say_what_they_are_for, &files, &expected);
    }

    #[test]
    fn a_public_future_without_cancel_safety_is_a_fault() {
        let text = "
            pub async fn a() {}
            /// # Cancel safety
            ///
            /// None.
            #[must_use]
            pub async fn b() {}
            /// Not a heading: # Cancel safety
            pub fn c() -> impl Future<Output = ()> {}
            async fn private() {}
            pub(crate) async fn nearly() {}
            pub fn no_future(async_fn: u8) {}
            pub fn takes_one(future: impl Future<Output = ()>) {}
            #[cfg(test)]
            mod tests { pub async fn d() {} }
        ";
        let files =
            [("crates/a/src/a.rs", text), ("crates/a/tests/a.rs", text), ("xtask/src/a.rs", text)];
        let expected = ["crates/a/src/a.rs:2", "crates/a/src/a.rs:9"];
        check(functions_state_their_contract, &files, &expected);
    }

    #[test]
    fn a_method_of_a_public_trait_without_behavior_is_a_fault() {
        let text = "
            pub trait A {
                /// # Cancel safety
                async fn a(&self);
                /// # Behavior
                ///
                /// - It is.
                fn b(&self) -> impl Future<Output = ()> { async {} }
                fn c(&self);
            }
            trait Private { fn d(&self); }
            impl A for B { fn b(&self) {} }
        ";
        let expected = ["crates/a/src/a.rs:4", "crates/a/src/a.rs:9"];
        check(functions_state_their_contract, &[("crates/a/src/a.rs", text)], &expected);
    }
}
