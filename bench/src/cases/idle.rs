//! What sessions cost in which nothing happens but pings.

use crate::apart::{Child, Part};
use crate::measure::{Case, Goal};

const SESSIONS: usize = 1_000;

pub(super) fn case() -> Case {
    let what = ("CPU of idle sessions, both ends", SESSIONS, "% of one core");
    Case::new(what, Goal::AtMost(2.0), |effort| {
        let sessions = effort.choose(SESSIONS, SESSIONS, 20);
        let time_ms = effort.choose(10_000, 10_000, 100);
        let [percent] = Child::start(&Part::Idle { sessions, time_ms })?.numbers()?;
        Ok(percent.into())
    })
    .once()
}
