//! The API of the project against what is kept of it, and of small crates against what they are.

use std::fs;

use super::*;

#[test]
fn the_public_api_is_as_it_is_kept() {
    let mut faults = Vec::new();
    for package in packages().unwrap() {
        faults.extend(package.faults(&Surface::of(&package.read().unwrap())));
    }
    assert!(
        faults.is_empty(),
        "\n{}\n\nIf that is meant, `cargo xtask api --bless` keeps it, and CHANGELOG.md says it.\n",
        faults.join("\n")
    );
}

/// The surface of a crate of these files.
#[track_caller]
fn surface(test: &str, files: &[(&str, &str)]) -> Surface {
    let folder = std::env::temp_dir().join(format!("xtask-api-{test}-{}", std::process::id()));
    for (name, code) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, code).unwrap();
    }
    let dependencies = ["std", "bytes", "other_crate"].map(str::to_owned).to_vec();
    let krate = Crate::read("it", &folder.join("lib.rs"), dependencies);
    fs::remove_dir_all(&folder).unwrap();
    Surface::of(&krate.unwrap())
}

#[track_caller]
fn check(test: &str, files: &[(&str, &str)], expected: &[&str]) {
    let lines: Vec<_> = surface(test, files).lines.into_iter().collect();
    assert_eq!(lines, expected);
}

#[test]
fn only_what_can_be_named_counts() {
    let files = [
        ("lib.rs", "mod inner; pub use inner::Shown; pub mod open { pub fn f() {} fn g() {} }"),
        ("inner.rs", "pub struct Shown(pub u8, u16); pub struct Hidden; pub(crate) struct Ours;"),
    ];
    check(
        "named",
        &files,
        &[
            "it::Shown: pub struct Shown { .. }",
            "it::Shown::0: field u8",
            "it::open: pub mod",
            "it::open::f: pub fn f()",
        ],
    );
}

#[test]
fn an_item_is_told_where_it_is_named_best() {
    let files = [
        ("lib.rs", "pub mod deep; pub use deep::*; pub use bytes::Bytes; pub use other_crate::*;"),
        ("deep/mod.rs", "mod er; pub use er::Thing as Renamed;"),
        ("deep/er.rs", "#[derive(Debug, Clone)] #[must_use] pub enum Thing { A, B { x: u8 } }"),
    ];
    check(
        "best",
        &files,
        &[
            "it: pub use other_crate::*",
            "it::Bytes: pub use bytes::Bytes",
            "it::Renamed: #[must_use] pub enum Thing",
            "it::Renamed: derive Clone for Renamed",
            "it::Renamed: derive Debug for Renamed",
            "it::Renamed::A: variant A",
            "it::Renamed::B: variant B",
            "it::Renamed::B::x: field u8",
            "it::deep: pub mod",
            "it::deep::Renamed: pub use it::Renamed",
        ],
    );
}

#[test]
fn methods_and_implementations_stand_with_their_types() {
    let code = "use std::fmt; mod hidden { pub trait Sealed {} }
        pub struct S<T> { t: T }
        impl<T: Send> S<T> { pub async fn go(mut self, n: u8) -> T { todo() } fn no(&self) {} }
        impl S<u8> { pub const N: u8 = 1; }
        impl<T> fmt::Debug for S<T> { fn fmt(&self) {} }
        impl<T> Iterator for S<T> { type Item = T; fn next(&mut self) {} }
        impl<T> hidden::Sealed for S<T> {}
        struct Private; impl Clone for Private { fn clone(&self) {} }
        impl From<S<u8>> for std::io::Error { fn from(s: S<u8>) {} }
        pub trait Tr: Send { type Out<'a>: Send where Self: 'a; fn need(&self); fn has(&self) {} }
        impl<T: Send> Tr for T { fn need(&self) {} }";
    check(
        "methods",
        &[("lib.rs", code)],
        &[
            "it::S: impl From<S<u8>> for std::io::Error",
            "it::S: impl<T> Iterator for S<T> { type Item = T; }",
            "it::S: impl<T> fmt::Debug for S<T>",
            "it::S: pub struct S<T> { .. }",
            "it::S::N: pub const N: u8 in impl S<u8>",
            "it::S::go: pub async fn go(self, n: u8) -> T in impl<T: Send> S<T>",
            "it::Tr: impl<T: Send> Tr for T",
            "it::Tr: pub trait Tr: Send",
            "it::Tr::Out: type Out<'a>: Send where Self: 'a",
            "it::Tr::has: provided fn has(&self)",
            "it::Tr::need: required fn need(&self)",
        ],
    );
}

#[test]
fn conditions_show_and_those_of_tests_do_not_count() {
    let files = [
        ("lib.rs", "#[cfg(feature = \"tls\")] pub mod tls; #[cfg(test)] pub mod tests;"),
        ("tls.rs", "#[cfg(unix)] pub fn f() {} #[cfg(all(test, unix))] pub fn g() {}"),
    ];
    check(
        "conditions",
        &files,
        &[
            "it::tls: #[cfg(feature = \"tls\")] pub mod",
            "it::tls::f: #[cfg(feature = \"tls\")] #[cfg(unix)] pub fn f()",
        ],
    );
}

#[test]
fn errors_show_their_conversions() {
    let code = "#[derive(thiserror::Error)] #[non_exhaustive]
        pub enum E { #[error(\"x\")] Io(#[from] std::io::Error) }";
    check(
        "errors",
        &[("lib.rs", code)],
        &[
            "it::E: #[non_exhaustive] pub enum E",
            "it::E: derive thiserror::Error for E",
            "it::E: impl From<std::io::Error> for E",
            "it::E::Io: variant Io",
            "it::E::Io::0: field std::io::Error",
        ],
    );
}

#[test]
fn other_crates_are_noticed_wherever_they_stand() {
    #[track_caller]
    fn check(test: &str, code: &str, expected: &[&str]) {
        let foreign = surface(test, &[("lib.rs", code)]).foreign;
        assert_eq!(foreign.keys().collect::<Vec<_>>(), expected, "{foreign:?}");
    }
    check("o1", "use bytes::Bytes; pub fn f(bytes: Option<Bytes>) {}", &["bytes"]);
    check("o2", "pub fn f(bytes: u8) {} use bytes::Bytes; fn g(b: Bytes) {}", &[]);
    check("o3", "pub struct S { pub f: other_crate::deep::T }", &["other_crate"]);
    check(
        "o4",
        "pub struct S; impl other_crate::Tr for S { type O = bytes::B; }",
        &["bytes", "other_crate"],
    );
    check("o5", "pub use other_crate::inner as renamed;", &["other_crate"]);
    check("o6", "use other_crate::Tr; #[derive(Tr)] pub struct S;", &["other_crate"]);
    check(
        "o8",
        "use other_crate::Tr; pub enum E { Tr } pub struct S; pub trait T { type Tr; }",
        &[],
    );
    check(
        "o7",
        "pub fn f() -> impl std::future::Future<Output = bytes::Bytes> { g() }",
        &["bytes", "std"],
    );
}
