//! A link alone: payloads that are sent as parts of something larger, and payloads that come as runs.
//! Both are short cuts, so what is shown here is that nobody can tell them from the long way. That they
//! are any shorter is nothing that a trial could see.

use std::io::ErrorKind;
use std::ops::Range;

use bytes::Bytes;
use rejoin_core::{BoxLinkRx, LinkRx, LinkTx};

use super::trials;
use crate::kit::{Outcome, Random, Stage, expect, pattern, put, shown};

trials! { "link":
    a_part_is_sent_as_a_payload [],
    a_part_over_the_maximum_is_refused [],
    runs_are_what_recv_would_give [],
    a_run_ends_before_what_is_too_long [EarlyLimit],
}

/// The peer receives `head` and that part as one payload, wherever the part lies, in one row with
/// payloads that were sent otherwise.
async fn a_part_is_sent_as_a_payload(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    // More than a payload may have.
    let bytes = Bytes::from(pattern(7, max + 5000));
    let end = bytes.len();
    let heads: [&[u8]; 4] = [b"", b"h", b"a head", &pattern(8, 300)];
    let parts = [
        0..0,
        0..1,
        0..64,
        100..100,
        100..164,
        70..2000,
        max / 2..max / 2 + 3,
        end - 900..end - 300,
        end - 1..end,
        end..end,
        0..max - 300,
        end - (max - 300)..end,
        3..max - 297,
    ];
    stage
        .each_way(async |mut link| {
            let sending = async {
                for part in &parts {
                    for head in heads {
                        link.near.tx.send_part(head, &bytes, part.clone()).await?;
                    }
                    // Queued behind, and not before.
                    link.near.tx.send(b"on", Bytes::from_static(b"ward")).await?;
                    link.near.tx.send_part(b"again ", &bytes, part.start..part.start).await?;
                    if part.len() % 2 == 0 {
                        link.near.tx.flush().await?;
                    }
                }
                link.near.tx.flush().await?;
                Outcome::Ok(())
            };
            let receiving = async {
                for part in &parts {
                    for head in heads {
                        let whole = [head, &bytes[part.clone()]].concat();
                        expect(&mut link.far.rx, &whole).await?;
                    }
                    expect(&mut link.far.rx, b"onward").await?;
                    expect(&mut link.far.rx, b"again ").await?;
                }
                Ok(())
            };
            tokio::try_join!(sending, receiving).map(|_| ())
        })
        .await
}

/// What counts is how long the payload is, not what its part is of: one of the maximum passes, one
/// byte more is refused as invalid input, and the link goes on.
async fn a_part_over_the_maximum_is_refused(stage: Stage) -> Outcome {
    let max = stage.capability().payload_bytes_max;
    let bytes = Bytes::from(pattern(4, 2 * max + 2));
    stage
        .each_way(async |mut link| {
            for (head, start) in [(0, 0), (0, max), (1, 3), (11, max + 1), (max + 1, max)] {
                let head = &bytes[..head];
                let over = start..start + (max + 1 - head.len());
                let tx = &mut link.near.tx;
                tx.send(b"", Bytes::from_static(b"before")).await?;
                let refused = tx.send_part(head, &bytes, over.clone()).await;
                let kind = refused.err().map(|error| error.kind());
                assert_eq!(
                    kind,
                    Some(ErrorKind::InvalidInput),
                    "{over:?} behind a head of {} bytes",
                    head.len()
                );
                let rx = &mut link.far.rx;
                if over.is_empty() {
                    put(tx, b"after").await?;
                    expect(rx, b"before").await?;
                } else {
                    let fits = over.start..over.end - 1;
                    let largest = [head, &bytes[fits.clone()]].concat();
                    let give = async {
                        tx.send_part(head, &bytes, fits).await?;
                        put(tx, b"after").await?;
                        Outcome::Ok(())
                    };
                    let take = async {
                        expect(rx, b"before").await?;
                        expect(rx, &largest).await
                    };
                    tokio::try_join!(give, take)?;
                }
                expect(rx, b"after").await?;
            }
            Ok(())
        })
        .await
}

/// Takes from what has arrived with the last payload, up to `most` payloads; gives them.
#[track_caller]
fn take_run(rx: &mut BoxLinkRx, most: usize) -> Vec<Bytes> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut refused = false;
    let run = rx.recv_parts(|part| {
        assert!(!refused, "what was left for later is left with all that comes after it");
        refused = parts.len() == most;
        if !refused {
            parts.push(part);
        }
        !refused
    });
    for part in &parts {
        let lies_in = part.start <= part.end && part.end <= run.len();
        assert!(lies_in, "{part:?} of a run of {} bytes", run.len());
    }
    parts.into_iter().map(|part| run.slice(part)).collect()
}

/// Whether payloads are taken one by one or as runs, in any mixture, they are the same, each once and
/// in order; what `take` leaves comes next. What was taken stays as it is.
async fn runs_are_what_recv_would_give(stage: Stage) -> Outcome {
    const COUNT: usize = 3000;
    let mut sizes: Vec<_> = Random(12).sizes(COUNT, stage.capability()).collect();
    // Where all are small, many come together.
    let mut random = Random(13);
    sizes.extend((0..COUNT).map(|_| random.below(40)));
    let sent = |n: usize| pattern(n as u64, sizes[n]);
    stage
        .each_way(async |mut link| {
            let sending = async {
                let mut random = Random(14);
                for n in 0..sizes.len() {
                    link.near.tx.send(b"", Bytes::from(sent(n))).await?;
                    if random.below(500) == 0 {
                        link.near.tx.flush().await?;
                    }
                }
                link.near.tx.flush().await?;
                Outcome::Ok(())
            };
            let receiving = async {
                let rx = &mut link.far.rx;
                let (mut random, mut kept) = (Random(15), Vec::new());
                let mut next = 0;
                while next < sizes.len() {
                    let mut came = Vec::new();
                    if random.below(4) > 0 {
                        came.extend(rx.recv().await?);
                        assert!(!came.is_empty(), "the link was closed before payload {next}");
                    }
                    for _ in 0..random.below(3) {
                        let most = [0, 1, 2, 7, usize::MAX][random.below(5)];
                        came.extend(take_run(rx, most));
                    }
                    for payload in came {
                        assert!(next < sizes.len(), "{} after the last", shown(&payload));
                        let expected = sent(next);
                        assert!(
                            payload == expected,
                            "{} in place of payload {next}, {}",
                            shown(&payload),
                            shown(&expected)
                        );
                        if random.below(50) == 0 {
                            kept.push((next, payload));
                        }
                        next += 1;
                    }
                }
                for (n, payload) in kept {
                    assert!(payload == sent(n), "payload {n} has changed");
                }
                Ok(())
            };
            tokio::try_join!(sending, receiving).map(|_| ())
        })
        .await
}

/// A payload over the limit ends the run before it, and is the error that it is without runs. After
/// that no run gives anything.
async fn a_run_ends_before_what_is_too_long(stage: Stage) -> Outcome {
    const LIMIT: usize = 25;
    let lengths = [LIMIT, 0, 3, LIMIT, 1, LIMIT + 1, 5, 0, 7];
    stage
        .each_way(async |mut link| {
            for (seed, len) in (0..).zip(lengths) {
                link.near.tx.send(b"", Bytes::from(pattern(seed, len))).await?;
            }
            link.near.tx.flush().await?;
            let rx = &mut link.far.rx;
            rx.limit_payloads(Some(LIMIT));
            let last = pattern(8, lengths[8]);
            let mut came = Vec::new();
            let error = loop {
                match rx.recv().await {
                    Ok(payload) => came.extend(payload),
                    Err(error) => break Some(error),
                }
                came.extend(take_run(rx, usize::MAX));
                // Nothing more will come.
                if came.last().is_some_and(|came| *came == last) {
                    break None;
                }
            };
            assert!(error.is_some(), "26 bytes where 25 are allowed");
            let fits = (0..).zip(&lengths[..5]);
            let expected: Vec<_> = fits.map(|(seed, &len)| pattern(seed, len)).collect();
            assert!(came == expected, "{} payloads in place of 5", came.len());
            for limit in [Some(LIMIT), None] {
                rx.limit_payloads(limit);
                let late = take_run(rx, usize::MAX);
                assert!(late.is_empty(), "{} payloads after an error", late.len());
            }
            link.far.nothing_more().await;
            Ok(())
        })
        .await
}
