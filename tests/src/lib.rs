//! What the tests in `tests/` and the programs in `src/bin/` share. Nothing else uses it.

#[cfg(all(unix, feature = "faults"))]
pub mod chaos;
pub mod exhaustive;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod said;
pub mod scripted;
pub mod sim;

/// The code of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
mod guide {}

/// The types of the vectors.
#[cfg(doctest)]
#[doc = include_str!("../../docs/protocol.md")]
mod protocol {}
/// The code of the page for authors of transports.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-transport.md")]
mod writing_a_transport {}

use std::future::pending;
use std::time::Duration;

/// Only a test that fails waits for this long.
const SOON: Duration = Duration::from_secs(60);

/// Waits for `future`, which a test that works does not wait long for.
///
/// # Panics
///
/// When it takes a minute.
///
/// # Cancel safety
///
/// As `future`.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(SOON, future).await {
            Ok(output) => output,
            Err(_) => panic!("hangs at {caller}"),
        }
    }
}

/// Looks again and again until `condition` holds: for what nobody tells of.
///
/// # Panics
///
/// When it takes a minute.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !condition() {
            looks.tick().await;
        }
    })
}

/// Lets this much time pass: where the passing of time is what a test is about.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
pub async fn pass(time: Duration) {
    // The time-out is all that is waited for.
    let _ = tokio::time::timeout(time, pending::<()>()).await;
}
