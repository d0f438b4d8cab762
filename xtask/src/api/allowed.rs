//! The other crates that may stand in the public API of each of ours.
//!
//! A breaking release of one of them breaks ours, so each has a reason. The standard library needs
//! none.

use std::collections::BTreeMap;

/// A crate of ours, and the others in its API, each with the reason.
pub(super) type Allowed = [(&'static str, &'static [(&'static str, &'static str)])];

const CORE: (&str, &str) = ("rejoin_core", "ours, and released together");
const STREAM: (&str, &str) = ("rejoin_stream", "ours, and released together");
const BYTES: (&str, &str) = ("bytes", "payloads, as the whole ecosystem passes them on");
const TOKIO: (&str, &str) =
    ("tokio", "the runtime: its streams, sockets, clock and watch channels");
const RUSTLS: (&str, &str) = ("tokio_rustls", "the settings of TLS, given out again as `rustls`");

pub(super) const ALLOWED: &Allowed = &[
    ("rejoin-conformance", &[CORE]),
    (
        "rejoin-core",
        &[
            BYTES,
            TOKIO,
            ("facet", "message types derive its trait"),
            ("futures_core", "`Stream`, which the standard library does not have"),
            ("futures_sink", "`Sink`, which the standard library does not have"),
            ("serde", "behind the feature: message types derive its traits"),
            ("zerocopy", "hellos and keys are fixed layouts, by its derives"),
        ],
    ),
    (
        "rejoin-serial",
        &[CORE, STREAM, ("tokio_serial", "parity, stop bits and the like are its types")],
    ),
    ("rejoin-stream", &[BYTES, CORE, TOKIO]),
    ("rejoin-tcp", &[CORE, STREAM, TOKIO, RUSTLS]),
    ("rejoin-unix", &[CORE, STREAM, TOKIO]),
    (
        "rejoin-websocket",
        &[CORE, TOKIO, RUSTLS, ("http", "requests, responses and headers of upgrades")],
    ),
];

/// What is wrong with the crates that stand in the API of `krate`, each with a line that shows it.
pub(super) fn faults(
    allowed: &Allowed,
    krate: &str,
    foreign: &BTreeMap<String, String>,
) -> Vec<String> {
    let entry = allowed.iter().find(|(name, _)| *name == krate);
    let list = entry.map_or(&[][..], |(_, list)| list);
    let strangers = foreign
        .iter()
        .filter(|(name, _)| !is_standard(name) && !list.iter().any(|(known, _)| known == name))
        .map(|(name, line)| format!("`{name}` stands in the API without being allowed: {line}"));
    let unused = list
        .iter()
        .filter(|(name, _)| !foreign.contains_key(*name))
        .map(|(name, _)| format!("`{name}` is allowed and stands nowhere in the API"));
    strangers.chain(unused).collect()
}

fn is_standard(name: &str) -> bool {
    matches!(name, "std" | "core" | "alloc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[&str], expected: &[&str]) {
        let allowed: &Allowed = &[("ours", &[("bytes", "payloads")])];
        let foreign = found.iter().map(|name| ((*name).to_owned(), "a line".to_owned()));
        let faults = faults(allowed, "ours", &foreign.collect());
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, name) in faults.iter().zip(expected) {
            assert!(fault.contains(&format!("`{name}`")), "{fault}");
        }
    }

    #[test]
    fn each_crate_in_an_api_has_a_reason() {
        check(&["bytes", "std"], &[]);
        check(&["bytes", "tokio"], &["tokio"]);
        check(&["std"], &["bytes"]);
        assert_eq!(faults(&[], "other", &BTreeMap::new()), [""; 0]);
    }

    #[test]
    fn reasons_are_given() {
        for (krate, list) in ALLOWED {
            for (name, reason) in *list {
                assert!(reason.len() > 10, "{krate}: {name}");
            }
        }
    }
}
