//! Pieces of Rust on one line, spaced as they are usually written.
//!
//! No formatter: it knows no line width, and only what stands in declarations.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The tokens on one line.
pub(super) fn shown(tokens: TokenStream) -> String {
    let words = words(tokens);
    let mut line = String::new();
    let mut last: Option<&str> = None;
    for (index, word) in words.iter().enumerate() {
        // A comma before a closing bracket only helps whoever adds a line.
        let next = words.get(index + 1).map(String::as_str);
        if word == "," && matches!(next, Some(")" | "]" | ">" | "}") | None) {
            continue;
        }
        if last.is_some_and(|last| needs_space(last, word)) {
            line.push(' ');
        }
        line.push_str(word);
        last = Some(word);
    }
    line
}

/// The tokens one by one; what belongs together is together: `::`, `->`, `'a`.
pub(super) fn words(tokens: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    collect(tokens, &mut words);
    words
}

fn collect(tokens: TokenStream, words: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                words.extend((!open.is_empty()).then(|| open.to_owned()));
                collect(group.stream(), words);
                words.extend((!close.is_empty()).then(|| close.to_owned()));
            }
            TokenTree::Punct(punct) => {
                let mut word = punct.as_char().to_string();
                if punct.spacing() == Spacing::Joint
                    && let Some(next) = tokens.peek()
                {
                    let pair = format!("{word}{next}");
                    if punct.as_char() == '\'' || matches!(pair.as_str(), "::" | "->" | "..") {
                        word = pair;
                        tokens.next();
                    }
                }
                words.push(word);
            }
            word => words.push(word.to_string()),
        }
    }
}

fn needs_space(last: &str, next: &str) -> bool {
    let after_name = is_name(last) || matches!(last, ">" | ")" | "]");
    match (last, next) {
        ("(" | "[" | "<" | "&" | "::" | "!" | "#" | "*" | "." | "?", _) => false,
        (_, "," | ";" | ":" | "." | ")" | "]" | ">") => false,
        (_, "::" | "<") => !after_name,
        (_, "(") => !after_name || matches!(last, "dyn" | "mut" | "in" | "where" | "as"),
        _ => true,
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, expected: &str) {
        assert_eq!(shown(code.parse().unwrap()), expected);
    }

    #[test]
    fn code_is_spaced_as_it_is_usually_written() {
        for line in [
            "fn send<'a, T: Into<Bytes> + ?Sized>(&'a mut self, item: &[u8]) -> io::Result<()>",
            "struct Held<F: for<'a> MsgFamily<Msg<'a> = T>>",
            "Box<dyn Fn(&str, (u8, u8)) -> Option<Vec<u8>> + Send + 'static>",
            "impl Future<Output = Result<(), Self::Error>> + Send",
            "feature = \"tls\", not(unix)",
            "type Item = (u8, [u8; 4])",
            "where F: MsgFamily, T: 'a",
            "const HELLO_LEN: usize",
            "<F as Family>::Msg<'_>",
        ] {
            check(line, line);
        }
    }

    #[test]
    fn line_ends_and_last_commas_do_not_show() {
        check("fn f(\n    a: u8,\n    b: u8,\n)", "fn f(a: u8, b: u8)");
        check("Vec < u8 , >", "Vec<u8>");
    }
}
