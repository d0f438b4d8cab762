//! What the tests in `tests/` and the programs in `src/bin/` share. Nothing else uses it.

pub mod scripted;
