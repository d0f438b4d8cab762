//! What is measured. Our side is always the ordinary API in the ordinary way: `tx.send(&item).await`
//! in a loop, `rx.recv().await` in a loop, with the default settings. Time runs from the first send
//! until the receiver has the last message.

mod both_ways;
mod idle;
mod memory;
mod one_way;
mod ping_pong;
mod reconnect;
mod resume;
mod serial;
mod typed;

pub(crate) use memory::connect;
pub(crate) use one_way::receive_all;

use crate::measure::{Case, Effort};

/// Every case, in the order in which they are shown. Those that are about so many sessions, or so
/// many messages, say how many `effort` gives them.
pub(crate) fn all(effort: Effort) -> Vec<Case> {
    let mut cases = one_way::tcp();
    cases.push(both_ways::case());
    cases.extend(ping_pong::cases());
    cases.extend(one_way::other_media());
    cases.extend(typed::cases());
    cases.push(resume::case());
    cases.push(reconnect::case(effort));
    cases.extend(memory::cases(effort));
    cases.push(idle::case(effort));
    cases.push(serial::case());
    cases
}
