//! How a story has ended, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use crate::database::Audit;

/// What the story has to show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// How many readings were taken.
    pub(crate) readings: u64,
    /// What the table has.
    pub(crate) audit: Audit,
    /// Readings that the gateway received although it had stored them. One that is killed between a
    /// commit and the line about it does not tell.
    pub(crate) repeats: u64,
    /// Sessions that the device has opened.
    pub(crate) sessions: u64,
    /// Links after the first of a session.
    pub(crate) resumes: u64,
    /// Plugs that were pulled.
    pub(crate) unplugged: u64,
    /// Processes that were killed and started again.
    pub(crate) restarts: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl Verdict {
    /// Whether each reading was stored once.
    pub(crate) fn is_good(&self) -> bool {
        let Audit { rows, gaps, duplicates, wrong } = self.audit;
        rows == self.readings && (gaps, duplicates, wrong) == (0, 0, 0)
    }

    /// The verdict as one JSON object.
    pub(crate) fn json(&self) -> String {
        json!({
            "readings": self.readings,
            "rows": self.audit.rows,
            "gaps": self.audit.gaps,
            "duplicates": self.audit.duplicates,
            "wrong": self.audit.wrong,
            "repeats": self.repeats,
            "sessions": self.sessions,
            "resumes": self.resumes,
            "unplugged": self.unplugged,
            "restarts": self.restarts,
            "seconds": self.elapsed.as_secs_f64(),
        })
        .to_string()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "readings taken      {:>8}", self.readings)?;
        writeln!(f, "rows in the table   {:>8}", self.audit.rows)?;
        writeln!(f, "  missing           {:>8}", self.audit.gaps)?;
        writeln!(f, "  stored twice      {:>8}", self.audit.duplicates)?;
        writeln!(f, "  wrong             {:>8}", self.audit.wrong)?;
        writeln!(f, "came again          {:>8}  and were not stored again", self.repeats)?;
        writeln!(f, "sessions            {:>8}", self.sessions)?;
        writeln!(f, "resumes             {:>8}  after noise and pulled plugs", self.resumes)?;
        writeln!(f, "plugs pulled        {:>8}", self.unplugged)?;
        writeln!(f, "restarts            {:>8}", self.restarts)?;
        write!(f, "seconds             {:>8.1}", self.elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_table_with_each_reading_once_is_good() {
        let audit = Audit { rows: 10, gaps: 0, duplicates: 0, wrong: 0 };
        let good = |audit| {
            let elapsed = Duration::ZERO;
            let (repeats, sessions, resumes, unplugged, restarts) = (0, 0, 0, 0, 0);
            let readings = 10;
            Verdict { readings, audit, repeats, sessions, resumes, unplugged, restarts, elapsed }
                .is_good()
        };
        assert!(good(audit));
        assert!(!good(Audit { rows: 9, gaps: 1, ..audit }));
        assert!(!good(Audit { rows: 11, duplicates: 1, ..audit }));
        assert!(!good(Audit { wrong: 1, ..audit }));
    }
}
