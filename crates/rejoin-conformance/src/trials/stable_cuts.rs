//! A conduit over links that die: at every frame, at every byte of the handshake, in every way
//! that the medium knows. What arrives is what was sent, each item once and in order.

use std::collections::VecDeque;
use std::convert::identity;

use rejoin_core::StableConfig;
use rejoin_core::protocol::Profile;

use super::trials;
use crate::fixture::{Sever, Toward};
use crate::kit::tap::{Cut, every_frame};
use crate::kit::world::{Meanwhile, Traffic, alert, config};
use crate::kit::{Outcome, Stage};

trials! { "stable":
    exactly_once_without_cuts [],
    cut_at_every_frame_two_way [],
    cut_at_every_frame_toward_the_acceptor [],
    cut_at_every_frame_toward_the_initiator [],
    cut_at_every_byte_of_the_handshake [CutAfterBytes],
    severed_in_order [GracefulEnd],
    severed_abruptly [AbruptEnd],
    severed_by_silence [HalfOpen],
    severed_by_damage [Corruption],
    base_profile [],
    base_profile_cut_at_every_frame [],
}

/// Enough frames for hellos, settings, the first items of a resume, acknowledgements and new items.
const FRAMES: u64 = 20;

/// Everything arrives once and in order (SEQ-2), and is acknowledged (ACK-3).
async fn exactly_once_without_cuts(stage: Stage) -> Outcome {
    let mut world = stage.world(config(stage.capability()), VecDeque::new()).await?;
    world
        .carry_while(
            Traffic::Both,
            || true,
            async |mut hands: Meanwhile<'_>| hands.items(2000).await,
        )
        .await?;
    world.close().await
}

async fn cut_at_every_frame_two_way(stage: Stage) -> Outcome {
    cut_at_every_frame(stage, Traffic::Both).await
}

async fn cut_at_every_frame_toward_the_acceptor(stage: Stage) -> Outcome {
    cut_at_every_frame(stage, Traffic::TowardAcceptor).await
}

async fn cut_at_every_frame_toward_the_initiator(stage: Stage) -> Outcome {
    cut_at_every_frame(stage, Traffic::TowardInitiator).await
}

/// One link after another dies, each one frame later, hellos included: a lost hello loses no session
/// (NONCE-1, KEY-2), and a resume goes on where the peer stands (REPLAY-1).
async fn cut_at_every_frame(stage: Stage, traffic: Traffic) -> Outcome {
    let mut world = stage.world(config(stage.capability()), every_frame(FRAMES)).await?;
    let tap = world.tap.clone();
    world.carry(traffic, || tap.is_done()).await?;
    let links = world.near.generation();
    assert!(links >= FRAMES, "only {links} links were cut");
    world.close().await
}

/// The medium kills links inside the handshake, at every byte of it in either direction.
async fn cut_at_every_byte_of_the_handshake(stage: Stage) -> Outcome {
    // Two hellos of 25 bytes and what the transport puts around them.
    const BYTES: u64 = 48;
    let mut world = stage.world(config(stage.capability()), VecDeque::new()).await?;
    let cuts = async |mut hands: Meanwhile<'_>| {
        for bytes in 1..BYTES {
            for toward in [Toward::Acceptor, Toward::Initiator] {
                let generation = hands.connected().await?;
                hands.medium.sever_next_after(toward, bytes).await?;
                hands.tap.kill();
                hands.gone(generation).await?;
                hands.items(2).await?;
            }
        }
        Ok(())
    };
    world.carry_while(Traffic::Both, || true, cuts).await?;
    world.close().await
}

async fn severed_in_order(stage: Stage) -> Outcome {
    severed(stage, Sever::Graceful, 20, identity).await
}

async fn severed_abruptly(stage: Stage) -> Outcome {
    severed(stage, Sever::Abrupt, 20, identity).await
}

async fn severed_by_silence(stage: Stage) -> Outcome {
    severed(stage, Sever::HalfOpen, 2, alert).await
}

async fn severed_by_damage(stage: Stage) -> Outcome {
    severed(stage, Sever::Corrupted, 10, alert).await
}

/// The medium harms links under load in its own way. The end of a link is never the end of the
/// session (LINK-1), silence is noticed (LIVE-2), and what an old link still brings changes nothing
/// (TAKE-2).
async fn severed(
    stage: Stage,
    how: Sever,
    times: u64,
    settings: fn(StableConfig) -> StableConfig,
) -> Outcome {
    let mut world = stage.world(settings(config(stage.capability())), VecDeque::new()).await?;
    let cuts = async |mut hands: Meanwhile<'_>| {
        for n in 0..times {
            hands.items(5 + n).await?;
            let generation = hands.connected().await?;
            hands.medium.sever(how).await?;
            hands.gone(generation).await?;
            hands.medium.restore().await?;
        }
        hands.items(5).await
    };
    world.carry_while(Traffic::Both, || true, cuts).await?;
    world.close().await
}

fn base(stage: &Stage) -> StableConfig {
    let mut base = config(stage.capability());
    base.profile = Profile::Base;
    base
}

/// With a peer that speaks the base profile there are only data frames (BASE-1); positions travel
/// in hellos (BASE-2), for which links are cycled (BASE-3).
async fn base_profile(stage: Stage) -> Outcome {
    let extended = config(stage.capability());
    for traffic in [Traffic::Both, Traffic::TowardAcceptor, Traffic::TowardInitiator] {
        for (near, far) in [(base(&stage), extended.clone()), (extended.clone(), base(&stage))] {
            let mut world = stage.world_of(near, far, VecDeque::new()).await?;
            let many = async |mut hands: Meanwhile<'_>| hands.items(300).await;
            world.carry_while(traffic, || true, many).await?;
            // Everything is acknowledged, so that closes do not wait (BASE-5).
            tokio::try_join!(world.near.tx.close(), world.far.tx.close())?;
        }
    }
    Ok(())
}

/// As with the extended profile, but for the first answer: a base peer that does not get it opens
/// another session (NONCE-1).
async fn base_profile_cut_at_every_frame(stage: Stage) -> Outcome {
    let mut schedule = every_frame(FRAMES);
    schedule.push_front(Cut { toward: Toward::Acceptor, frame: 8, flush: true });
    let mut world = stage.world(base(&stage), schedule).await?;
    let tap = world.tap.clone();
    world.carry(Traffic::Both, || tap.is_done()).await?;
    tokio::try_join!(world.near.tx.close(), world.far.tx.close())?;
    Ok(())
}
