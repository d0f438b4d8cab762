//! The life of the children: each goes soon after the link that runs through it, and none is left
//! behind. Knows nothing of what they carry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::process::Child;
use tokio::runtime::Handle;

/// How long a child may go on after its link is gone. It may hold the last bytes of a link that was
/// closed, so it is not killed at once.
const GRACE: Duration = Duration::from_secs(5);

/// Holds a child as long as a half of its link lives.
#[derive(Debug)]
pub(crate) struct Leash(Mutex<Option<Child>>);

impl Leash {
    /// Holds `child`, which must be one that is killed when it is dropped.
    pub(crate) fn new(child: Child) -> Self {
        Self(Mutex::new(Some(child)))
    }

    fn kill(&self) -> bool {
        let is_alive = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        self.lock().as_mut().is_some_and(|child| is_alive(child) && child.start_kill().is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let Some(mut child) = self.lock().take() else { return };
        // Its input has ended with the sending half, so it ends by itself unless it hangs. Without a
        // runtime, or when that ends first, it is killed.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { tokio::time::timeout(GRACE, child.wait()).await.is_ok() });
        }
    }
}

/// The children of a source and of its clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relays(Arc<Mutex<Vec<Weak<Leash>>>>);

impl Relays {
    pub(crate) fn add(&self, leash: &Arc<Leash>) {
        let mut relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        relays.retain(|relay| relay.strong_count() > 0);
        relays.push(Arc::downgrade(leash));
    }

    /// Kills all that carry a link, and tells how many those were.
    pub(crate) fn kill(&self) -> usize {
        let relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        relays.iter().filter_map(Weak::upgrade).filter(|leash| leash.kill()).count()
    }
}
