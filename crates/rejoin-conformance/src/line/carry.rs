//! Carries bytes in one direction of a cable, at its pace and with its noise.

use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::noise::{Damage, Harm, Noise};
use super::plug::Plug;

/// How much is carried at a time at most.
const PIECE_BYTES: usize = 512;
/// For how long a line may make up for a carrier that was late: the machine's fault, not its own.
const CATCH_UP: Duration = Duration::from_millis(50);

/// What is done in one direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    state: Mutex<State>,
    injected: Notify,
}

#[derive(Debug, Default)]
struct State {
    harm: Harm,
    injected: Vec<u8>,
    rate: Option<NonZeroU32>,
    silent: bool,
    carried: u64,
}

impl Direction {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_rate(&self, rate: Option<NonZeroU32>) {
        self.lock().rate = rate;
    }

    pub(super) fn set_noise(&self, noise: Noise) {
        self.lock().harm.set_noise(noise);
    }

    pub(super) fn damage(&self, after: u64, damage: Damage) {
        self.lock().harm.order(after, damage);
    }

    pub(super) fn inject(&self, bytes: &[u8]) {
        self.lock().injected.extend_from_slice(bytes);
        self.injected.notify_one();
    }

    pub(super) fn silence(&self, silent: bool) {
        self.lock().silent = silent;
    }

    pub(super) fn mend(&self) {
        let mut state = self.lock();
        state.harm = Harm::default();
        state.injected.clear();
        state.silent = false;
    }

    pub(super) fn carried(&self) -> u64 {
        self.lock().carried
    }

    /// What arrives once `bytes` were sent, and what was injected before.
    fn arriving(&self, bytes: &[u8]) -> Vec<u8> {
        let mut state = self.lock();
        let mut arrives = std::mem::take(&mut state.injected);
        arrives.append(&mut state.harm.apply(bytes));
        if state.silent {
            arrives.clear();
        }
        state.carried += arrives.len() as u64;
        arrives
    }
}

type End = watch::Receiver<Option<Arc<Plug>>>;

/// Carries for as long as the cable is there.
pub(super) async fn carry(mut from: End, mut to: End, direction: Arc<Direction>) {
    let mut pace = Pace { at: Instant::now() };
    let mut piece = [0; PIECE_BYTES];
    loop {
        let rate = direction.lock().rate;
        let bytes_max = pace.ready(rate).await;
        let read = tokio::select! {
            read = read(&mut from, &mut piece[..bytes_max]) => read,
            () = direction.injected.notified() => Ok(0),
        };
        let Ok(count) = read else { return };
        let arrives = direction.arriving(&piece[..count]);
        pace.spend(rate, count.max(arrives.len()));
        if write(&mut to, &arrives).await.is_err() {
            return;
        }
    }
}

/// Reads from whatever is plugged in. Fails once the cable is gone.
async fn read(from: &mut End, piece: &mut [u8]) -> Result<usize, watch::error::RecvError> {
    loop {
        let plug = from.borrow_and_update().clone();
        tokio::select! {
            changed = from.changed() => changed?,
            Some(Ok(count)) = on(plug, async |plug| plug.read(piece).await) => return Ok(count),
        }
    }
}

/// Writes to whatever is plugged in; what nobody is there for is lost.
async fn write(to: &mut End, bytes: &[u8]) -> Result<(), watch::error::RecvError> {
    let plug = to.borrow_and_update().clone();
    tokio::select! {
        biased;
        written = on(plug, async |plug| plug.write_all(bytes).await) => drop(written),
        changed = to.changed() => changed?,
    }
    Ok(())
}

async fn on<T>(
    plug: Option<Arc<Plug>>,
    act: impl AsyncFnOnce(&Plug) -> io::Result<T>,
) -> Option<io::Result<T>> {
    match plug {
        Some(plug) => Some(act(&plug).await),
        None => None,
    }
}

/// When a line of a limited rate can carry more.
struct Pace {
    /// When what was carried until now would be through.
    at: Instant,
}

impl Pace {
    /// Waits until the line is free; gives how much it may carry in one piece.
    async fn ready(&mut self, rate: Option<NonZeroU32>) -> usize {
        let Some(rate) = rate else { return PIECE_BYTES };
        let now = Instant::now();
        if let Some(earliest) = now.checked_sub(CATCH_UP) {
            self.at = self.at.max(earliest);
        }
        if self.at > now {
            sleep_until(self.at).await;
        }
        // About two milliseconds, which is what timers can do.
        usize::try_from(rate.get() / 500).unwrap_or(PIECE_BYTES).clamp(1, PIECE_BYTES)
    }

    fn spend(&mut self, rate: Option<NonZeroU32>, bytes: usize) {
        match rate {
            Some(rate) => self.at += Duration::from_secs_f64(bytes as f64 / f64::from(rate.get())),
            None => self.at = Instant::now(),
        }
    }
}
