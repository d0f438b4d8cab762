//! What threads meet at, in one place: `tests/loom` compiles the same sources against loom's, which
//! tries every order in which threads can get there.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
