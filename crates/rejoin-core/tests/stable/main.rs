//! Stable conduits over the memory link, under paused time: what the design promises, one question
//! a test, and every known defect of the reference.

#![allow(clippy::unwrap_used)]

mod acceptor;
mod admission;
mod ages;
mod asleep;
mod base;
mod budget;
mod cancel;
mod cancel_more;
mod cancel_seeds;
mod common;
mod defects;
mod drain;
mod faults;
mod hygiene;
mod limits;
mod listener;
mod manual_ack;
mod parting;
mod peer;
mod race;
mod status;
mod swift;
mod table;
