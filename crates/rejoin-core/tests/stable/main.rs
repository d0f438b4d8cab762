//! Stable conduits over the memory link, under paused time: what the design promises, one question
//! a test, and every known defect of the reference.

#![allow(clippy::unwrap_used)]

mod acceptor;
mod base;
mod cancel;
mod common;
mod defects;
mod faults;
mod hygiene;
mod listener;
mod peer;
mod race;
mod status;
mod table;
