//! The sans-io protocol under virtual time: every rule of `docs/protocol.md` as a story of two
//! sessions. The simulation of everything at once is in the package `tests`.

mod acks;
mod base;
mod closing;
mod keys;
mod links;
mod numbers;
mod pair;
mod runs;
mod solo;
mod window;
mod wire;
