//! As much of Rust's grammar as the checks need: which characters of a file are code, which lines
//! are test code, and which functions there are with which doc comments.
//!
//! No syntax tree: the code that is checked also has to compile, so a scan of the text is enough.

use std::ops::Range;

/// One Rust file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) lines: Vec<Line>,
    /// Paths, without `.rs`, of the modules that this file declares for tests only.
    test_modules: Vec<String>,
}

/// One line of a [`Source`].
#[derive(Debug)]
pub(super) struct Line {
    /// As it stands in the file.
    pub(super) raw: String,
    /// The same with blanks in place of comments and of what strings hold.
    pub(super) code: String,
    /// Whether it is compiled for tests only.
    pub(super) in_test: bool,
}

/// A function with a name.
#[derive(Debug)]
pub(super) struct Function {
    /// The index of the line with its `fn`.
    pub(super) line: usize,
    pub(super) docs: String,
    /// From its visibility to the brace or semicolon that ends its head.
    pub(super) head: String,
    /// Whether it is a method of a public trait.
    pub(super) in_public_trait: bool,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = mask(text);
        let all_test = path.split('/').any(|part| part == "tests");
        let mut lines: Vec<_> = text
            .lines()
            .zip(code.lines())
            .map(|(raw, code)| Line { raw: raw.into(), code: code.into(), in_test: all_test })
            .collect();
        let mut test_modules = Vec::new();
        for item in test_items(&code) {
            let before = |end: usize| code[..end].matches('\n').count();
            if let Some(name) = module_elsewhere(&code[item.clone()]) {
                test_modules.push(format!("{}{name}", child_folder(path)));
            }
            let last = before(item.end).min(lines.len() - 1);
            lines[before(item.start)..=last].iter_mut().for_each(|line| line.in_test = true);
        }
        Self { path: path.to_owned(), lines, test_modules }
    }

    /// Every function outside test code and outside other functions' bodies.
    pub(super) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        let mut docs = String::new();
        let mut attribute_depth = 0;
        // For each open brace: whether it opens a public trait.
        let mut blocks: Vec<Block> = Vec::new();
        let mut head = String::new();
        let mut head_line = None;
        let mut nesting = 0;
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| !line.in_test) {
            let code = line.code.trim();
            if let Some(doc) = line.raw.trim_start().strip_prefix("///") {
                docs.push_str(doc.trim());
                docs.push('\n');
                continue;
            }
            if attribute_depth > 0 || code.starts_with("#[") || code.starts_with("#![") {
                attribute_depth += code.matches('[').count();
                attribute_depth -= code.matches(']').count().min(attribute_depth);
                continue;
            }
            for c in code.chars() {
                match c {
                    '(' | '[' => nesting += 1,
                    ')' | ']' => nesting -= 1,
                    _ => {}
                }
                if head_line.is_none() && has_word(&head, "fn") {
                    head_line = Some(index);
                }
                let ends = matches!(c, '{' | '}' | ';') && nesting == 0;
                if !ends {
                    head.push(c);
                    continue;
                }
                let block = Block::of(&head);
                let parent = blocks.last().copied().unwrap_or(Block::Other);
                if c != '}' && block == Block::Function && !blocks.contains(&Block::Function) {
                    functions.push(Function {
                        line: head_line.unwrap_or(index),
                        docs: std::mem::take(&mut docs),
                        head: head.trim().to_owned(),
                        in_public_trait: parent == Block::PublicTrait,
                    });
                }
                match c {
                    '{' => blocks.push(block),
                    '}' => drop(blocks.pop()),
                    _ => {}
                }
                head.clear();
                head_line = None;
                docs.clear();
            }
            head.push(' ');
        }
        functions
    }
}

/// What a pair of braces holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    PublicTrait,
    Function,
    Other,
}

impl Block {
    fn of(head: &str) -> Self {
        let words: Vec<_> = head.split_whitespace().collect();
        if let Some(at) = words.iter().position(|&word| word == "fn") {
            // `fn` as a type has no name after it but a parenthesis, in one word.
            return if words.len() > at + 1 { Self::Function } else { Self::Other };
        }
        match words[..] {
            ["pub", "trait", ..] | ["pub", "unsafe", "trait", ..] => Self::PublicTrait,
            _ => Self::Other,
        }
    }
}

/// Marks the files that other files declare as modules for tests only.
pub(super) fn mark_test_modules(sources: &mut [Source]) {
    let modules: Vec<String> =
        sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    for source in sources {
        let belongs_to = |module: &String| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if modules.iter().any(belongs_to) {
            source.lines.iter_mut().for_each(|line| line.in_test = true);
        }
    }
}

/// Whether `code` holds `word`, and not only as a part of a longer name.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let joined_before = word.starts_with(is_name) && code[..at].ends_with(is_name);
        let joined_after = word.ends_with(is_name) && code[at + word.len()..].starts_with(is_name);
        !joined_before && !joined_after
    })
}

/// The items under `#[cfg(test)]`, from their attribute to their end, as ranges of masked `code`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test", "#![cfg(test)]"] {
        for (start, _) in code.match_indices(attribute) {
            let whole_file = attribute.starts_with("#!");
            let end = if whole_file { code.len() } else { item_end(code, start) };
            items.push(start..end);
        }
    }
    items
}

/// Where the item ends whose attributes begin at `start`.
fn item_end(code: &str, start: usize) -> usize {
    let (mut nesting, mut braces) = (0, 0);
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => nesting += 1,
            ')' | ']' => nesting -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let closed = c == '}' && braces <= 0;
        if nesting == 0 && (closed || c == ';' && braces == 0) {
            return start + at + 1;
        }
    }
    code.len()
}

/// The name in an item `mod name;`.
fn module_elsewhere(item: &str) -> Option<&str> {
    let words: Vec<_> = item.split_whitespace().collect();
    match words[..] {
        [.., "mod", name] => name.strip_suffix(';'),
        _ => None,
    }
}

/// The folder, with `/`, of the modules that the file at `path` declares.
fn child_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file.trim_end_matches(".rs") {
        "mod" | "lib" | "main" => format!("{folder}/"),
        stem => format!("{folder}/{stem}/"),
    }
}

/// `text` with blanks in place of comments and of what string and character literals hold.
fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment_end(&chars, at);
        match end {
            Some(end) => {
                let blank = |&c: &char| if c == '\n' { '\n' } else { ' ' };
                out.extend(chars[at..end].iter().map(blank));
                at = end;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out
}

/// Where the comment or literal ends that begins at `at`, where one does.
fn literal_or_comment_end(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let find = |from: usize, stop: &[char]| {
        let found = rest.get(from..)?.windows(stop.len()).position(|window| window == stop);
        found.map(|index| from + index)
    };
    let len = match rest {
        ['/', '/', ..] => find(0, &['\n']),
        ['/', '*', ..] => block_comment_len(rest),
        ['"', ..] => (1..rest.len()).find(|&i| rest[i] == '"' && !escaped(rest, i)).map(|i| i + 1),
        ['r', '"' | '#', ..] if !follows_name(chars, at) => {
            let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
            if rest.get(1 + hashes) != Some(&'"') {
                return None; // A raw identifier.
            }
            let mut stop = vec!['"'];
            stop.extend(std::iter::repeat_n('#', hashes));
            find(2 + hashes, &stop).map(|index| index + stop.len())
        }
        ['\'', '\\', _, ..] => find(3, &['\'']).map(|index| index + 1),
        ['\'', _, '\'', ..] => Some(3),
        _ => return None,
    };
    Some(at + len.unwrap_or(rest.len()))
}

fn block_comment_len(rest: &[char]) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Whether the character at `at` follows an odd number of backslashes.
fn escaped(chars: &[char], at: usize) -> bool {
    chars[..at].iter().rev().take_while(|&&c| c == '\\').count() % 2 == 1
}

fn follows_name(chars: &[char], at: usize) -> bool {
    // The `b` and `c` of byte and C strings are part of the literal, not of a name.
    let before = chars[..at].iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_');
    let before: Vec<_> = before.collect();
    !matches!(before[..], [] | ['b'] | ['c'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_is_not_code() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let masked = mask(text);
            assert_eq!(words(&masked), words(expected), "{text}");
            assert_eq!(masked.chars().count(), text.chars().count(), "{text}");
            assert_eq!(masked.matches('\n').count(), text.matches('\n').count(), "{text}");
        }
        check("a // b\nc", "a\nc");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"a "b \" c \\" d"#, "a d");
        check("a r#\"b \" c\"# d", "a d");
        check("a br\"b \\\" c", "a b c");
        check("r#fn for\"x\" y", "r#fn for y");
        check(r"a '\'' b 'c' d 'e: &'f g", "a b d 'e: &'f g");
        check("a \"ä\n\" b '\\u{1F600}' c", "a\n b c");
        check("a // never ends", "a");
        check("a \"never ends", "a");
    }

    #[test]
    fn knows_test_code() {
        #[track_caller]
        fn check(text: &str, expected: &[usize]) {
            let source = Source::new("crates/a/src/lib.rs", text);
            let in_test = source.lines.iter().enumerate().filter(|(_, line)| line.in_test);
            assert_eq!(in_test.map(|(index, _)| index).collect::<Vec<_>>(), expected, "{text}");
        }
        check("a\n#[cfg(test)]\nmod tests {\n fn f() { }\n}\nb", &[1, 2, 3, 4]);
        check("#[cfg(test)]\n#[expect(x, reason = \"{\")]\nuse a::{b, c};\nd", &[0, 1, 2]);
        check("#[cfg(test)]\nfn f(a: [u8; 4]) {\n}\nd", &[0, 1, 2]);
        check("#[cfg(test)]\nmod tests;\nd", &[0, 1]);
        check("a\n#![cfg(test)]\nb", &[1, 2]);
        check("// #[cfg(test)]\nfn f() {}", &[]);
        check("", &[]);
    }

    #[test]
    fn follows_test_modules_into_their_files() {
        let file = |path: &str, text: &str| Source::new(path, text);
        let mut sources = [
            file("crates/a/src/b.rs", "#[cfg(test)]\nmod cases;\nmod other;"),
            file("crates/a/src/b/cases.rs", "x"),
            file("crates/a/src/b/cases/deep.rs", "x"),
            file("crates/a/src/b/other.rs", "x"),
            file("crates/a/tests/it.rs", "x"),
        ];
        mark_test_modules(&mut sources);
        let in_test: Vec<_> = sources.iter().map(|source| source.lines[0].in_test).collect();
        assert_eq!(in_test, [true, true, true, false, true]);
    }

    #[test]
    fn finds_functions_with_their_docs() {
        let text = "#![expect(x)]
            /// Docs of the trait.
            pub trait A: B<[u8; 2]> {
                /// One.
                ///
                /// Two.
                #[expect(
                    clippy::x,
                    reason = \"why\"
                )]
                fn a(
                    &self,
                ) -> impl Future<Output = ()>;
                type T: Fn(u8) -> fn();
                fn b() { fn inner() {} let x = |y| { y }; }
            }
            impl A for C { fn c() {} }
            /// Three.
            pub async fn d() {}
            #[cfg(test)]
            mod tests { fn e() {} }
        ";
        let source = Source::new("crates/a/src/lib.rs", text);
        let found: Vec<_> = source
            .functions()
            .into_iter()
            .map(|f| {
                (f.line, f.docs, f.head.split('(').next().unwrap().to_owned(), f.in_public_trait)
            })
            .collect();
        let expected = [
            (10, "One.\n\nTwo.\n", "fn a", true),
            (14, "", "fn b", true),
            (16, "", "fn c", false),
            (18, "Three.\n", "pub async fn d", false),
        ];
        let expected: Vec<_> = expected
            .map(|(line, docs, head, in_trait)| (line, docs.to_owned(), head.to_owned(), in_trait))
            .into();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_longer_name() {
        assert!(has_word("use rand::rng;", "rand"));
        assert!(!has_word("operand + random", "rand"));
        assert!(has_word("std::io::Error", "io::"));
        assert!(!has_word("audio::Error", "io::"));
    }
}
