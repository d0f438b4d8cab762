//! Messages over a line that damages bytes: COBS between delimiters, with a CRC-32, and links that
//! follow one another on the same stream.
//!
//! `framing` knows bytes and checks, `control` the frames that open and end links, `endpoint` the
//! state of one end, without I/O or a clock; `line` is the task that owns the stream, `link` the
//! halves. Nothing here repairs damage: it is noticed, and costs the link.

mod config;
mod control;
mod endpoint;
mod error;
pub mod framing;
mod line;
mod link;
mod medium;
mod stats;
mod task;

pub use config::CobsConfig;
pub use error::{CobsError, LinkEnd};
pub use line::CobsLine;
pub use link::{CobsLink, CobsRx, CobsTx};
pub use medium::Medium;
pub use stats::{LineStats, LineStatsHandle};
