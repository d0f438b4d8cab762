//! Makes a failing plan smaller for as long as it goes on failing: less happens, to fewer sessions,
//! in a plainer setting, with smaller numbers. It must break the same rule, but for the numbers in it.

use std::fmt;

use super::plan::{ConfigPlan, Kind, Op, Plan};
use super::run;

/// Enough for every plan seen, and an end for those that only get smaller by a hair.
const RUNS_MAX: usize = 5000;

pub(super) fn shrink(mut plan: Plan, message: &str) -> Plan {
    let rule = without_numbers(message);
    let mut runs = 0;
    let mut fails = |candidate: &Plan| {
        runs += 1;
        runs <= RUNS_MAX
            && run(candidate, false)
                .failure
                .is_some_and(|message| without_numbers(&message) == rule)
    };
    loop {
        let before = plan.clone();
        fewer_sessions(&mut plan, &mut fails);
        fewer_ops(&mut plan, |plan| &mut plan.ops, &mut fails);
        fewer_ops(&mut plan, |plan| &mut plan.closes, &mut fails);
        plainer(&mut plan, &mut fails);
        smaller_numbers(&mut plan, |plan| &mut plan.ops, &mut fails);
        smaller_numbers(&mut plan, |plan| &mut plan.closes, &mut fails);
        if plan == before {
            return plan;
        }
    }
}

fn without_numbers(message: &str) -> String {
    message.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn attempt(
    plan: &mut Plan,
    fails: &mut impl FnMut(&Plan) -> bool,
    change: impl Fn(&mut Plan),
) -> bool {
    let mut candidate = plan.clone();
    change(&mut candidate);
    let better = candidate != *plan && fails(&candidate);
    if better {
        *plan = candidate;
    }
    better
}

fn fewer_sessions(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    let mut client = plan.setups.len();
    while client > 0 && plan.setups.len() > 1 {
        client -= 1;
        attempt(plan, fails, |plan| {
            plan.setups.remove(client);
            for ops in [&mut plan.ops, &mut plan.closes] {
                ops.retain(|op| op.client != client);
                ops.iter_mut().for_each(|op| op.client -= usize::from(op.client > client));
            }
        });
    }
}

/// Leaves out runs of ops, long ones first.
fn fewer_ops(
    plan: &mut Plan,
    ops: fn(&mut Plan) -> &mut Vec<Op>,
    fails: &mut impl FnMut(&Plan) -> bool,
) {
    let mut len = ops(plan).len();
    while len > 0 {
        let mut start = 0;
        while start < ops(plan).len() {
            let end = (start + len).min(ops(plan).len());
            let shorter = attempt(plan, fails, |plan| drop(ops(plan).drain(start..end)));
            start = if shorter { start } else { end };
        }
        len /= 2;
    }
}

fn plainer(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    attempt(plan, fails, |plan| plan.delay_ms = 0);
    attempt(plan, fails, |plan| plan.capacity = 100);
    attempt(plan, fails, |plan| plan.batch = 1);
    for client in 0..plan.setups.len() {
        attempt(plan, fails, |plan| plan.setups[client].first = 0);
        attempt(plan, fails, |plan| plan.setups[client].redial_ms = 0);
        for end in 0..2 {
            const PLAIN: ConfigPlan = ConfigPlan::PLAIN;
            let changes: [fn(&mut ConfigPlan); 7] = [
                |config| config.base = PLAIN.base,
                |config| config.item_bytes_max = PLAIN.item_bytes_max,
                |config| config.send_log_bytes_max = PLAIN.send_log_bytes_max,
                |config| config.window_bytes = PLAIN.window_bytes,
                |config| config.ack_frames_max = PLAIN.ack_frames_max,
                |config| config.manual_ack = PLAIN.manual_ack,
                |config| config.patience = PLAIN.patience,
            ];
            for change in changes {
                attempt(plan, fails, |plan| change(&mut plan.setups[client].configs[end]));
            }
        }
    }
}

fn smaller_numbers(
    plan: &mut Plan,
    ops: fn(&mut Plan) -> &mut Vec<Op>,
    fails: &mut impl FnMut(&Plan) -> bool,
) {
    for at in 0..ops(plan).len() {
        // A parity or a set of bits is what it is.
        if matches!(ops(plan)[at].kind, Kind::Stall | Kind::Skip | Kind::Offline) {
            continue;
        }
        let mut step = ops(plan)[at].n;
        while step > 0 {
            while ops(plan)[at].n >= step && attempt(plan, fails, |plan| ops(plan)[at].n -= step) {}
            step /= 2;
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delay_ms, capacity, batch, .. } = self;
        writeln!(f, "links: {delay_ms} ms, {capacity} payloads, {batch} at a time")?;
        for (client, setup) in self.setups.iter().enumerate() {
            let redial = setup.redial_ms;
            writeln!(f, "session {client}: numbers from {:#x}, redial {redial} ms", setup.first)?;
            for (name, config) in ["initiator", "acceptor"].iter().zip(&setup.configs) {
                writeln!(f, "  {name}: {config:?}")?;
            }
        }
        let [ops, closes] = [&self.ops, &self.closes]
            .map(|ops| ops.iter().map(|op| format!("  {op}\n")).collect::<String>());
        write!(f, "then:\n{ops}the faults stop, then:\n{closes}the faults stop. In detail:")
    }
}
