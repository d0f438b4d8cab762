//! The rules of `docs/protocol.md` and the tests that cite them.
//!
//! A rule is defined by its id in bold, such as `**WORD-1**`, at the beginning of a list item or of
//! a paragraph, and cited by the bare id. Every rule must be cited in a test, and every citation
//! must be of a rule. Only words that begin a rule's id make citations: `UTF-8` is none.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Tree};

const PROTOCOL: &str = "docs/protocol.md";

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let Some(protocol) = tree.text(PROTOCOL) else { return Vec::new() };
    let mut faults = Vec::new();
    let mut rules = BTreeMap::new();
    for (index, line) in protocol.lines().enumerate() {
        let Some(id) = defined_in(line) else { continue };
        if let Some(first) = rules.insert(id, index) {
            let message = format!("{id} is defined in line {} already", first + 1);
            faults.push(Fault::at(PROTOCOL, index, message));
        }
    }
    let words: BTreeSet<_> = rules.keys().filter_map(|id| word_of(id)).collect();

    let mut cited_in_tests = BTreeSet::new();
    let code = ["crates/", "tests/"];
    for source in &tree.sources {
        if !code.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        // The conformance suite is made of trials: it tests also where it is a library.
        let suite = source.path.starts_with("crates/rejoin-conformance/");
        for (index, line) in source.lines.iter().enumerate() {
            for id in ids(&line.raw) {
                if line.in_test || suite {
                    cited_in_tests.insert(id);
                }
                let is_citation = word_of(id).is_some_and(|word| words.contains(word));
                if is_citation && !rules.contains_key(id) {
                    let message = format!("{id} is no rule of {PROTOCOL}");
                    faults.push(Fault::at(&source.path, index, message));
                }
            }
        }
    }
    for (id, index) in rules {
        if !cited_in_tests.contains(id) {
            faults.push(Fault::at(PROTOCOL, index, format!("no test cites {id}")));
        }
    }
    faults
}

/// The id of the rule that a line of the protocol begins to define.
fn defined_in(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let item = ["- ", "* ", "+ "]
        .iter()
        .find_map(|marker| line.strip_prefix(marker))
        .or_else(|| number.strip_prefix(". ").filter(|_| number.len() < line.len()))
        .unwrap_or(line);
    let bold = item.trim_start().strip_prefix("**")?.split_once("**")?.0;
    ids(bold).find(|id| *id == bold)
}

/// Every id that stands alone in `text`: capital letters, a hyphen, digits.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(move |c| !is_inside(c)).filter(|id| {
        let digits =
            |number: &str| number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty();
        let capitals =
            |word: &str| word.bytes().all(|b| b.is_ascii_uppercase()) && !word.is_empty();
        id.split_once('-').is_some_and(|(word, number)| capitals(word) && digits(number))
    })
}

fn word_of(id: &str) -> Option<&str> {
    id.split_once('-').map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::check as check_tree;

    const TWO_RULES: (&str, &str) = (
        PROTOCOL,
        "# Rules\n- **HELLO-1** A hello has 25 bytes; see **ACK-9**.\n\n**ACK-3**: An ack.",
    );

    #[test]
    fn a_rule_that_no_test_cites_is_a_fault() {
        let cites = "// HELLO-1\n#[cfg(test)]\nmod tests {\n /// ACK-3: acks.\n}";
        check_tree(check, &[TWO_RULES, ("crates/a/src/a.rs", cites)], &["docs/protocol.md:2"]);
        let suite = ("crates/rejoin-conformance/src/a.rs", "// HELLO-1, ACK-3");
        check_tree(check, &[TWO_RULES, suite], &[]);
        check_tree(check, &[TWO_RULES], &["docs/protocol.md:2", "docs/protocol.md:4"]);
    }

    #[test]
    fn a_citation_of_no_rule_is_a_fault() {
        let cites = ("tests/a.rs", "// HELLO-1 ACK-3\n// ACK-4\n// UTF-8, X-HELLO-2, HELLO-2a");
        check_tree(check, &[TWO_RULES, cites], &["tests/a.rs:2"]);
    }

    #[test]
    fn a_rule_is_defined_once() {
        let twice = (PROTOCOL, "1. **ACK-1** a\n2. **ACK-1** b");
        check_tree(check, &[twice, ("tests/a.rs", "// ACK-1")], &["docs/protocol.md:2"]);
    }

    #[test]
    fn without_the_document_there_are_no_rules() {
        check_tree(check, &[("tests/a.rs", "// ACK-1")], &[]);
    }

    #[test]
    fn a_definition_begins_its_item() {
        assert_eq!(defined_in("- **ACK-1** x"), Some("ACK-1"));
        assert_eq!(defined_in("  12. **ACK-1**: x"), Some("ACK-1"));
        assert_eq!(defined_in("**ACK-12**"), Some("ACK-12"));
        for none in
            ["see **ACK-1**", "**ack-1**", "**ACK-1b**", "- ACK-1", "**ACK-**", ". **ACK-1**"]
        {
            assert_eq!(defined_in(none), None, "{none}");
        }
    }
}
