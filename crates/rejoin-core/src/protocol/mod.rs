//! The stable-conduit protocol as a pure state machine: no sockets, no runtime, no clock, no
//! randomness. Time and keys are arguments, facts come in through `handle_*`, and instructions
//! come out of `poll_*`. The normative text is `docs/protocol.md`; rule ids in comments refer to it.

mod error;
mod hello;
mod seq;

pub use error::{FrameError, HelloError, LossReason, ProtocolViolation, RejectReason};
pub use hello::{ClientHello, HELLO_LEN, Opening, Profile, ResumeKey, ServerHello};
pub use seq::{PacketAck, PacketSeq, Position};
