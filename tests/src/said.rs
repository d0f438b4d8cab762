//! What sessions say, as a link would carry it: head and body of each payload together.

use std::time::Instant;

use bytes::Bytes;
use rejoin_core::protocol::{Payload, Session, Transmits};

/// What `session` says next: as much as `batch` takes, which is left empty, or one payload without
/// a batch.
pub(crate) fn said(
    session: &mut Session,
    now: Instant,
    batch: Option<&mut Transmits>,
) -> Vec<Bytes> {
    let whole = |head: &[u8], body: &[u8]| Bytes::from([head, body].concat());
    let Some(batch) = batch else {
        let transmit = session.poll_transmit(now);
        return transmit.map(|it| whole(it.head.as_bytes(), &it.body)).into_iter().collect();
    };
    session.fill(now, batch);
    let (mut filled, mut payloads) = (batch.payloads(), Vec::new());
    while let Some(Payload { head, bytes, part }) = filled.next() {
        payloads.push(whole(head.as_bytes(), &bytes[part]));
    }
    batch.clear();
    payloads
}
