//! A link alone: payloads, their borders and their order.

use bytes::Bytes;
use rejoin_core::{LinkRx, LinkTx};

use super::trials;
use crate::kit::{Outcome, Stage, expect, pattern, put};

trials! { "link":
    whole_messages [],
    empty_payload [],
    close_is_none_after_everything_sent [CloseSeen],
}

/// The peer receives `head` followed by `body` as one payload, whole and in order.
async fn whole_messages(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            let body = Bytes::from(pattern(1, 1000));
            for (head, body) in [(0, 1), (1, 0), (3, 5), (11, 1000), (1000, 11)] {
                let (head, body) = (&pattern(2, head)[..], body.min(1000));
                link.near.tx.send(head, Bytes::from(pattern(1, body))).await?;
            }
            link.near.tx.flush().await?;
            for (head, len) in [(0, 1), (1, 0), (3, 5), (11, 1000), (1000, 11)] {
                let whole = [&pattern(2, head)[..], &body[..len]].concat();
                expect(&mut link.far.rx, &whole).await?;
            }
            Ok(())
        })
        .await
}

/// An empty payload is a payload.
async fn empty_payload(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            for payload in [&b""[..], b"", b"between", b""] {
                put(&mut link.near.tx, payload).await?;
                expect(&mut link.far.rx, payload).await?;
            }
            Ok(())
        })
        .await
}

/// The peer's `recv` gives everything sent before a close, then `None`.
async fn close_is_none_after_everything_sent(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            for n in 0..100_u8 {
                link.near.tx.send(&[n], Bytes::from_static(b"body")).await?;
            }
            link.near.tx.close().await?;
            for n in 0..100_u8 {
                expect(&mut link.far.rx, &[n, b'b', b'o', b'd', b'y']).await?;
            }
            assert_eq!(link.far.rx.recv().await?, None, "the link was closed");
            Ok(())
        })
        .await
}
