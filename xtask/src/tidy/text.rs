//! What must not stand in a file, and how long a file may be.

use super::source::{Line, Source, has_word};
use super::{Fault, Tree};

const LINES_MAX: usize = 600;

/// What a pure state machine has no use for, each with what it would bring in.
const IMPURE: [(&str, &str); 13] = [
    ("tokio", "a runtime"),
    ("async", "a runtime"),
    ("Instant::now", "a clock"),
    ("SystemTime", "a clock"),
    ("getrandom", "randomness"),
    ("rand", "randomness"),
    ("std::net", "sockets"),
    ("net::", "sockets"),
    ("std::io", "I/O"),
    ("io::", "I/O"),
    ("std::fs", "I/O"),
    ("std::thread", "threads"),
    ("sleep", "waiting"),
];

const UNFINISHED: [&str; 5] = ["#[ignore", "todo!", "unimplemented!", "dbg!", "#![ignore"];

const SLEEPS: [&str; 4] =
    ["thread::sleep", "time::sleep", "time::sleep_until", "thread::sleep_until"];

/// Homes of one machine's files. In halves, so that this file holds none of them itself.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

pub(super) fn protocol_is_pure(tree: &Tree) -> Vec<Fault> {
    let of_protocol = |source: &Source| source.path.starts_with("crates/rejoin-core/src/protocol/");
    each_line(tree, of_protocol, |line| {
        // A test needs some moment to begin at; what it is about is virtual time all the same.
        let allowed = |word| line.in_test && word == "Instant::now";
        let (word, brings) =
            IMPURE.iter().find(|(word, _)| has_word(&line.code, word) && !allowed(*word))?;
        Some(format!("`{word}` brings {brings} into the protocol, which is pure"))
    })
}

pub(super) fn files_are_short(tree: &Tree) -> Vec<Fault> {
    let long = tree.sources.iter().filter(|source| source.lines.len() > LINES_MAX);
    long.map(|source| {
        let message = format!("the file goes past {LINES_MAX} lines: find the second thing in it");
        Fault::at(&source.path, LINES_MAX, message)
    })
    .collect()
}

pub(super) fn nothing_unfinished(tree: &Tree) -> Vec<Fault> {
    each_line(
        tree,
        |_| true,
        |line| {
            let word = UNFINISHED.iter().find(|word| has_word(&line.code, word))?;
            Some(format!("`{word}` is unfinished work"))
        },
    )
}

pub(super) fn tests_do_not_sleep(tree: &Tree) -> Vec<Fault> {
    each_line(
        tree,
        |_| true,
        |line| {
            let word = SLEEPS.iter().find(|word| line.in_test && has_word(&line.code, word))?;
            Some(format!("`{word}` in a test: wait for what the test is about, or pause the clock"))
        },
    )
}

pub(super) fn no_machine_paths(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in &tree.texts {
        for (index, line) in text.lines().enumerate() {
            if let Some(place) = MACHINE_PATHS.iter().find(|place| line.contains(**place)) {
                faults.push(Fault::at(path, index, format!("`{place}` is a path of one machine")));
            }
        }
    }
    faults
}

/// A fault for each line of the chosen files for which `wrong` has a message.
fn each_line(
    tree: &Tree,
    chosen: impl Fn(&Source) -> bool,
    wrong: impl Fn(&Line) -> Option<String>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in tree.sources.iter().filter(|source| chosen(source)) {
        for (index, line) in source.lines.iter().enumerate() {
            faults.extend(wrong(line).map(|message| Fault::at(&source.path, index, message)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::check;

    #[test]
    fn an_impure_protocol_is_a_fault() {
        const PATH: &str = "crates/rejoin-core/src/protocol/a.rs";
        for bad in [
            "use tokio::sync::mpsc;",
            "let now = Instant::now();",
            "let t = std::time::SystemTime::now();",
            "getrandom::fill(&mut key);",
            "let x: u8 = rand::random();",
            "use std::net::SocketAddr;",
            "use std::{io, net};\nfn f() -> io::Result<()> {}",
            "thread::sleep(d);",
            "async fn f() {}",
        ] {
            let at = format!("{PATH}:{}", bad.lines().count());
            check(protocol_is_pure, &[(PATH, bad)], &[&at]);
            check(protocol_is_pure, &[("crates/rejoin-core/src/stable.rs", bad)], &[]);
        }
        let good = "//! No tokio, no rand.\nuse std::time::{Duration, Instant};\nlet operand = 1;";
        check(protocol_is_pure, &[(PATH, good)], &[]);
    }

    #[test]
    fn a_long_file_is_a_fault() {
        let lines = |count| "//! x\n".repeat(count);
        check(files_are_short, &[("xtask/src/a.rs", &lines(600))], &[]);
        check(files_are_short, &[("xtask/src/a.rs", &lines(601))], &["xtask/src/a.rs:601"]);
    }

    #[test]
    fn unfinished_work_is_a_fault() {
        let bad = "#[ignore]\n#[ignore = \"slow\"]\ntodo!()\nunimplemented!()\ndbg!(x)";
        let places: Vec<_> = (1..=5).map(|line| format!("tests/a.rs:{line}")).collect();
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        check(nothing_unfinished, &[("tests/a.rs", bad)], &places);
        check(
            nothing_unfinished,
            &[("tests/a.rs", "// dbg! of\nlet a = \"todo!\"; my_dbg!()")],
            &[],
        );
    }

    #[test]
    fn a_test_that_sleeps_is_a_fault() {
        let text = "
            fn backoff() { tokio::time::sleep(d).await }
            #[cfg(test)]
            mod tests {
                fn a() { std::thread::sleep(d) }
                fn b() { tokio::time::sleep(d).await }
            }
        ";
        let expected = ["crates/a/src/a.rs:5", "crates/a/src/a.rs:6"];
        check(tests_do_not_sleep, &[("crates/a/src/a.rs", text)], &expected);
        check(tests_do_not_sleep, &[("tests/a.rs", "thread::sleep(d)")], &["tests/a.rs:1"]);
    }

    #[test]
    fn a_path_of_one_machine_is_a_fault() {
        for place in MACHINE_PATHS {
            let text = format!("fine\nsee {place}x");
            check(no_machine_paths, &[("docs/a.md", &text)], &["docs/a.md:2"]);
        }
        check(no_machine_paths, &[("docs/a.md", "~/work and https://a.example/homely")], &[]);
    }
}
