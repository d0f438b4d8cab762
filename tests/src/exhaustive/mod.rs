//! Every interleaving of one small session: an initiator, an acceptor with its table, a few items
//! each way, and a bounded number of faults. The simulator looks far and sees some runs; this looks
//! at all of them, and not far.
//!
//! Depth-first over the choices, with the digests of the states that were seen. There is no time:
//! the sessions acknowledge at once, and no timer is ever due.

mod digest;
mod model;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use model::{Model, Step};

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Items that each side sends, at any time.
    pub items: [u8; 2],
    /// How many of them an application sends at a time, and how many payloads a link takes.
    pub at_once: u8,
    /// Links that die with everything on their way; each end learns of it in its own time.
    pub cuts: u8,
    /// Answers to hellos that are lost, and the link with them.
    pub replies: u8,
    /// Attempts that the initiator gives up, so that their hellos arrive late.
    pub abandons: u8,
    /// Links that the initiator makes while it has one.
    pub migrations: u8,
    /// Whether both sides close at any time.
    pub closes: bool,
    /// Whether a link takes what a session has to say at any later time, [`at_once`](Self::at_once)
    /// payloads after the others, instead of at once.
    pub slow_links: bool,
    /// The number of the first item.
    pub first: u64,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps from one state to another.
    pub steps: usize,
    /// States after which nothing more happens unless somebody fails, sends or closes.
    pub resting: usize,
    /// The longest run.
    pub longest: usize,
}

/// Looks at every state that can be reached, on as many threads as told.
///
/// # Errors
///
/// When one breaks a rule: which, and how to get there.
pub fn explore(limits: Limits, threads: usize) -> Result<Explored, String> {
    let frontier = Frontier {
        branches: vec![Branch { model: Model::new(limits, Instant::now()), path: Vec::new() }],
        ..Frontier::default()
    };
    let (frontier, changed) = (Mutex::new(frontier), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| look(&frontier, &changed));
        }
    });
    let frontier = frontier.into_inner().unwrap_or_else(PoisonError::into_inner);
    match frontier.error {
        Some(error) => Err(error),
        None => Ok(Explored { states: frontier.seen.len(), ..frontier.explored }),
    }
}

/// A state, and how it was reached.
#[derive(Debug)]
struct Branch {
    model: Model,
    path: Vec<Step>,
}

/// What is known of the states, and those from which nobody has gone on yet.
#[derive(Debug, Default)]
struct Frontier {
    seen: HashSet<u64>,
    branches: Vec<Branch>,
    /// How many threads may yet find more branches.
    looking: usize,
    explored: Explored,
    error: Option<String>,
}

fn look(frontier: &Mutex<Frontier>, changed: &Condvar) {
    let lock = || frontier.lock().unwrap_or_else(PoisonError::into_inner);
    let mut state = lock();
    loop {
        if state.error.is_some() || (state.branches.is_empty() && state.looking == 0) {
            break changed.notify_all();
        }
        let Some(branch) = state.branches.pop() else {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.looking += 1;
        drop(state);
        // A broken invariant of the product's own is what is looked for, too.
        let found = catch_unwind(AssertUnwindSafe(|| branch.next()))
            .unwrap_or_else(|_| Err(format!("panic\nafter one of {:#?}", branch.path)));
        state = lock();
        state.looking -= 1;
        match found {
            Ok(found) => state.add(found),
            Err(error) => state.error = Some(error),
        }
        changed.notify_all();
    }
}

impl Frontier {
    fn add(&mut self, found: Found) {
        self.explored.steps += found.next.len();
        self.explored.resting += usize::from(found.rests);
        for (digest, branch) in found.next {
            if self.seen.insert(digest) {
                self.explored.longest = self.explored.longest.max(branch.path.len());
                self.branches.push(branch);
            }
        }
    }
}

/// What follows from a state.
struct Found {
    next: Vec<(u64, Branch)>,
    rests: bool,
}

impl Branch {
    fn next(&self) -> Result<Found, String> {
        let Self { model, path } = self;
        let told = |path: &[Step], error| format!("{error}\nafter {path:#?}");
        let mut steps = model.steps();
        // Whether a session has something to say shows only when it is asked.
        steps.retain(|step| !matches!(step, Step::Write { end } if !model.clone().write(*end)));
        let rests = steps.iter().all(Step::is_optional);
        if rests {
            model.check_rest(steps.is_empty()).map_err(|error| told(path, error))?;
        }
        let next = steps.into_iter().map(|step| {
            let path = [path.as_slice(), &[step]].concat();
            let mut model = model.clone();
            model.take(step).map_err(|error| told(&path, error))?;
            Ok((model.digest(), Self { model, path }))
        });
        Ok(Found { next: next.collect::<Result<_, String>>()?, rests })
    }
}
