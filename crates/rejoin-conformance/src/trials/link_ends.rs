//! A link alone: how it ends, by a close, by a drop, or by the medium.

use std::convert::Infallible;
use std::future::pending;
use std::io;

use bytes::Bytes;
use rejoin_core::{LinkRx, LinkTx};

use super::trials;
use crate::fixture::Sever;
use crate::kit::{Connected, End, Outcome, Stage, exchange, expect, pattern, put, shown};

trials! { "link":
    close_is_none_after_everything_sent [CloseSeen],
    nothing_comes_after_a_close [CloseSeen],
    both_ends_close [CloseSeen],
    a_dropped_link_ends [DropSeen],
    a_dropped_link_is_no_close [DropIsError],
    sending_to_nobody_fails [DropSeen],
    an_orderly_end_is_none [GracefulEnd],
    abrupt_death_is_an_error [AbruptEnd],
    abrupt_death_under_load_keeps_a_prefix [AbruptEnd],
    nothing_comes_after_an_error [AbruptEnd],
    damage_never_makes_a_payload [Corruption],
}

/// The peer's `recv` gives everything sent before a close, flushed or not, then `None`.
async fn close_is_none_after_everything_sent(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            // At the same time, as the medium may hold fewer.
            let (mut tx, rx) = (link.near.tx, &mut link.far.rx);
            let give = async {
                for n in 0..100_u8 {
                    tx.send(&[n], Bytes::from_static(b"body")).await?;
                }
                tx.close().await?;
                Outcome::Ok(())
            };
            let take = async {
                for n in 0..100_u8 {
                    expect(rx, &[n, b'b', b'o', b'd', b'y']).await?;
                }
                Ok(())
            };
            tokio::try_join!(give, take)?;
            assert_eq!(link.far.rx.recv().await?, None, "the link was closed");
            Ok(())
        })
        .await
}

/// After `None` nothing more is delivered.
async fn nothing_comes_after_a_close(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            put(&mut link.near.tx, b"last").await?;
            link.near.tx.close().await?;
            expect(&mut link.far.rx, b"last").await?;
            assert_eq!(link.far.rx.recv().await?, None);
            link.far.nothing_more().await;
            Ok(())
        })
        .await
}

/// Each end closes, one after the other or both at once, and each sees the other's close.
async fn both_ends_close(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            exchange(&mut link.near, &mut link.far).await?;
            let Connected { near, far, medium: _medium, .. } = link;
            let (mut near_rx, mut far_rx) = (near.rx, far.rx);
            near.tx.close().await?;
            assert_eq!(far_rx.recv().await?, None);
            // Where the medium has ended both directions together, there is nothing left to close.
            let _ = far.tx.close().await;
            assert_eq!(near_rx.recv().await?, None);
            Ok(())
        })
        .await?;
    let link = stage.connected().await?;
    let Connected { mut near, mut far, medium: _medium, .. } = link;
    tokio::try_join!(near.tx.close(), far.tx.close())?;
    assert_eq!(near.rx.recv().await?, None);
    assert_eq!(far.rx.recv().await?, None);
    Ok(())
}

/// The end of a process shows: a link dropped without a close ends for the receiver, after what was
/// flushed and had arrived.
async fn a_dropped_link_ends(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            put(&mut link.near.tx, b"flushed").await?;
            expect(&mut link.far.rx, b"flushed").await?;
            drop(link.near);
            let end = link.far.rx.recv().await;
            assert!(!matches!(end, Ok(Some(_))), "{end:?}");
            link.far.nothing_more().await;
            Ok(())
        })
        .await
}

/// A link that dies without a close gives an error.
async fn a_dropped_link_is_no_close(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            put(&mut link.near.tx, b"flushed").await?;
            drop(link.near);
            expect(&mut link.far.rx, b"flushed").await?;
            let end = link.far.rx.recv().await;
            assert!(end.is_err(), "the link was not closed, yet: {end:?}");
            Ok(())
        })
        .await
}

/// Sends fail sooner or later when the peer is gone, instead of waiting for ever.
async fn sending_to_nobody_fails(stage: Stage) -> Outcome {
    let bytes_max = 2 * stage.capability().buffered_bytes_max;
    stage
        .each_way(async |mut link| {
            drop(link.far);
            let mut sent = 0;
            while put(&mut link.near.tx, &pattern(1, 4000)).await.is_ok() {
                sent += 4000;
                assert!(sent < bytes_max, "{sent} bytes went nowhere");
                tokio::task::yield_now().await;
            }
            Ok(())
        })
        .await
}

/// A medium that ends a link in order between two payloads has closed it.
async fn an_orderly_end_is_none(stage: Stage) -> Outcome {
    let mut link = stage.connected().await?;
    exchange(&mut link.near, &mut link.far).await?;
    link.medium.sever(Sever::Graceful).await?;
    for end in [&mut link.near, &mut link.far] {
        assert_eq!(end.rx.recv().await?, None);
        end.nothing_more().await;
    }
    Ok(())
}

/// A link that dies without a close gives an error at both ends, and so do sends.
async fn abrupt_death_is_an_error(stage: Stage) -> Outcome {
    let mut link = stage.connected().await?;
    exchange(&mut link.near, &mut link.far).await?;
    link.medium.sever(Sever::Abrupt).await?;
    for end in [&mut link.near, &mut link.far] {
        let received = end.rx.recv().await;
        assert!(received.is_err(), "the link died, yet: {received:?}");
    }
    for end in [&mut link.near, &mut link.far] {
        let sent = async {
            put(&mut end.tx, b"too late").await?;
            put(&mut end.tx, b"too late").await
        };
        assert!(sent.await.is_err(), "the dead link takes payloads");
    }
    Ok(())
}

/// What a killed link delivers is the beginning of what was sent, then an error.
async fn abrupt_death_under_load_keeps_a_prefix(stage: Stage) -> Outcome {
    for kill_after in [0, 1, 10, 100] {
        stage
            .each_way(async |mut link| {
                let Connected { near, far, medium, .. } = &mut link;
                let sending = send_until_dead(near, 1500);
                let receiving = async {
                    for n in 0.. {
                        if n == kill_after {
                            medium.sever(Sever::Abrupt).await?;
                        }
                        match far.rx.recv().await {
                            Ok(Some(payload)) => check_numbered(&payload, n, 1500),
                            Ok(None) => panic!("the link was killed, not closed"),
                            Err(_) => break,
                        }
                    }
                    Ok::<_, io::Error>(())
                };
                let (_failed, received) = tokio::join!(sending, receiving);
                Ok(received?)
            })
            .await?;
    }
    Ok(())
}

/// Sends numbered payloads until the link gives an error.
async fn send_until_dead(end: &mut End, len: usize) -> io::Error {
    for n in 0.. {
        if let Err(error) = put(&mut end.tx, &numbered(n, len)).await {
            return error;
        }
        tokio::task::yield_now().await;
    }
    unreachable!("nobody counts that far")
}

fn numbered(n: u64, len: usize) -> Vec<u8> {
    [&n.to_le_bytes()[..], &pattern(n, len)].concat()
}

fn check_numbered(payload: &[u8], n: u64, len: usize) {
    assert!(payload == numbered(n, len), "{} in place of payload {n}", shown(payload));
}

/// After an error nothing more is delivered, whatever was on its way.
async fn nothing_comes_after_an_error(stage: Stage) -> Outcome {
    let mut link = stage.connected().await?;
    exchange(&mut link.near, &mut link.far).await?;
    for end in [&mut link.near, &mut link.far] {
        for n in 0..20 {
            put(&mut end.tx, &numbered(n, 100)).await?;
        }
    }
    link.medium.sever(Sever::Abrupt).await?;
    for end in [&mut link.near, &mut link.far] {
        for n in 0.. {
            match end.rx.recv().await {
                Ok(Some(payload)) => check_numbered(&payload, n, 100),
                Ok(None) => panic!("the link was killed, not closed"),
                Err(_) => break,
            }
        }
        end.nothing_more().await;
    }
    Ok(())
}

/// From a medium that damages what it carries comes the beginning of what was sent, and then the
/// end of the link: nothing wrong, nothing twice, nothing with a gap before it.
async fn damage_never_makes_a_payload(stage: Stage) -> Outcome {
    stage
        .each_way(async |mut link| {
            let Connected { near, far, medium, .. } = &mut link;
            let sending = send_until_dead(near, 50);
            let receiving = async {
                for n in 0.. {
                    if n == 20 {
                        medium.sever(Sever::Corrupted).await?;
                    }
                    match far.rx.recv().await {
                        Ok(Some(payload)) => check_numbered(&payload, n, 50),
                        Ok(None) | Err(_) => break,
                    }
                }
                far.nothing_more().await;
                Ok::<_, io::Error>(())
            };
            // The sender may hear of it first, or never.
            let sending = async {
                sending.await;
                pending::<Infallible>().await
            };
            tokio::select! {
                received = receiving => Ok(received?),
                never = sending => match never {},
            }
        })
        .await
}
