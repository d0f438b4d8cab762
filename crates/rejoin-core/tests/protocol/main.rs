//! The sans-io protocol under virtual time: every rule of `docs/protocol.md` as a story of two
//! sessions, and a seeded simulation of everything at once.

mod acks;
mod base;
mod closing;
mod keys;
mod links;
mod numbers;
mod pair;
mod sim;
mod solo;
mod window;
mod wire;
