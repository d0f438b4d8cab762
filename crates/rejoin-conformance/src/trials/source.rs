//! Where links come from: each is fresh, attempts can be given up, and failures say what they are.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use rejoin_core::protocol::{ClientHello, ResumeKey, Role};
use rejoin_core::{DynLinkSource, LinkSource, LinkTx};
use tokio::task::JoinSet;

use super::trials;
use crate::fixture::Sever;
use crate::kit::{
    Connected, End, Failure, Outcome, Stage, dial, exchange, expect, link_pair, pattern, put,
};

trials! { "source":
    the_roles_fit [],
    each_link_is_fresh [],
    a_link_after_an_orderly_end [GracefulEnd],
    a_link_after_abrupt_death [AbruptEnd],
    a_link_after_silence [HalfOpen],
    a_link_after_damage [Corruption],
    an_attempt_given_up_is_made_again [],
    a_wait_for_a_peer_can_be_given_up [Listener],
    what_is_no_hello_costs_its_link_only [],
    links_live_side_by_side [ManyLinks],
    many_peers_at_once [Listener, ManyLinks],
    a_silent_peer_holds_up_nobody [Listener, ManyLinks],
    a_refusal_is_typed_and_may_heal [Refusal],
    an_exhausted_source_stays_so [Exhaustion],
}

/// Roles never change, and what a source gives fits them: an acceptor knows the hello.
async fn the_roles_fit(stage: Stage) -> Outcome {
    let mut medium = stage.open().await?;
    let mut initiator = medium.initiator();
    let mut acceptor = medium.acceptor_source();
    for n in 0..3 {
        let hello = ClientHello::fresh_extended(ResumeKey::from_bytes([n; 16]));
        let dial = async {
            let dialled = LinkSource::next_link(&mut initiator).await?;
            assert_eq!(dialled.client_hello(), None, "an initiator has heard no hello");
            let mut near = End::of(dialled.into_link());
            put(&mut near.tx, &hello.encode()).await?;
            Ok(near)
        };
        let (near, accepted) = tokio::try_join!(dial, LinkSource::next_link(&mut acceptor))?;
        assert_eq!(accepted.client_hello(), Some(&hello));
        assert_eq!(LinkSource::role(&initiator), Role::Initiator);
        assert_eq!(LinkSource::role(&acceptor), Role::Acceptor);
        let _link = near;
    }
    Ok(())
}

/// A link has nothing of the one before it, which was dropped with payloads in every buffer.
async fn each_link_is_fresh(stage: Stage) -> Outcome {
    let link = stage.connected().await?;
    let Connected { mut near, mut far, mut initiator, mut acceptor, medium: _medium } = link;
    for round in 0..10 {
        exchange(&mut near, &mut far).await?;
        for end in [&mut near, &mut far] {
            put(&mut end.tx, &pattern(round, 1000)).await?;
            end.tx.send(b"not flushed", Bytes::new()).await?;
        }
        if round % 2 == 0 {
            drop(near);
            drop(far);
        } else {
            drop(far);
            drop(near);
        }
        (near, far) = link_pair(&mut initiator, &mut acceptor).await?;
    }
    exchange(&mut near, &mut far).await
}

async fn a_link_after_an_orderly_end(stage: Stage) -> Outcome {
    a_link_after(stage, Sever::Graceful).await
}

async fn a_link_after_abrupt_death(stage: Stage) -> Outcome {
    a_link_after(stage, Sever::Abrupt).await
}

async fn a_link_after_silence(stage: Stage) -> Outcome {
    a_link_after(stage, Sever::HalfOpen).await
}

async fn a_link_after_damage(stage: Stage) -> Outcome {
    a_link_after(stage, Sever::Corrupted).await
}

/// The next link is independent of one that died badly, with payloads on their way.
async fn a_link_after(stage: Stage, death: Sever) -> Outcome {
    let link = stage.connected().await?;
    let Connected { mut near, mut far, mut initiator, mut acceptor, mut medium } = link;
    for _ in 0..5 {
        exchange(&mut near, &mut far).await?;
        medium.sever(death).await?;
        for end in [&mut near, &mut far] {
            // Into the void, or to an error.
            let _ = put(&mut end.tx, b"of the old link").await;
        }
        drop((near, far));
        medium.restore().await?;
        (near, far) = link_pair(&mut initiator, &mut acceptor).await?;
    }
    exchange(&mut near, &mut far).await
}

/// Dropping an attempt at any point abandons it and nothing else.
async fn an_attempt_given_up_is_made_again(stage: Stage) -> Outcome {
    let mut medium = stage.open().await?;
    let mut initiator = medium.initiator();
    let mut acceptor = medium.acceptor_source();
    for polls in 0..8 {
        drop(poll_times(LinkSource::next_link(&mut initiator), polls).await);
        let (mut near, mut far) = link_pair(&mut initiator, &mut acceptor).await?;
        exchange(&mut near, &mut far).await?;
    }
    Ok(())
}

/// Dropping the wait for a peer at any point loses no peer.
async fn a_wait_for_a_peer_can_be_given_up(stage: Stage) -> Outcome {
    let mut medium = stage.open().await?;
    let mut initiator = medium.initiator();
    let mut acceptor = medium.acceptor_source();
    for _ in 0..5 {
        let (call, mut called) = (dial(&mut initiator), None);
        let accept = async {
            for polls in 0.. {
                let polled = poll_times(LinkSource::next_link(&mut acceptor), polls % 5);
                if let Some(accepted) = polled.await {
                    called = Some(End::of(accepted?.into_link()));
                    break;
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        };
        let (mut near, ()) = tokio::try_join!(call, accept)?;
        exchange(&mut near, &mut called.expect("accepted")).await?;
    }
    Ok(())
}

/// An acceptor's source is not ended by a peer that says something else than a hello.
async fn what_is_no_hello_costs_its_link_only(stage: Stage) -> Outcome {
    let mut medium = stage.open().await?;
    let mut initiator = medium.initiator();
    let mut acceptor = medium.acceptor_source();
    for nonsense in [&b"GET / HTTP/1.1"[..], b"", &[b'R'; 25], &[0; 1000]] {
        let calls = async {
            let mut stranger = End::of(LinkSource::next_link(&mut initiator).await?.into_link());
            // It may be thrown out before it has said everything.
            let _ = put(&mut stranger.tx, nonsense).await;
            drop(stranger);
            dial(&mut initiator).await
        };
        let (mut near, mut far) = tokio::try_join!(calls, accept_patiently(&mut acceptor))?;
        exchange(&mut near, &mut far).await?;
    }
    Ok(())
}

/// Two links of one source, and one of another, at the same time: one ends, the others go on.
async fn links_live_side_by_side(stage: Stage) -> Outcome {
    let link = stage.connected().await?;
    let Connected { mut near, mut far, mut initiator, mut acceptor, mut medium } = link;
    let mut second = link_pair(&mut initiator, &mut acceptor).await?;
    let mut other = medium.initiator();
    let mut third = link_pair(&mut other, &mut acceptor).await?;
    for pair in [(&mut near, &mut far), (&mut second.0, &mut second.1)] {
        exchange(pair.0, pair.1).await?;
    }
    drop((near, far));
    exchange(&mut second.0, &mut second.1).await?;
    drop(second);
    exchange(&mut third.0, &mut third.1).await
}

/// Peers that call at the same time get a link each.
async fn many_peers_at_once(stage: Stage) -> Outcome {
    const PEERS: u8 = 16;
    let mut medium = stage.open().await?;
    let mut acceptor = medium.acceptor_source();
    let mut calls = JoinSet::new();
    for n in 0..PEERS {
        let mut initiator = medium.initiator();
        calls.spawn(async move {
            let mut near = End::of(LinkSource::next_link(&mut initiator).await?.into_link());
            let hello = ClientHello::fresh_extended(ResumeKey::from_bytes([n; 16]));
            put(&mut near.tx, &hello.encode()).await?;
            expect(&mut near.rx, &[n; 10]).await?;
            Ok::<_, Failure>(near)
        });
    }
    let mut called = Vec::new();
    for _ in 0..PEERS {
        let accepted = LinkSource::next_link(&mut acceptor).await?;
        let n = accepted.client_hello().expect("an acceptor knows the hello").encode()[5];
        let mut far = End::of(accepted.into_link());
        put(&mut far.tx, &[n; 10]).await?;
        called.push(far);
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    Ok(())
}

/// A peer that was accepted and says nothing keeps nobody else waiting.
async fn a_silent_peer_holds_up_nobody(stage: Stage) -> Outcome {
    let mut medium = stage.open().await?;
    let mut acceptor = medium.acceptor_source();
    let mut silent_source = medium.initiator();
    let accept = accept_patiently(&mut acceptor);
    let mut initiator = medium.initiator();
    let calls = async {
        let silent = LinkSource::next_link(&mut silent_source).await?;
        let near = dial(&mut initiator).await?;
        Ok((silent, near))
    };
    let ((_silent, mut near), mut far) = tokio::try_join!(calls, accept)?;
    exchange(&mut near, &mut far).await
}

/// Where nobody listens a dial fails, says how, and can be repeated.
async fn a_refusal_is_typed_and_may_heal(stage: Stage) -> Outcome {
    let mut nobody = stage.nobody().await?;
    for _ in 0..3 {
        let Err(error) = LinkSource::next_link(&mut nobody.source).await else {
            panic!("there is a link to nobody");
        };
        assert_ne!(error.kind(), ErrorKind::Other, "{error}");
        assert!(!LinkSource::is_fatal(&nobody.source, &error), "somebody may come: {error}");
    }
    Ok(())
}

/// A source that has nothing more to give fails for good, now and ever after.
async fn an_exhausted_source_stays_so(stage: Stage) -> Outcome {
    let mut exhausted = stage.exhausted().await?;
    for _ in 0..5 {
        let Err(error) = LinkSource::next_link(&mut exhausted.source).await else {
            panic!("the source has one more link to give");
        };
        assert!(LinkSource::is_fatal(&exhausted.source, &error), "not fatal: {error}");
    }
    Ok(())
}

async fn accept_patiently(acceptor: &mut Box<dyn DynLinkSource>) -> io::Result<End> {
    loop {
        match LinkSource::next_link(acceptor).await {
            Ok(accepted) => return Ok(End::of(accepted.into_link())),
            Err(error) => assert!(!LinkSource::is_fatal(acceptor, &error), "fatal: {error}"),
        }
    }
}

/// Polls `future` up to `times` times, each time that it is woken, then drops it; `None` when it
/// was not ready by then.
async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
