//! The machine that the figures are of, and how busy it is.

use std::fmt;
use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What a figure is not to be stated without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// How many tasks have computed or waited for it, on average over the last minute.
    pub(crate) load: f64,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
        Self {
            cores: available_parallelism().map_or(1, usize::from),
            load: load.unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores, load average {:.2}", self.cores, self.load)
    }
}

/// Allows this process as many open files as its user may have.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What then fails for want of files says so itself.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many seconds of a core this process has used.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The resident memory of this process in KiB, where the system tells.
pub(crate) fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
