//! Peers that speak the protocol and mean harm, over real TCP. `docs/security.md` has a table of
//! what they do and what becomes of it, and names these tests. Peers that do not even say a hello
//! are in `bad_input`; what hostile peers cost in memory is in `memory`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod closing;
mod flow;
mod hellos;
mod keys;
mod numbers;
mod positions;
mod servers;
mod stage;
