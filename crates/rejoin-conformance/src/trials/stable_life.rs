//! A conduit's life over the transport: silence, another link in place of one that works, expiry,
//! close, many sessions at once.

use std::collections::VecDeque;
use std::time::Duration;

use rejoin_core::protocol::{LossReason, RejectReason};
use rejoin_core::{ListenerConfig, Raw, SendError, StableListener, Status, SuspendCause};
use tokio::task::JoinSet;

use super::trials;
use crate::fixture::{Acceptor, Toward};
use crate::kit::tap::{Cut, Tap, every_frame};
use crate::kit::world::{
    Conduit, Meanwhile, Side, Traffic, World, alert, config, receive_all, send_until,
};
use crate::kit::{Failure, Outcome, Stage};

trials! { "stable":
    an_idle_link_is_kept [],
    silence_is_noticed [],
    a_new_link_replaces_one_that_seems_alive [ManyLinks],
    migration_under_load [ManyLinks],
    a_resume_after_expiry_is_rejected [Listener],
    close_comes_after_everything [],
    close_cut_at_every_frame [],
    many_sessions_at_once [Listener, ManyLinks],
}

/// Pings keep a link alive on which nothing else is said (LIVE-1, LIVE-3).
async fn an_idle_link_is_kept(stage: Stage) -> Outcome {
    let mut settings = config(stage.capability());
    settings.ping_interval = Duration::from_millis(20);
    let mut world = stage.world(settings, VecDeque::new()).await?;
    // A round trip is measured by pings alone.
    let mut answered = 0;
    let mut last = None;
    while answered < 5 {
        let now = world.near.tx.stats().round_trip;
        if now.is_some() && now != last {
            answered += 1;
            last = now;
        }
        look_again().await;
    }
    assert_eq!(world.near.generation(), 1, "the link is still the first");
    world.carry(Traffic::Both, || true).await?;
    world.close().await
}

/// A peer of which nothing is heard is dead, which costs the link and not the session (LIVE-2).
async fn silence_is_noticed(stage: Stage) -> Outcome {
    let mut world = stage.world(alert(config(stage.capability())), VecDeque::new()).await?;
    world.carry(Traffic::Both, || true).await?;
    let generation = world.near.generation();
    let mut status = world.near.status.clone();
    world.tap.shut();
    world.tap.mute();
    let suspended = status.wait_for(|status| matches!(status, Status::Suspended { .. })).await?;
    if let Status::Suspended { cause, .. } = &*suspended {
        assert!(matches!(cause, SuspendCause::PeerSilent | SuspendCause::WriteStalled), "{cause}");
    }
    drop(suspended);
    world.tap.open();
    world.near.connected_after(generation).await?;
    world.carry(Traffic::Both, || true).await?;
    world.close().await
}

/// The newest link is the current one, also while the acceptor believes in the old one (TAKE-1).
/// Nothing that was in flight is lost.
async fn a_new_link_replaces_one_that_seems_alive(stage: Stage) -> Outcome {
    let near = alert(config(stage.capability()));
    let far = config(stage.capability());
    let mut world = stage.world_of(near, far, VecDeque::new()).await?;
    let silence = async |mut hands: Meanwhile<'_>| {
        for _ in 0..2 {
            hands.items(5).await?;
            let generation = hands.connected().await?;
            hands.tap.mute();
            hands.gone(generation).await?;
        }
        hands.items(5).await
    };
    world.carry_while(Traffic::Both, || true, silence).await?;
    world.close().await
}

/// A conduit moves to a new link while items flow, again and again.
async fn migration_under_load(stage: Stage) -> Outcome {
    let mut world = stage.world(config(stage.capability()), VecDeque::new()).await?;
    let tx = world.near.tx.clone();
    let migrations = async |mut hands: Meanwhile<'_>| {
        for n in 0..20 {
            hands.items(n).await?;
            let generation = hands.connected().await?;
            tx.migrate().await?;
            assert!(hands.connected().await? > generation, "there is a newer link");
        }
        hands.items(5).await
    };
    world.carry_while(Traffic::Both, || true, migrations).await?;
    world.close().await
}

/// Who comes back too late is refused by name, and has what was not acknowledged (EXP-1, KEY-4,
/// HELLO-7, REPLAY-4). The listener goes on with others.
async fn a_resume_after_expiry_is_rejected(stage: Stage) -> Outcome {
    let near = alert(config(stage.capability()));
    let mut far = near.clone();
    far.outage_max = Duration::from_millis(200);
    let mut world = stage.world_of(near.clone(), far, VecDeque::new()).await?;
    world.carry(Traffic::Both, || true).await?;
    world.tap.shut();
    world.tap.kill();
    let acknowledged = world.near.tx.stats().messages_acknowledged;
    for n in 0..10_u8 {
        world.near.tx.send(&&[n; 3][..]).await?;
    }
    let expired = world.far.status.wait_for(Status::is_final).await?.clone();
    assert!(matches!(expired, Status::Lost(LossReason::Expired)), "{expired:?}");
    world.tap.open();
    let lost = world.near.status.wait_for(Status::is_final).await?.clone();
    let unknown = LossReason::Rejected(RejectReason::UnknownKey);
    assert!(matches!(&lost, Status::Lost(reason) if *reason == unknown), "{lost:?}");
    let left: Vec<_> = world.near.tx.take_unacknowledged();
    assert_eq!(left.len(), 10, "everything that was not acknowledged");
    for ((n, expected), (position, bytes)) in (acknowledged..).zip(0_u8..).zip(left) {
        assert_eq!((position.get(), &bytes[..]), (n, &[expected; 3][..]));
    }
    assert!(matches!(world.near.tx.send(&&b"late"[..]).await, Err(SendError::Lost(_))));
    Ok(())
}

/// Everything sent before a close arrives before it, each direction is closed on its own, and both
/// sides end in good order (CLOSE-1, CLOSE-4).
async fn close_comes_after_everything(stage: Stage) -> Outcome {
    const COUNT: u64 = 500;
    let world = stage.world(config(stage.capability()), VecDeque::new()).await?;
    let World { mut near, mut far, listener: _listener, medium: _medium, .. } = world;
    let mut left = COUNT;
    let mut counted = || {
        left -= 1;
        left == 0
    };
    let closing = async {
        send_until(&near.tx, &mut counted).await?;
        near.tx.close().await?;
        Ok(())
    };
    let answering = async {
        receive_all(&mut far.rx, &Default::default()).await?;
        assert!(far.rx.recv().await?.is_none());
        assert!(matches!(far.tx.try_send(&&b""[..]), Ok(_) | Err(SendError::Closed)));
        Outcome::Ok(far.tx.close().await?)
    };
    tokio::try_join!(closing, answering)?;
    for side in [&mut near, &mut far] {
        let end = side.status.wait_for(Status::is_final).await?.clone();
        assert!(matches!(end, Status::Closed { .. }), "{end:?}");
    }
    Ok(())
}

/// A close that a link loses is said again on the next, at every step (CLOSE-5): whoever closes
/// first learns that everything has arrived, and the other one hears of the close after everything.
async fn close_cut_at_every_frame(stage: Stage) -> Outcome {
    const ITEMS: u8 = 3;
    for cut in every_frame(8).into_iter().skip(2) {
        close_with_cut(&stage, cut, ITEMS).await?;
    }
    Ok(())
}

async fn close_with_cut(stage: &Stage, cut: Cut, items: u8) -> Outcome {
    let mut settings = config(stage.capability());
    settings.linger = Duration::from_millis(500);
    let world = stage.world(settings, VecDeque::from([cut])).await?;
    let World { near, mut far, listener: _listener, medium: _medium, .. } = world;
    let closing = async {
        for n in 0..items {
            near.tx.send(&&[n][..]).await?;
        }
        near.tx.close().await.map_err(|lost| {
            Failure::new(format!("{cut:?}: the one that closed first: {lost}: {}", lost.reason))
        })
    };
    let answering = async {
        for n in 0..items {
            let item = far.rx.recv().await?;
            assert!(item.is_some_and(|item| *item.get() == [n]), "{cut:?}: item {n}");
        }
        assert!(far.rx.recv().await?.is_none(), "{cut:?}: nothing but the close");
        // The last word may be lost with the link; then this side cannot know, and lingers.
        let _ = far.tx.close().await;
        Ok(())
    };
    tokio::try_join!(closing, answering).map(|_| ())
}

/// Sessions of several peers, whose links are cut all the time, do not get into each other's way.
async fn many_sessions_at_once(stage: Stage) -> Outcome {
    const SESSIONS: u8 = 6;
    let mut medium = stage.open().await?;
    let Acceptor::Listener(listener) = medium.acceptor() else {
        return Err(Failure::new("the fixture promised a listener"));
    };
    let mut settings = ListenerConfig::default();
    settings.conduit = config(stage.capability());
    let mut listener = StableListener::<Raw>::with_config(listener, settings)
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut sides = JoinSet::new();
    for n in 0..SESSIONS {
        let schedule = [3, 5, 8, 13].map(|frame| {
            let toward = if n % 2 == 0 { Toward::Acceptor } else { Toward::Initiator };
            Cut { toward, frame, flush: frame % 2 == 0 }
        });
        let (tap, source) = Tap::around(medium.initiator(), schedule.into());
        let settings = config(stage.capability());
        sides.spawn(async move {
            let mut near = Side::of(Conduit::connect_with(source, settings).await?);
            near.tx.send(&&[n][..]).await?;
            for round in 0.. {
                let item = [&[n][..], &u32::to_le_bytes(round)].concat();
                near.tx.send(&&item[..]).await?;
                let echo = near.rx.recv().await?;
                assert!(echo.is_some_and(|echo| *echo.get() == item), "{n}: {round}");
                if tap.is_done() && round > 50 {
                    break;
                }
            }
            Ok::<_, Failure>(near.tx.close().await?)
        });
    }
    for _ in 0..SESSIONS {
        let Side { tx, mut rx, .. } = Side::of(listener.accept().await?);
        sides.spawn(async move {
            let first = rx.recv().await?;
            let own = first.map(|first| first.get()[0]);
            while let Some(item) = rx.recv().await? {
                assert_eq!(Some(item.get()[0]), own, "an item of another session");
                tx.send(item.get()).await?;
            }
            Ok(tx.close().await?)
        });
    }
    while let Some(side) = sides.join_next().await {
        side??;
    }
    Ok(())
}

/// Lets a little time pass before a look at what nobody tells of.
async fn look_again() {
    let _ = tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
}
