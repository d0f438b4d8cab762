//! The links on a serial port.

use rejoin_core::SplitLink;
use rejoin_stream::{CobsRx, CobsTx};

/// The sending half of a [`SerialLink`].
pub type SerialLinkTx = CobsTx;

/// The receiving half of a [`SerialLink`].
pub type SerialLinkRx = CobsRx;

/// A link on a serial port.
///
/// Damage in either direction ends it at both ends with a [`LinkEnd`](rejoin_stream::LinkEnd), and
/// so does the next link on the port. A close is a frame of its own, as a cable has no end.
pub type SerialLink = SplitLink<SerialLinkTx, SerialLinkRx>;
