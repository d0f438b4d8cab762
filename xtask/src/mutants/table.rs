//! The kept bugs. Each is one edit of the product, says what it breaks, and names the suite that
//! notices; should that one not, the others are asked before the mutant counts as a survivor.

use super::Suite::{self, Loom, Protocol, Sim, Stable, Unit};

/// One kept bug.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// Below `crates/rejoin-core/src`.
    pub(super) file: &'static str,
    /// Stands in the file exactly once.
    pub(super) search: &'static str,
    pub(super) replacement: &'static str,
    pub(super) killer: Suite,
    /// What goes wrong, and so what the killer looks at.
    pub(super) why: &'static str,
}

macro_rules! mutants {
    ($($name:literal in $file:literal: $search:literal => $replacement:literal, $killer:ident: $why:literal;)+) => {
        &[$(Mutant {
            name: $name,
            file: $file,
            search: $search,
            replacement: $replacement,
            killer: $killer,
            why: $why,
        },)+]
    };
}

pub(super) const MUTANTS: &[Mutant] = mutants! {
    "wrong comparison at the wrap" in "protocol/seq.rs":
        "let ahead = self.0.wrapping_sub(near.seq().0).cast_signed();" =>
        "let ahead = i32::try_from(i64::from(self.0) - i64::from(near.seq().0)).unwrap_or(i32::MAX);",
        Sim: "numbers just below 2^32 and after it are far apart";
    "duplicate delivered" in "protocol/receiver.rs":
        "_ => Arrival::Duplicate," => "_ => Arrival::Next,",
        Sim: "what a replay repeats is given out twice";
    "gap of one taken for a duplicate" in "protocol/receiver.rs":
        "if position.get() > self.received => Arrival::Gap" =>
        "if position.get() > self.received + 1 => Arrival::Gap",
        Sim: "the loss of one item on a link is not noticed";
    "no stand-alone acknowledgement" in "protocol/receiver.rs":
        "(self.has_news() && due) || self.window_due()" => "self.window_due()",
        Sim: "traffic that flows one way is never acknowledged";
    "window never reopened" in "protocol/receiver.rs":
        "self.limit() - self.limit_told >= (self.window / 4).max(1)" =>
        "self.limit() - self.limit_told > 2 * self.window",
        Sim: "a sender that has used up its window waits for ever";
    "limit taken back" in "protocol/receiver.rs":
        "self.limit_told.max(self.cost_consumed + self.window)" =>
        "self.cost_consumed + self.window",
        Sim: "a window that shrinks takes back what the peer was promised";
    "acknowledgement off by one" in "protocol/receiver.rs":
        "self.last_before(count).map(|max_delivered|" =>
        "self.last_before(count + 1).map(|max_delivered|",
        Sim: "an item is acknowledged that has not come";
    "acknowledged before the application has" in "protocol/receiver.rs":
        "if !self.manual {" => "if true {",
        Sim: "in manual mode a receipt says more than the application did";
    "trim beyond the acknowledgement" in "protocol/send_log.rs":
        "self.segments.front().filter(|segment| segment.end() <= count)" =>
        "self.segments.front().filter(|segment| segment.first < count)",
        Sim: "items that were not acknowledged go with those of their batch that were";
    "acknowledged bytes not released" in "protocol/send_log.rs":
        "self.cost_acked = self.cost_at(count);" => "",
        Sim: "a log that is empty looks full";
    "hand-back forgets the oldest" in "protocol/send_log.rs":
        "self.rewind(self.acked);" => "self.rewind(self.acked + 1);",
        Sim: "one item is neither acknowledged nor handed back";
    "number taken before the bytes are stored" in "protocol/send_log.rs":
        "first: self.appended," => "first: self.appended + 1,",
        Sim: "the log and its items disagree about their numbers";
    "log not rewound" in "protocol/session/handshake.rs":
        "self.log.rewind(received);" => "",
        Sim: "what a dead link took with it is not sent again";
    "replaced link kept" in "protocol/session/handshake.rs":
        "if let Some(replaced) = self.link() {" =>
        "if let Some(replaced) = self.link().filter(|_| false) {",
        Sim: "a link that another has replaced is never let go of";
    "outage goes on under a link" in "protocol/session/handshake.rs":
        "self.detached_at = None;" => "",
        Sim: "a session expires while it has a link";
    "settings on the first link only" in "protocol/session/handshake.rs":
        "settings_sent: false," => "settings_sent: self.generation.0 > 1,",
        Sim: "a resumed link begins with something else";
    "close on the first link only" in "protocol/session/handshake.rs":
        "close_sent: false," => "close_sent: self.generation.0 > 1,",
        Sim: "a close that a link has lost is not said again";
    "old hello ends the session" in "protocol/session/handshake.rs":
        "received.map(|count| count.max(log.acked()))" => "received",
        Sim: "a hello that comes late says less than was acknowledged since";
    "base hello acknowledges what was not" in "protocol/session/handshake.rs":
        "Some(Profile::Base) => self.receiver.last_acknowledgeable()," =>
        "Some(Profile::Base) => self.receiver.last_received(),",
        Sim: "in manual mode a base hello says more than the application did";
    "lost session calls itself closed" in "protocol/session/handshake.rs":
        "if self.closed_in_order {" => "if true {",
        Sim: "an initiator takes a loss for a receipt";
    "base session closed before its link" in "protocol/session/handshake.rs":
        "self.finish_if_closed();" => "",
        Protocol: "a close that waits for nothing waits for the linger limit";
    "old link's input accepted" in "protocol/session/input.rs":
        "let Some(attached) = self.attached.as_mut().filter(|it| it.generation == link) else {" =>
        "let Some(attached) = self.attached.as_mut() else {",
        Sim: "a frame of a replaced link changes the session";
    "old link's death ends the new one" in "protocol/session/mod.rs":
        "if self.attached.as_ref().is_some_and(|attached| attached.generation == link) {" =>
        "if self.attached.is_some() {",
        Protocol: "a session that was taken over loses its new link";
    "acknowledgement without a timer" in "protocol/session/mod.rs":
        "self.receiver.next_ack_at()" => "self.receiver.next_ack_at().filter(|_| false)",
        Sim: "an acknowledgement waits until something else happens";
    "settings not required" in "protocol/session/input.rs":
        "if profile == Profile::Extended && !is_settings {" =>
        "if profile == Profile::Base && !is_settings && attached.peer_heard {",
        Protocol: "a link goes on whose first frame was not settings";
    "acknowledgement of what was never sent" in "protocol/session/input.rs":
        "Some(count) if count <= self.log.sent() => {" =>
        "Some(count) if count <= self.log.appended() => {",
        Protocol: "a peer acknowledges what it cannot have";
    "late acknowledgement of an earlier link" in "protocol/session/input.rs":
        "if count > self.log.written() {" => "if false {",
        Sim: "what only an earlier link has carried is acknowledged on the next";
    "close confirmed that was not sent" in "protocol/session/input.rs":
        "if attached.is_some_and(|attached| attached.close_sent)" => "if attached.is_some()",
        Protocol: "a stray confirmation passes for a receipt of everything";
    "close overtakes items" in "protocol/session/output.rs":
        "|| attached.close_sent || !all_written" => "|| attached.close_sent",
        Sim: "items come after the close";
    "reason of a close lost" in "protocol/session/input.rs":
        "self.events.push_back(Event::PeerClosed(reason));" =>
        "drop(reason); self.events.push_back(Event::PeerClosed(Default::default()));",
        Sim: "an application is told of another reason than its peer has given";
    "window ignored" in "protocol/session/output.rs":
        "if cost >= cost_max || batch.is_full() {" =>
        "if cost >= cost_max.saturating_add(100) || batch.is_full() {",
        Sim: "a sender goes past its window";
    "window not counted within a run" in "protocol/session/output.rs":
        "cost += item_cost(bytes);" => "",
        Sim: "all items of a run go out where the first of them may";
    "size not checked within a run" in "protocol/session/output.rs":
        "let run = self.log.write_run(|end, bytes| {" =>
        "let before = cost;
        let run = self.log.write_run(|end, bytes| {
            let within = cost > before && cost < cost_max && !batch.is_full();
            if within && bytes > bytes_max {
                cost += item_cost(bytes);
                batch.push_end(end, bytes);
                return true;
            }",
        Protocol: "an item goes out that is larger than the peer takes, behind one that is not";
    "pong forgotten" in "protocol/session/output.rs":
        "attached.pong.take()" => "attached.pong.take().filter(|_| false)",
        Protocol: "a ping is not answered";
    "close confirmed before the application has everything" in "protocol/session/output.rs":
        "self.receiver.is_all_acknowledgeable() && self.closing.next_close_ack()" =>
        "self.closing.next_close_ack()",
        Sim: "in manual mode a confirmed close says more than the application did";
    "close confirmed once only" in "protocol/closing.rs":
        "self.confirmation_due = true;" => "self.confirmation_due = !self.peer_closed;",
        Sim: "a confirmation that a link has lost is not said again";
    "linger without end" in "protocol/closing.rs":
        "        self.linger_until\n" => "        self.linger_until.filter(|_| false)\n",
        Sim: "who closes towards a peer that is gone waits for as long as an outage may last";
    "key dropped too early" in "protocol/sessions.rs":
        "entry.given = Some(fresh);" =>
        "entry.given = Some(fresh); if let Some(old) = entry.proved.take() { self.by_key.remove(&old); }",
        Sim: "a lost answer takes the session with it";
    "key for every echo" in "protocol/sessions.rs":
        "if let Some(given) = entry.given {" =>
        "if let Some(given) = entry.given.filter(|_| false) {",
        Protocol: "keys grow in number with the hellos that are repeated";
    "echo of a fresh hello welcome" in "protocol/sessions.rs":
        "is_some_and(|entry| entry.proved.is_some())" => "is_some_and(|_| false)",
        Protocol: "a late fresh hello disturbs a session";
    "old key stays valid" in "protocol/sessions.rs":
        "if let Some(old) = entry.proved.replace(key) {" =>
        "if let Some(old) = entry.proved.replace(key).filter(|_| false) {",
        Protocol: "a key that was replaced opens the session for ever";
    "keys of a lost session stay" in "protocol/sessions.rs":
        "if !closed {" => "if false {",
        Sim: "an initiator takes a loss for a close";
    "ping timer spins" in "protocol/liveness.rs":
        "if self.ping_due {" => "if false {",
        Sim: "a ping that cannot be written is due again at once";
    "own sleep held against the peer" in "protocol/liveness.rs":
        "if late > timer_slack(self.dead_after) {" => "if false {",
        Unit: "a machine that wakes up drops a link that works";
    "message accepted without its position" in "handover/outbox.rs":
        "state.run_cost = 0;\n        state.items_wait" =>
        "state.next += u64::from(state.news); state.items_wait",
        Stable: "positions run ahead of the messages that have them";
    "sleep on items" in "handover/outbox.rs":
        "(items == Items::Wanted && !state.filling.is_empty())" => "false",
        Unit: "an item that comes while the driver goes to sleep waits for another";
    "full batch taken for all there is" in "stable/driver/mod.rs":
        "ended.is_ready() || link.has_more_to_read()" => "ended.is_ready()",
        Stable: "what is at hand is read only when something else happens";
    "time-outs of requests overlooked" in "stable/driver/mod.rs":
        "self.routine &= !changed;" => "",
        Stable: "what the application asked for is late";
    "consumption not passed on" in "stable/driver/mod.rs":
        "self.session.consume(requests.consumed);" => "",
        Stable: "the window closes for good";
    "log released without an acknowledgement" in "stable/driver/mod.rs":
        "(log.acked(), log.cost_acked())" => "(log.written(), log.cost_written())",
        Stable: "a receipt is given for what was only written";
    "receiver not told of a close" in "stable/driver/mod.rs":
        "self.shared.inbox.end(true);" => "",
        Stable: "a receiver waits for ever after the peer has closed";
    "key never proved" in "stable/driver/mod.rs":
        "self.registrar.proved(link);" => "",
        Stable: "the table does not learn that the peer has its key";
    "items behind the queue put before it" in "handover/inbox.rs":
        "=> last.append(items)," => "=> { std::mem::swap(last, items); last.append(items); }",
        Stable: "what came later is received earlier";
    "link kept after a violation" in "stable/driver/mod.rs":
        "warn!(generation = generation.get(), cause, \"protocol violation\");\n            self.link_down(" =>
        "warn!(generation = generation.get(), cause, \"protocol violation\");\n            let _ = (",
        Stable: "a link that has lost something goes on";
    "end of the link taken for the end of the session" in "stable/driver/links.rs":
        "self.session.handle_link_down(now, link.generation());" =>
        "self.session.abort(LossReason::Stopped);",
        Stable: "a cut ends the session";
    "call during the poll forgotten" in "on_call.rs":
        "        self.line.called.swap(false, Ordering::Acquire);\n        Pin::new(&mut self.future).poll(&mut Context::from_waker(&self.waker))" =>
        "        let polled = Pin::new(&mut self.future).poll(&mut Context::from_waker(&self.waker));\n        self.line.called.swap(false, Ordering::Acquire);\n        polled",
        Loom: "a link that has more to read is not read on";
    "task put down after the flag was read" in "on_call.rs":
        "if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {\n            self.connect(cx.waker());\n        }\n        self.was_called()" =>
        "let called = self.was_called();\n        if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {\n            self.connect(cx.waker());\n        }\n        called",
        Loom: "a task that takes over a future is not woken by it";
    "room given up and offered to nobody" in "handover/room.rs":
        "Outbox::unlock(state);\n        drop(left);" => "drop(state);\n        drop(left);",
        Loom: "a sender waits though there is room";
};
