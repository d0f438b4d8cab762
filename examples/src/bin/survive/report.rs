//! What a run ends with: the table, the JSON object, and the verdict.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use crate::checker::Tally;
use crate::options::Options;

/// The result of a run, both directions together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) tally: Tally,
    /// How many bytes the messages received carried.
    pub(crate) payload_bytes: u64,
    pub(crate) cuts_planned: u64,
    /// Cuts that fell while messages were on their way, and did what was planned.
    pub(crate) cuts: u64,
    pub(crate) resumes: u64,
    pub(crate) replayed: u64,
    pub(crate) elapsed: Duration,
    /// The longest time between two messages of one direction.
    pub(crate) longest_pause: Duration,
    /// Which transports the session was on, in order, where that changes.
    pub(crate) transports: Option<Vec<&'static str>>,
    /// What there is to know about the medium to judge the numbers.
    pub(crate) medium: Option<&'static str>,
}

impl Report {
    /// What is known before a run begins.
    pub(crate) fn planned(options: &Options) -> Self {
        let medium = options.transport.description();
        Self { cuts_planned: options.cuts.into(), medium, ..Self::default() }
    }

    /// Adds the result of one direction.
    pub(crate) fn add(&mut self, tally: Tally, longest_pause: Duration) {
        let sum = &mut self.tally;
        sum.received += tally.received;
        sum.lost += tally.lost;
        sum.duplicated += tally.duplicated;
        sum.out_of_order += tally.out_of_order;
        sum.damaged += tally.damaged;
        self.longest_pause = self.longest_pause.max(longest_pause);
    }

    /// What speaks against success; nothing, if all is well.
    pub(crate) fn faults(&self) -> Vec<String> {
        let tally = self.tally;
        let counts = [
            (tally.lost, "messages were lost"),
            (tally.duplicated, "messages were duplicated"),
            (tally.out_of_order, "messages were out of order"),
            (tally.damaged, "messages were damaged"),
            (self.cuts_planned.abs_diff(self.cuts), "cuts did not happen as planned"),
        ];
        let wrong = counts.into_iter().filter(|(count, _)| *count > 0);
        wrong.map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// The result in one line for programs.
    pub(crate) fn json(&self) -> String {
        let mut object = json!({
            "sent": self.sent,
            "received": self.tally.received,
            "lost": self.tally.lost,
            "duplicated": self.tally.duplicated,
            "out_of_order": self.tally.out_of_order,
            "cuts": self.cuts,
            "resumes": self.resumes,
            "replayed": self.replayed,
            "seconds": self.elapsed.as_secs_f64(),
        });
        if let Some(transports) = &self.transports {
            object["transports"] = json!(transports);
        }
        object.to_string()
    }

    fn per_second(&self, amount: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
        let amount = amount as f64;
        amount / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = self.per_second(self.tally.received);
        let megabytes = self.per_second(self.payload_bytes) / 1e6;
        for (name, value) in [
            ("sent", self.sent.to_string()),
            ("received", self.tally.received.to_string()),
            ("lost", self.tally.lost.to_string()),
            ("duplicated", self.tally.duplicated.to_string()),
            ("out of order", self.tally.out_of_order.to_string()),
            ("cuts", self.cuts.to_string()),
            ("resumes", self.resumes.to_string()),
            ("replayed", self.replayed.to_string()),
            ("throughput", format!("{messages:.0} messages/s, {megabytes:.1} MB/s")),
            ("longest pause", format!("{:.0?}", self.longest_pause)),
            ("time", format!("{:.1?}", self.elapsed)),
        ] {
            writeln!(f, "{name:<13}  {value}")?;
        }
        if let Some(transports) = &self.transports {
            writeln!(f, "{:<13}  {}", "transports", transports.join(", "))?;
        }
        if let Some(medium) = self.medium {
            writeln!(f, "{:<13}  {medium}", "medium")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        let mut report = Report { sent: 200, cuts_planned: 4, cuts: 4, ..Report::default() };
        for pause in [3, 2] {
            let tally = Tally { received: 100, ..Tally::default() };
            report.add(tally, Duration::from_millis(pause));
        }
        report
    }

    #[test]
    fn adds_up_both_directions() {
        let report = good();
        assert_eq!((report.tally.received, report.longest_pause), (200, Duration::from_millis(3)));
        assert_eq!(report.faults(), Vec::<String>::new());
    }

    #[test]
    fn any_loss_and_any_cut_that_is_missing_is_a_fault() {
        let one = |tally: Tally, expected: &str| {
            let mut report = good();
            report.add(tally, Duration::ZERO);
            assert_eq!(report.faults(), [expected]);
        };
        one(Tally { lost: 1, ..Tally::default() }, "1 messages were lost");
        one(Tally { duplicated: 2, ..Tally::default() }, "2 messages were duplicated");
        one(Tally { out_of_order: 3, ..Tally::default() }, "3 messages were out of order");
        one(Tally { damaged: 4, ..Tally::default() }, "4 messages were damaged");
        let report = Report { cuts: 3, ..good() };
        assert_eq!(report.faults(), ["1 cuts did not happen as planned"]);
    }

    #[test]
    fn the_json_object_has_exactly_these_keys() {
        let json: serde_json::Value = serde_json::from_str(&good().json()).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut expected = [
            "sent",
            "received",
            "lost",
            "duplicated",
            "out_of_order",
            "cuts",
            "resumes",
            "replayed",
            "seconds",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(json["received"], 200);
    }

    #[test]
    fn a_report_of_a_session_that_roamed_says_where_it_was() {
        let report = Report { transports: Some(vec!["serial", "tcp"]), ..good() };
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["transports"], json!(["serial", "tcp"]));
        assert!(report.to_string().contains("serial, tcp\n"), "{report}");
    }
}
