//! What the public types are to their users beside their methods: which threads they may be on, that
//! they can be printed, and how errors lead to their causes.

use std::error::Error;
use std::fmt::Debug;
use std::io;

use rejoin_serial::*;

fn is_plain<T: Send + Sync + Unpin + Debug>() {}

/// Compiles only if it is so.
#[test]
fn public_types_go_where_users_take_them() {
    is_plain::<SerialConfig>();
    is_plain::<SerialError>();
    is_plain::<SerialSource>();
    is_plain::<SerialStats>();
    is_plain::<SerialStatsHandle>();
    is_plain::<ControlLine>();
    is_plain::<PortName>();
    is_plain::<UsbPort>();
    is_plain::<UsbPortDetails>();
    is_plain::<SerialLink>();
    is_plain::<SerialLinkTx>();
    is_plain::<SerialLinkRx>();
}

/// Walks down to the root; each error says something of its own, in one lower-case sentence.
#[track_caller]
fn check(error: &(dyn Error + 'static), depth: usize, root: &str) {
    let chain: Vec<_> = std::iter::successors(Some(error), |&error| error.source()).collect();
    assert_eq!(chain.len(), depth, "{chain:?}");
    let texts: Vec<_> = chain.iter().map(ToString::to_string).collect();
    for (text, cause) in texts.iter().zip(texts.iter().skip(1)) {
        assert!(!text.contains(cause.as_str()), "`{text}` repeats `{cause}`");
    }
    for text in &texts {
        let first = text.chars().next().expect("not empty");
        assert!(!first.is_uppercase() && !text.ends_with('.') && !text.contains('\n'), "{text:?}");
    }
    assert_eq!(texts.last().map(String::as_str), Some(root));
}

#[test]
fn errors_lead_to_their_causes() {
    let errors = [
        SerialError::List { source: broken() },
        SerialError::Open { path: "/dev/ttyS9".into(), source: broken() },
    ];
    for error in errors {
        check(&error, 2, "the pipe broke");
        check(&io::Error::from(error), 2, "the pipe broke");
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the pipe broke")
}
