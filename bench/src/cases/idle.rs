//! What sessions cost in which nothing happens but pings.

use crate::apart::{Child, Part};
use crate::measure::{Case, Effort, Goal};

pub(super) fn case(effort: Effort) -> Case {
    let sessions = effort.choose(1_000, 1_000, 20);
    let time_ms = effort.choose(10_000, 10_000, 100);
    let what = ("CPU of idle sessions, both ends", sessions, "% of one core");
    Case::new(what, Goal::AtMost(2.0), move |_| {
        let [percent] = Child::start(&Part::Idle { sessions, time_ms })?.numbers()?;
        Ok(percent.into())
    })
    .once()
}
