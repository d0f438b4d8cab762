//! The verdict on a run: what both ends of each session have told, set against each other. Knows no
//! transport, and believes a peer only what it can know.

use std::collections::BTreeMap;
use std::fmt;

use super::message::{Arrivals, Side};
use super::report::{Report, SessionReport, State};

/// A process of a peer.
pub(super) type ProcessId = u64;

/// What is known of a run.
#[derive(Debug, Default)]
pub(super) struct Judge {
    processes: BTreeMap<ProcessId, Fate>,
    sessions: BTreeMap<u64, Session>,
    /// Whatever a peer itself has found, and what was said of a session to which nothing had come.
    broken: Vec<String>,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It still lives, or has ended in good order.
    Lived,
    /// It was ended, and has told before of everything that it acknowledged.
    EndedTold,
    /// It was killed, and may have acknowledged what it has not told of.
    Killed,
}

#[derive(Debug, Default)]
struct Session {
    ends: BTreeMap<Side, (ProcessId, SessionReport)>,
}

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) sessions: u64,
    pub(super) messages: u64,
    pub(super) resumes: u64,
    pub(super) replayed: u64,
    pub(super) returned: u64,
    pub(super) lost_sessions: u64,
    pub(super) longest_pause_ms: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    pub(super) violations: Vec<String>,
}

impl Judge {
    pub(super) fn note(&mut self, process: ProcessId, report: Report) {
        // A process that was ended stays so, whatever of it comes in late.
        self.processes.entry(process).or_insert(Fate::Lived);
        match report {
            Report::Session(report) => {
                let session = self.sessions.entry(report.session).or_default();
                session.ends.insert(report.side, (process, report));
            }
            // Nothing is sent before the session has a number.
            Report::Nameless { accepted: 0, returned: 0 } => {}
            Report::Nameless { .. } => self.broken.push(format!("{process}: {report:?}")),
            Report::Broken(what) => self.broken.push(format!("process {process}: {what}")),
            Report::Listening(_) | Report::Done => {}
        }
    }

    pub(super) fn note_fate(&mut self, process: ProcessId, fate: Fate) {
        self.processes.insert(process, fate);
    }

    pub(super) fn break_off(&mut self, what: String) {
        self.broken.push(what);
    }

    /// The verdict, once everything was told.
    pub(super) fn verdict(self) -> Verdict {
        let mut verdict = Verdict { violations: self.broken, ..Verdict::default() };
        for (number, session) in &self.sessions {
            let fates = |side| match session.ends.get(&side) {
                Some((process, _)) => self.processes.get(process).copied(),
                // It never knew the session by its number.
                None => None,
            };
            let mut case = Case { number: *number, session, verdict: &mut verdict };
            case.count();
            for from in [Side::Client, Side::Server] {
                case.judge(from, fates(from), fates(from.other()));
            }
        }
        verdict
    }
}

struct Case<'a> {
    number: u64,
    session: &'a Session,
    verdict: &'a mut Verdict,
}

impl Case<'_> {
    fn count(&mut self) {
        self.verdict.sessions += 1;
        let reports = self.session.ends.values().map(|(_, report)| report);
        // Each end counts the same links.
        self.verdict.resumes += reports.clone().map(|report| report.resumes).max().unwrap_or(0);
        for report in reports {
            self.verdict.messages += report.arrivals.next;
            self.verdict.replayed += report.replayed;
            self.verdict.longest_pause_ms = self.verdict.longest_pause_ms.max(report.pause_ms);
            if let State::Lost { returned, .. } = report.state {
                self.verdict.returned += returned;
                self.verdict.lost_sessions += 1;
            }
        }
    }

    /// Judges what went one way.
    fn judge(&mut self, from: Side, sender_fate: Option<Fate>, receiver_fate: Option<Fate>) {
        let receiver = self.session.ends.get(&from.other()).map(|(_, report)| report);
        if let Some(receiver) = receiver {
            self.judge_arrivals(from, &receiver.arrivals);
        }
        let Some((_, sender)) = self.session.ends.get(&from) else { return };
        if sender_fate != Some(Fate::Lived) {
            // Whatever it would have had to say, it cannot.
            return;
        }
        match &sender.state {
            State::Open => self.violated(from, "the session was never told to have ended"),
            State::Closed => self.judge_close(from, sender, receiver),
            State::Lost { reason, exact, .. } => {
                if !exact {
                    self.violated(from, "what was handed back is not what was not acknowledged");
                }
                if receiver_fate == Some(Fate::Lived) {
                    self.violated(from, &format!("lost, though both processes live: {reason}"));
                }
                if receiver_fate == Some(Fate::EndedTold) {
                    let received = receiver.map_or(0, |receiver| receiver.received);
                    self.judge_acknowledged(from, sender, received);
                }
            }
        }
    }

    fn judge_arrivals(&mut self, from: Side, arrivals: &Arrivals) {
        self.verdict.lost += arrivals.lost();
        self.verdict.duplicated += arrivals.duplicated;
        self.verdict.out_of_order += arrivals.out_of_order;
        let found = (arrivals.lost(), arrivals.duplicated, arrivals.out_of_order, arrivals.damaged);
        if found != (0, 0, 0, 0) {
            self.violated(from, &format!("lost, duplicated, out of order, damaged: {found:?}"));
        }
    }

    fn judge_close(
        &mut self,
        from: Side,
        sender: &SessionReport,
        receiver: Option<&SessionReport>,
    ) {
        if sender.acknowledged != sender.accepted {
            self.violated(from, "closed in good order, but not all is acknowledged");
        }
        let received = receiver.map_or(0, |receiver| receiver.arrivals.next);
        if received != sender.accepted {
            self.verdict.lost += sender.accepted.saturating_sub(received);
            let told = format!("closed, {} sent, {received} received", sender.accepted);
            self.violated(from, &told);
        }
    }

    /// Judges what is said to be delivered to a process that is no more.
    fn judge_acknowledged(&mut self, from: Side, sender: &SessionReport, received: u64) {
        if sender.acknowledged > received {
            self.verdict.lost += sender.acknowledged - received;
            let told = format!(
                "{} acknowledged, but the process that was ended had received {received}",
                sender.acknowledged
            );
            self.violated(from, &told);
        }
        if received > sender.accepted {
            let told = format!("{received} received, but only {} sent", sender.accepted);
            self.violated(from, &told);
        }
    }

    fn violated(&mut self, from: Side, what: &str) {
        self.verdict.violations.push(format!("session {} from the {from}: {what}", self.number));
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::encode;
    use super::*;

    const CLIENT: ProcessId = 1;
    const SERVER: ProcessId = 2;

    fn end(side: Side, state: State, [accepted, acknowledged, received]: [u64; 3]) -> Report {
        let mut arrivals = Arrivals::default();
        arrivals.next = received;
        Report::Session(SessionReport {
            side,
            session: 1,
            state,
            accepted,
            acknowledged,
            received,
            arrivals,
            resumes: 1,
            replayed: 0,
            pause_ms: 5,
        })
    }

    fn lost(exact: bool) -> State {
        State::Lost { reason: "whatever".into(), returned: 1, exact }
    }

    #[track_caller]
    fn check(client: Report, server: Report, server_fate: Fate, lost: u64, violations: usize) {
        let mut judge = Judge::default();
        judge.note(CLIENT, client);
        judge.note(SERVER, server);
        judge.note_fate(SERVER, server_fate);
        let verdict = judge.verdict();
        let found = (verdict.lost, verdict.violations.len());
        assert_eq!(found, (lost, violations), "{:?}", verdict.violations);
    }

    #[test]
    fn a_close_has_delivered_and_acknowledged_everything() {
        use State::Closed;
        let client = |numbers| end(Side::Client, Closed, numbers);
        let server = |numbers| end(Side::Server, Closed, numbers);
        check(client([5, 5, 3]), server([3, 3, 5]), Fate::Lived, 0, 0);
        check(client([5, 5, 3]), server([3, 3, 4]), Fate::Lived, 1, 1);
        check(client([5, 4, 3]), server([3, 3, 5]), Fate::Lived, 0, 1);
        check(client([5, 5, 4]), server([3, 3, 5]), Fate::Lived, 0, 1);
    }

    #[test]
    fn a_session_between_live_processes_is_not_lost() {
        let open = end(Side::Server, State::Open, [3, 3, 4]);
        let client = |exact| end(Side::Client, lost(exact), [5, 4, 3]);
        check(client(true), open.clone(), Fate::Killed, 0, 0);
        check(client(false), open.clone(), Fate::Killed, 0, 1);
        // And the server's end of it is still open.
        check(client(true), open, Fate::Lived, 0, 2);
    }

    #[test]
    fn nothing_is_acknowledged_that_the_dead_process_did_not_tell_of() {
        let client = |acknowledged| end(Side::Client, lost(true), [5, acknowledged, 3]);
        let server = |received| end(Side::Server, State::Open, [3, 3, received]);
        check(client(4), server(4), Fate::EndedTold, 0, 0);
        check(client(4), server(5), Fate::EndedTold, 0, 0);
        check(client(4), server(3), Fate::EndedTold, 1, 1);
        check(client(4), server(3), Fate::Killed, 0, 0);
        check(client(4), server(6), Fate::EndedTold, 0, 1);
    }

    #[test]
    fn what_the_peers_find_themselves_counts() {
        let mut judge = Judge::default();
        judge.note(CLIENT, Report::Broken("it".into()));
        judge.note(CLIENT, Report::Nameless { accepted: 0, returned: 0 });
        judge.note(CLIENT, Report::Nameless { accepted: 1, returned: 1 });
        assert_eq!(judge.verdict().violations.len(), 2);

        let Report::Session(mut report) = end(Side::Server, State::Closed, [0, 0, 3]) else {
            unreachable!()
        };
        report.arrivals = Arrivals::default();
        for number in [0, 2, 2] {
            report.arrivals.take(Side::Client, 1, &encode(Side::Client, 1, number, 0));
        }
        let client = end(Side::Client, State::Closed, [3, 3, 0]);
        check(client, Report::Session(report), Fate::Lived, 1, 1);
    }
}
