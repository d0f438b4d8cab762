//! The stable-conduit protocol as a pure state machine: no sockets, no runtime, no clock, no
//! randomness. Time and keys are arguments, facts come in through `handle_*`, and instructions
//! come out of `poll_*`. The normative text is `docs/protocol.md`; rule ids in comments refer to it.

mod closing;
mod error;
mod frame;
mod hello;
mod liveness;
mod receiver;
mod send_log;
mod seq;
mod session;
mod sessions;
mod transmits;

pub use error::{
    FrameError, HandshakeError, HelloError, LossReason, ProtocolViolation, RejectReason,
};
pub use frame::{
    AckState, CLOSE_REASON_MAX, CloseReason, Control, FRAME_HEAD_MAX, Frame, Head, Settings,
};
pub use hello::{ClientHello, HELLO_LEN, Opening, Profile, ResumeKey, ServerHello};
pub(crate) use liveness::{earlier, timer_slack};
pub use send_log::{Batch, ITEM_COST, SendLog, item_cost};
pub use seq::{PacketAck, PacketSeq, Position};
pub use session::{
    DropCause, Ending, Event, LinkGeneration, Role, Session, SessionConfig, SessionCounters,
};
pub use sessions::{Admission, SessionId, Sessions};
pub use transmits::{Payload, Payloads, Transmit, Transmits};
