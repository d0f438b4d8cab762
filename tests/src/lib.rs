//! Tests that only make sense across crates, in `tests/`; there is nothing in here.
