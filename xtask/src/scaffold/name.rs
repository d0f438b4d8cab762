//! The name of a transport, and the names that follow from it.

use std::str::FromStr;

/// More than any sensible name has.
const LEN_MAX: usize = 40;

/// What a transport is called: `mqtt`, `radio-modem`.
///
/// Invariant: words of lower-case letters and digits, joined by single hyphens, the first of which
/// begins with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("rejoin-").unwrap_or(text);
        let wrong = |what: &str| Err(format!("`{text}` is no name for a transport: {what}"));
        if name.is_empty() {
            return wrong("it is empty");
        }
        if name.len() > LEN_MAX {
            return wrong("it is longer than 40 characters");
        }
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(strange) = name.chars().find(|c| !is_allowed(*c)) {
            let strange = strange.escape_debug();
            return wrong(&format!("it has a `{strange}`; a-z, 0-9 and hyphens are allowed"));
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return wrong("it does not begin with a letter");
        }
        if name.ends_with('-') || name.contains("--") {
            return wrong("a hyphen stands between two words");
        }
        Ok(Self(name.to_owned()))
    }
}

impl Name {
    /// `radio-modem`
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `rejoin-radio-modem`
    pub(super) fn package(&self) -> String {
        format!("rejoin-{}", self.0)
    }

    /// `rejoin_radio_modem`
    pub(super) fn module(&self) -> String {
        self.package().replace('-', "_")
    }

    /// `RadioModem`
    pub(super) fn type_prefix(&self) -> String {
        let capitalised = |word: &str| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        };
        self.0.split('-').map(capitalised).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_names_follow_from_it() {
        for text in ["radio-modem", "rejoin-radio-modem"] {
            let name: Name = text.parse().unwrap();
            let names = (name.as_str(), &*name.package(), &*name.module(), &*name.type_prefix());
            let expected =
                ("radio-modem", "rejoin-radio-modem", "rejoin_radio_modem", "RadioModem");
            assert_eq!(names, expected);
        }
        assert_eq!("nats2".parse::<Name>().unwrap().type_prefix(), "Nats2");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = text.parse::<Name>().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_bad_name_is_refused_with_the_reason() {
        check_refused("", "it is empty");
        check_refused("rejoin-", "it is empty");
        check_refused(&"x".repeat(41), "longer than 40");
        check_refused("Mqtt", "it has a `M`");
        check_refused("../up", "it has a `.`");
        check_refused("two words", "it has a ` `");
        check_refused("line\nbreak", "it has a `\\n`");
        check_refused("2nd", "does not begin with a letter");
        check_refused("-x", "does not begin with a letter");
        check_refused("x-", "a hyphen stands between");
        check_refused("x--y", "a hyphen stands between");
    }
}
