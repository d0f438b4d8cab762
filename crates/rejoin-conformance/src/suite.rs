//! Runs the trials over one transport: chooses them by its capability, gives each a runtime, a
//! thread and a deadline, and shows them as the tests of a test binary.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed};

use crate::capability::Capability;
use crate::fixture::{DynFixture, Fixture};
use crate::kit::Stage;
use crate::snapshot;
use crate::trials::{self, Trial};

/// Runs the suite over `fixture` as the `main` of a test binary, with the snapshot in
/// `tests/conformance.snapshot`.
#[must_use]
pub fn main(fixture: impl Fixture) -> ExitCode {
    Suite::new(fixture).snapshot("tests/conformance.snapshot").main()
}

/// The trials over one transport.
pub struct Suite {
    fixture: Arc<dyn DynFixture>,
    capability: Capability,
    snapshot: Option<PathBuf>,
}

/// How one trial went.
#[derive(Clone, PartialEq, Eq, Debug)]

pub enum Verdict {
    /// The transport does what is expected.
    Passed,
    /// The transport cannot be asked for it.
    Skipped {
        /// Why.
        because: String,
    },
    /// The transport does something else.
    Failed {
        /// What.
        because: String,
    },
}

impl Suite {
    /// All trials over `fixture`.
    #[must_use]
    pub fn new(fixture: impl Fixture) -> Self {
        let capability = Fixture::capability(&fixture);
        Self { fixture: Arc::new(fixture), capability, snapshot: None }
    }

    /// Compares the list of trials that are run and skipped, with the reasons, with the file at
    /// `path`, relative to the package's folder. The comparison is the trial `suite::snapshot`; run
    /// with `REJOIN_ACCEPT=1` in the environment, it writes the file instead.
    #[must_use]
    pub fn snapshot(mut self, path: impl Into<PathBuf>) -> Self {
        self.snapshot = Some(path.into());
        self
    }

    /// Runs the trials that the command line selects, as a test binary does.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let mut args = Arguments::from_args();
        // Most trials wait for most of their time, whatever the number of processors.
        args.test_threads.get_or_insert(4);
        let mut tests = Vec::new();
        for trial in trials::all() {
            let (fixture, capability) = (Arc::clone(&self.fixture), self.capability.clone());
            tests.push(libtest_mimic::Trial::ignorable_test(trial.name, move || {
                match run(&fixture, &capability, trial) {
                    Verdict::Passed => Ok(Completion::Completed),
                    Verdict::Skipped { because } => Ok(Completion::ignored_with(because)),
                    Verdict::Failed { because } => Err(Failed::from(because)),
                }
            }));
        }
        if let Some(path) = self.snapshot {
            let current = snapshot::of(&self.capability);
            tests.push(libtest_mimic::Trial::test("suite::snapshot", move || {
                snapshot::check(&path, &current).map_err(Failed::from)
            }));
        }
        libtest_mimic::run(&args, tests).exit_code()
    }

    /// The names of all trials, in their order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        trials::all().map(|trial| trial.name)
    }

    /// Why the trial called `name` is skipped; `None` when it is run, or there is none.
    #[must_use]
    pub fn skips(&self, name: &str) -> Option<&str> {
        let trial = trials::all().find(|trial| trial.name == name)?;
        self.capability.lacks(trial.needs)
    }

    /// Runs the trial called `name`; `None` when there is no such trial.
    #[must_use]
    pub fn run(&self, name: &str) -> Option<Verdict> {
        let trial = trials::all().find(|trial| trial.name == name)?;
        Some(run(&self.fixture, &self.capability, trial))
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("capability", &self.capability)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

/// What a deadline inside the runtime leaves to code that never gives way to others.
const GRACE: Duration = Duration::from_secs(2);

fn run(fixture: &Arc<dyn DynFixture>, capability: &Capability, trial: &'static Trial) -> Verdict {
    if let Some(because) = capability.lacks(trial.needs) {
        return Verdict::Skipped { because: because.to_owned() };
    }
    let deadline = capability.deadline;
    let stage = Stage::new(Arc::clone(fixture), capability.clone());
    let (done, wait) = mpsc::sync_channel(1);
    // A thread, so that a trial that hangs without ever giving way is noticed as well. It is left
    // behind then.
    let thread = std::thread::Builder::new().name(trial.name.to_owned()).spawn(move || {
        let verdict = catch_unwind(AssertUnwindSafe(|| on_this_thread(stage, deadline, trial)));
        // Nobody waits any more after the deadline.
        let _ = done.send(verdict);
    });
    let because = match wait.recv_timeout(deadline.saturating_add(GRACE)) {
        Ok(Ok(Ok(()))) => return Verdict::Passed,
        Ok(Ok(Err(because))) => because,
        Ok(Err(panic)) => message(&*panic).to_owned(),
        Err(RecvTimeoutError::Timeout) => {
            format!("hangs: it blocks its thread for more than {deadline:?}")
        }
        Err(RecvTimeoutError::Disconnected) => format!("was not run: {:?}", thread.err()),
    };
    Verdict::Failed { because }
}

fn on_this_thread(stage: Stage, deadline: Duration, trial: &Trial) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("there is no runtime: {error}"))?;
    let outcome =
        runtime.block_on(async { tokio::time::timeout(deadline, (trial.run)(stage)).await });
    // Not waiting for blocking calls, such as a name that is being looked up.
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err(format!("hangs: it is not done after {deadline:?}")),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
}
