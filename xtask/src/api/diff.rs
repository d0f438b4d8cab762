//! What changed between two sorted lists of lines, shown by the paths that changed.

use std::collections::BTreeSet;

/// The lines that went, with `-`, and those that came, with `+`; nothing when none did.
pub(super) fn changes(kept: &BTreeSet<String>, present: &BTreeSet<String>) -> Vec<String> {
    let gone = kept.difference(present).map(|line| (line, '-'));
    let come = present.difference(kept).map(|line| (line, '+'));
    let mut changes: Vec<_> = gone.chain(come).collect();
    // A line that changed stands above what it became.
    changes.sort_by_key(|(line, sign)| (path_of(line), *sign == '+', *line));
    changes.into_iter().map(|(line, sign)| format!("{sign} {line}")).collect()
}

fn path_of(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> BTreeSet<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn what_changed_stands_together() {
        let kept = lines(&["a::f: pub fn f()", "a::g: pub fn g()", "a::h: pub fn h()"]);
        let present = lines(&["a::f: pub fn f(it: u8)", "a::h: pub fn h()", "a::i: pub fn i()"]);
        let expected = [
            "- a::f: pub fn f()",
            "+ a::f: pub fn f(it: u8)",
            "- a::g: pub fn g()",
            "+ a::i: pub fn i()",
        ];
        assert_eq!(changes(&kept, &present), expected);
        assert_eq!(changes(&kept, &kept), [""; 0]);
    }
}
