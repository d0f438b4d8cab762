//! How a peer learns that there is no session for it. Whether there is one is decided elsewhere.

use bytes::Bytes;
use tracing::debug;

use crate::link::{Link, LinkTx};
use crate::meter::{HandshakeFailure, handshake_failed};
use crate::protocol::{ClientHello, RejectReason, ServerHello};
use crate::stable::dial::{NewLink, PeerHello};
use crate::stable::live_link::in_background;

/// Tells the peer that there is no session for it, and closes the link.
pub(super) fn reject<L: Link>(new: NewLink<L>, reason: RejectReason) {
    let PeerHello::Client(hello, _) = &new.hello else { return };
    debug!(peer = %new.peer, %reason, "handshake rejected");
    handshake_failed(HandshakeFailure::Rejected);
    refuse(new.tx, hello, reason);
}

/// As [`reject`], for a link of which only the sending half is at hand.
pub(super) fn refuse(mut tx: impl LinkTx, hello: &ClientHello, reason: RejectReason) {
    let answer = ServerHello::Rejected { profile: hello.profile(), reason }.encode();
    in_background(async move {
        tx.send(&[], Bytes::copy_from_slice(&answer)).await?;
        tx.close().await
    });
}
