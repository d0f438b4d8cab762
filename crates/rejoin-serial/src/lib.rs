//! Serial ports as links, for either end of a cable.
//!
#![doc = include_str!("../README.md")]
//!
//! # Names
//!
//! [`SerialSource`] gives the links, for either role; [`SerialConfig`] has the options, with
//! [`ControlLine`] for DTR and RTS; [`UsbPort`] names a port by its ids, and [`usb_ports`] lists
//! those that are there. Everything from `rejoin_core` is here too, so that this is the only crate
//! to depend on.
//!
//! There is no listener: a cable has one peer. Sessions are the core's business, and framing that of
//! [`rejoin_stream`].

mod config;
mod error;
mod link;
mod port;
mod source;
mod usb;

pub use config::{ControlLine, SerialConfig};
pub use error::SerialError;
pub use link::{SerialLink, SerialLinkRx, SerialLinkTx};
pub use port::PortName;
pub use rejoin_core::*;
pub use rejoin_stream::{CobsError, LineStats, LinkEnd};
pub use source::{SerialSource, SerialStats, SerialStatsHandle};
pub use tokio_serial::{DataBits, FlowControl, Parity, StopBits};
pub use usb::{UsbPort, UsbPortDetails, usb_ports};
