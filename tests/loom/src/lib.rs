//! What applications' threads and drivers meet at, under [loom](https://docs.rs/loom): the sources of
//! rejoin-core's `handover` and `on_call`, to which links lead from here, compiled against loom's locks
//! and atomics, and models that run them in every order in which two or three threads can get there. A
//! model in which a wake-up can be lost ends in a deadlock, which loom finds and shows.
//!
//! That every call is right in itself is shown by the unit tests beside the sources.

#![expect(clippy::unwrap_used, reason = "a model fails by panicking")]
// The rest of the two modules is used by the crate that they belong to.
#![allow(dead_code, unused_imports)]

mod blocks {
    pub(crate) use rejoin_core::BlockPool;
}

mod codec {
    pub(crate) use rejoin_core::EncodeError;
}

mod protocol {
    pub(crate) use rejoin_core::protocol::{
        Batch, CloseReason, ITEM_COST, Position, SendLog, item_cost,
    };
}

/// In place of rejoin-core's module of that name.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

mod handover;
mod on_call;

pub mod inbox;
pub mod outbox;
pub mod waking;

/// Runs `model` in every order in which its threads can be interrupted at most twice in one
/// go, which is enough for two of them to get into each other's way.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}
