//! Two conduits over the transport under test, and the traffic between them.

use std::collections::VecDeque;
use std::time::Duration;

use rejoin_core::{
    ListenerConfig, Raw, StableConduit, StableConfig, StableListener, StableRx, StableTx, Status,
};
use tokio::sync::watch;

use super::tap::{Cut, Tap};
use super::{Failure, Outcome, Stage, pattern};
use crate::capability::Capability;
use crate::fixture::{Acceptor, Medium};

pub(crate) type Conduit = StableConduit<Raw>;
pub(crate) type Tx = StableTx<Raw>;
pub(crate) type Rx = StableRx<Raw>;

/// Two ends of a session.
pub(crate) struct World {
    pub(crate) near: Side,
    pub(crate) far: Side,
    /// Around the near side's source.
    pub(crate) tap: Tap,
    /// Where there is one; without it the far side waits for this one peer.
    pub(crate) listener: Option<StableListener<Raw>>,
    pub(crate) medium: Medium,
}

/// One end of a session.
pub(crate) struct Side {
    pub(crate) tx: Tx,
    pub(crate) rx: Rx,
    pub(crate) status: watch::Receiver<Status>,
}

impl Side {
    pub(crate) fn of(conduit: Conduit) -> Self {
        let status = conduit.status();
        let (tx, rx) = conduit.split();
        Self { tx, rx, status }
    }

    /// Waits until the conduit has a link after its first `generation`.
    pub(crate) async fn connected_after(&self, generation: u64) -> Result<u64, Failure> {
        let after = |status: &Status| match status {
            Status::Connected { generation: present, .. } => *present > generation,
            status => status.is_final(),
        };
        match &*self.status.clone().wait_for(after).await? {
            Status::Connected { generation, .. } => Ok(*generation),
            status => Err(Failure::new(format!("the conduit has ended: {status:?}"))),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.tx.stats().generation
    }
}

/// Settings under which little is on its way at a time and much happens soon.
pub(crate) fn config(capability: &Capability) -> StableConfig {
    let mut config = StableConfig::default();
    config.message_bytes_max = capability.payload_bytes_max - HEAD_BYTES_MAX;
    config.send_log_bytes_max = 8 * 1024;
    config.inbox_bytes_max = 8 * 1024;
    config.ack_messages_max = 1;
    config.handshake_deadline = Duration::from_secs(2);
    config.redial.backoff_min = Duration::from_millis(1);
    config.redial.backoff_max = Duration::from_millis(20);
    config.redial.connect_limit = Duration::from_secs(30);
    config
}

/// What the head of a frame may take of a link's largest payload.
pub(crate) const HEAD_BYTES_MAX: usize = 11;

/// The same settings, under which silence is noticed soon.
pub(crate) fn alert(mut config: StableConfig) -> StableConfig {
    config.ping_interval = Duration::from_millis(150);
    config.peer_dead_after = Duration::from_millis(750);
    config
}

impl Stage {
    /// Two conduits with the same settings, whose first links die as `schedule` says.
    pub(crate) async fn world(
        &self,
        config: StableConfig,
        schedule: VecDeque<Cut>,
    ) -> Result<World, Failure> {
        self.world_of(config.clone(), config, schedule).await
    }

    /// Two conduits, `near` the initiator's and `far` the acceptor's.
    pub(crate) async fn world_of(
        &self,
        near: StableConfig,
        far: StableConfig,
        schedule: VecDeque<Cut>,
    ) -> Result<World, Failure> {
        let mut medium = self.open().await?;
        let (tap, source) = Tap::around(medium.initiator(), schedule);
        let connect = async { Ok(Conduit::connect_with(source, near).await?) };
        let (near, (far, listener)) = tokio::try_join!(connect, accept(medium.acceptor(), far))?;
        Ok(World { near: Side::of(near), far: Side::of(far), tap, listener, medium })
    }
}

async fn accept(
    acceptor: Acceptor,
    config: StableConfig,
) -> Result<(Conduit, Option<StableListener<Raw>>), Failure> {
    match acceptor {
        Acceptor::Source(source) => Ok((Conduit::connect_with(source, config).await?, None)),
        Acceptor::Listener(listener) => {
            let mut settings = ListenerConfig::default();
            settings.conduit = config;
            let listener = StableListener::with_config(listener, settings);
            let mut listener = listener.expect("the suite's settings make sense");
            Ok((listener.accept().await?, Some(listener)))
        }
    }
}

/// How many bytes an item has before its filling.
const ITEM_HEAD: usize = 9;

/// Item `n` of a direction, and whether it is the last.
fn item(n: u64, last: bool) -> Vec<u8> {
    let filling = usize::try_from(n % 61).expect("small");
    [&n.to_le_bytes()[..], &[u8::from(last)], &pattern(n, filling)].concat()
}

/// Sends numbered items until there are `enough`, then a last one.
pub(crate) async fn send_until(tx: &Tx, mut enough: impl FnMut() -> bool) -> Outcome {
    for n in 0.. {
        let last = enough();
        tx.send(&&item(n, last)[..]).await?;
        if last {
            break;
        }
    }
    Ok(())
}

/// Receives numbered items, each once and in order, up to the last one, and counts them in
/// `progress`.
pub(crate) async fn receive_all(rx: &mut Rx, progress: &watch::Sender<u64>) -> Outcome {
    for n in 0.. {
        let Some(received) = rx.recv().await? else {
            return Err(Failure::new(format!("the conduit was closed after {n} items")));
        };
        let bytes: &[u8] = received.get();
        let last = bytes.get(ITEM_HEAD - 1) == Some(&1);
        assert!(bytes == item(n, last), "{} in place of item {n}", super::shown(bytes));
        progress.send_replace(n + 1);
        if last {
            break;
        }
    }
    Ok(())
}

/// Which way items go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    Both,
    TowardAcceptor,
    TowardInitiator,
}

impl World {
    /// Sends items one way or both ways until there are `enough`, and receives all of them, each
    /// once and in order. Then everything is acknowledged.
    pub(crate) async fn carry(&mut self, traffic: Traffic, enough: impl Fn() -> bool) -> Outcome {
        self.carry_while(traffic, enough, async |_: Meanwhile<'_>| Ok(())).await
    }

    /// As [`carry`](Self::carry), and does `meanwhile`. Items flow at least until that is done.
    pub(crate) async fn carry_while(
        &mut self,
        traffic: Traffic,
        enough: impl Fn() -> bool,
        meanwhile: impl AsyncFnOnce(Meanwhile<'_>) -> Outcome,
    ) -> Outcome {
        let done = std::cell::Cell::new(false);
        let enough = || done.get() && enough();
        let Self { near, far, medium, tap, .. } = self;
        let (at_far, at_near) = (watch::Sender::new(0), watch::Sender::new(0));
        let mut progress = Vec::new();
        if traffic != Traffic::TowardInitiator {
            progress.push(at_far.subscribe());
        }
        if traffic != Traffic::TowardAcceptor {
            progress.push(at_near.subscribe());
        }
        let toward_acceptor = async {
            if traffic == Traffic::TowardInitiator {
                return Ok(());
            }
            tokio::try_join!(send_until(&near.tx, enough), receive_all(&mut far.rx, &at_far))?;
            Ok(near.tx.flush_acked().await?)
        };
        let toward_initiator = async {
            if traffic == Traffic::TowardAcceptor {
                return Ok(());
            }
            tokio::try_join!(send_until(&far.tx, enough), receive_all(&mut near.rx, &at_near))?;
            Ok(far.tx.flush_acked().await?)
        };
        let meanwhile = async {
            let hands = Meanwhile { near: near.status.clone(), progress, medium, tap };
            meanwhile(hands).await?;
            done.set(true);
            Ok(())
        };
        tokio::try_join!(toward_acceptor, toward_initiator, meanwhile).map(|_| ())
    }

    /// Closes both sides in good order.
    pub(crate) async fn close(mut self) -> Outcome {
        let Self { near, far, .. } = &mut self;
        let close = async { Outcome::Ok(near.tx.close().await?) };
        let answer = async {
            assert!(far.rx.recv().await?.is_none(), "an item after the last");
            Ok(far.tx.close().await?)
        };
        tokio::try_join!(close, answer)?;
        assert!(near.rx.recv().await?.is_none(), "an item after the last");
        for side in [near, far] {
            side.status.wait_for(|status| matches!(status, Status::Closed { .. })).await?;
        }
        Ok(())
    }
}

/// What can be done to a session while items flow.
pub(crate) struct Meanwhile<'a> {
    pub(crate) near: watch::Receiver<Status>,
    /// How much each receiver has.
    progress: Vec<watch::Receiver<u64>>,
    pub(crate) medium: &'a mut Medium,
    pub(crate) tap: &'a Tap,
}

impl Meanwhile<'_> {
    /// Waits until the near side has a link, and gives its generation.
    pub(crate) async fn connected(&mut self) -> Result<u64, Failure> {
        let is_connected = |status: &Status| matches!(status, Status::Connected { .. });
        match &*self.near.wait_for(is_connected).await? {
            Status::Connected { generation, .. } => Ok(*generation),
            _ => unreachable!("just matched"),
        }
    }

    /// Waits until the near side no longer has the link of `generation`.
    pub(crate) async fn gone(&mut self, generation: u64) -> Outcome {
        let is_gone = |status: &Status| !matches!(status, Status::Connected { generation: present, .. } if *present == generation);
        self.near.wait_for(is_gone).await?;
        Ok(())
    }

    /// Waits until each receiver has `more` items more.
    pub(crate) async fn items(&mut self, more: u64) -> Outcome {
        for receiver in &mut self.progress {
            let goal = *receiver.borrow() + more;
            receiver.wait_for(|items| *items >= goal).await?;
        }
        Ok(())
    }
}
