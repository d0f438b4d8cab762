//! A link alone: payloads, their borders, their order and their sizes.

use std::io::ErrorKind;

use bytes::Bytes;
use rejoin_core::{LinkRx, LinkTx};

use super::trials;
use crate::kit::{Outcome, Random, Stage, expect, pattern, put};

trials! { "link":
    whole_messages [],
    empty_payload [],
    order [],
    the_maximum [],
    one_over_the_maximum_is_refused [],
    random_sizes [],
    flush_of_nothing [],
    a_received_payload_is_kept [],
    a_lower_limit_passes_what_fits [],
    a_lower_limit_refuses_what_is_longer [EarlyLimit],
    send_progress [SendProgress],
    recv_progress [RecvProgress],
    peer_name_is_harmless [],
}

/// The peer receives `head` followed by `body` as one payload, whole and in order.
async fn whole_messages(stage: Stage) -> Outcome {
    const LENGTHS: [(usize, usize); 7] =
        [(0, 1), (1, 0), (3, 5), (11, 1000), (1000, 11), (25, 3000), (1, 1)];
    stage
        .each_way(async |mut link| {
            for (head, body) in LENGTHS {
                let (head, body) = (pattern(2, head), pattern(1, body));
                link.near.tx.send(&head, Bytes::from(body)).await?;
            }
            link.near.tx.flush().await?;
            for (head, body) in LENGTHS {
                let whole = [pattern(2, head), pattern(1, body)].concat();
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
            // At the same time, as the medium may hold fewer.
            let (tx, rx) = (&mut link.near.tx, &mut link.far.rx);
            let give = async {
                for _ in 0..100 {
                    tx.send(b"", Bytes::new()).await?;
                }
                put(tx, b"end").await?;
                Outcome::Ok(())
            };
            let take = async {
                for _ in 0..100 {
                    expect(rx, b"").await?;
                }
                expect(rx, b"end").await
            };
            tokio::try_join!(give, take)?;
            Ok(())
        })
        .await
}

/// Payloads come in order, each once, however they are batched.
async fn order(stage: Stage) -> Outcome {
    const COUNT: u32 = 2000;
    stage
        .each_way(async |mut link| {
            let sending = async {
                let mut random = Random(7);
                for n in 0..COUNT {
                    link.near.tx.send(&n.to_le_bytes(), Bytes::from_static(b"item")).await?;
                    if random.below(8) == 0 {
                        link.near.tx.flush().await?;
                    }
                }
                link.near.tx.flush().await?;
                Ok(())
            };
            let receiving = async {
                for n in 0..COUNT {
                    expect(&mut link.far.rx, &[&n.to_le_bytes()[..], b"item"].concat()).await?;
                }
                Ok(())
            };
            tokio::try_join!(sending, receiving).map(|_| ())
        })
        .await
}

/// A payload of the declared maximum passes, also in several parts, several times, and between
/// small ones. Both halves know that it is the maximum.
async fn the_maximum(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    stage
        .each_way(async |mut link| {
            assert_eq!(link.near.tx.payload_bytes_max(), max, "as the capability says");
            let largest = pattern(3, max);
            let sending = async {
                for head in [0, 11, max] {
                    let (head, body) = largest.split_at(head);
                    link.near.tx.send(head, Bytes::copy_from_slice(body)).await?;
                    link.near.tx.send(b"small", Bytes::new()).await?;
                }
                link.near.tx.flush().await?;
                Ok(())
            };
            let receiving = async {
                for _ in 0..3 {
                    expect(&mut link.far.rx, &largest).await?;
                    expect(&mut link.far.rx, b"small").await?;
                }
                Outcome::Ok(())
            };
            tokio::try_join!(sending, receiving)?;
            assert_eq!(link.near.tx.payload_bytes_max(), max, "it never changes");
            Ok(())
        })
        .await
}

/// One byte more is refused as invalid input before anything of it is queued or written, and the link
/// goes on.
async fn one_over_the_maximum_is_refused(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    stage
        .each_way(async |mut link| {
            let over = Bytes::from(pattern(4, max + 1));
            for head in [0, 1, 11, max + 1] {
                link.near.tx.send(b"", Bytes::from_static(b"before")).await?;
                let refused = link.near.tx.send(&over[..head], over.slice(head..)).await;
                let kind = refused.err().map(|error| error.kind());
                assert_eq!(kind, Some(ErrorKind::InvalidInput), "with a head of {head} bytes");
                put(&mut link.near.tx, b"after").await?;
                expect(&mut link.far.rx, b"before").await?;
                expect(&mut link.far.rx, b"after").await?;
                // Now nothing else is under way that could be counted.
                let progress = link.near.tx.progress();
                let before = progress.get();
                let refused = link.near.tx.send(&over[..head], over.slice(head..)).await;
                assert!(refused.is_err(), "with a head of {head} bytes, the second time");
                assert_eq!(progress.get(), before, "bytes went out before the refusal");
            }
            Ok(())
        })
        .await
}

/// Payloads of all sizes, most of them small, arrive as they were sent.
async fn random_sizes(stage: Stage) -> Outcome {
    const COUNT: usize = 1000;
    let sizes: Vec<_> = Random(11).sizes(COUNT, stage.capability()).collect();
    stage
        .each_way(async |mut link| {
            let sending = async {
                for (seed, &size) in (0..).zip(&sizes) {
                    link.near.tx.send(b"", Bytes::from(pattern(seed, size))).await?;
                }
                link.near.tx.flush().await?;
                Ok(())
            };
            let receiving = async {
                for (seed, &size) in (0..).zip(&sizes) {
                    expect(&mut link.far.rx, &pattern(seed, size)).await?;
                }
                Ok(())
            };
            tokio::try_join!(sending, receiving).map(|_| ())
        })
        .await
}

/// A flush with nothing queued does nothing that the peer could see.
async fn flush_of_nothing(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            for payload in [b"one", b"two"] {
                link.near.tx.flush().await?;
                link.near.tx.flush().await?;
                put(&mut link.near.tx, payload).await?;
                expect(&mut link.far.rx, payload).await?;
            }
            Ok(())
        })
        .await
}

/// What was received stays as it is while more arrives.
async fn a_received_payload_is_kept(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            let mut kept = Vec::new();
            for seed in 0..50 {
                put(&mut link.near.tx, &pattern(seed, 500)).await?;
                kept.push(link.far.rx.recv().await?);
            }
            for (seed, payload) in (0..).zip(kept) {
                assert!(payload.is_some_and(|payload| payload == pattern(seed, 500)), "{seed}");
            }
            Ok(())
        })
        .await
}

/// A lower limit of the receiver lets through what is as long, and can be taken away again.
async fn a_lower_limit_passes_what_fits(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    stage
        .each_way(async |mut link| {
            link.far.rx.limit_payloads(Some(25));
            for len in [25, 0, 24] {
                put(&mut link.near.tx, &pattern(1, len)).await?;
                expect(&mut link.far.rx, &pattern(1, len)).await?;
            }
            link.far.rx.limit_payloads(None);
            let largest = pattern(2, max);
            let (sent, received) =
                tokio::join!(put(&mut link.near.tx, &largest), expect(&mut link.far.rx, &largest));
            sent?;
            received
        })
        .await
}

/// A payload over the limit is an error, and nothing comes after it.
async fn a_lower_limit_refuses_what_is_longer(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            link.far.rx.limit_payloads(Some(25));
            put(&mut link.near.tx, &pattern(1, 26)).await?;
            put(&mut link.near.tx, b"short").await?;
            let received = link.far.rx.recv().await;
            assert!(received.is_err(), "26 bytes where 25 are allowed: {received:?}");
            link.far.nothing_more().await;
            Ok(())
        })
        .await
}

/// The sending half counts what the medium takes of a payload.
async fn send_progress(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    stage
        .each_way(async |mut link| {
            let progress = link.near.tx.progress();
            let before = progress.get();
            let largest = pattern(5, max);
            let (sent, received) =
                tokio::join!(put(&mut link.near.tx, &largest), expect(&mut link.far.rx, &largest));
            sent?;
            received?;
            let grown = progress.get() - before;
            assert!(grown >= max as u64, "{grown} of at least {max} bytes were counted");
            Ok(())
        })
        .await
}

/// The receiving half counts what comes of a payload.
async fn recv_progress(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    stage
        .each_way(async |mut link| {
            let progress = link.far.rx.progress();
            let before = progress.get();
            let largest = pattern(6, max);
            let (sent, received) =
                tokio::join!(put(&mut link.near.tx, &largest), expect(&mut link.far.rx, &largest));
            sent?;
            received?;
            let grown = progress.get() - before;
            assert!(grown >= max as u64, "{grown} of at least {max} bytes were counted");
            Ok(())
        })
        .await
}

/// What the transport says of the peer cannot mislead the reader of a log.
async fn peer_name_is_harmless(stage: Stage) -> Outcome {
    stage
        .each_way(async |link| {
            for end in [&link.near, &link.far] {
                let name = end.peer.to_string();
                assert!(!name.contains(char::is_control), "{name:?}");
            }
            Ok(())
        })
        .await
}
