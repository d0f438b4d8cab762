//! What the trials have in common: where they get media and links, how they fail, and small tools.

pub(crate) mod tap;
pub(crate) mod world;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::protocol::{ClientHello, HelloError};
use rejoin_core::{
    AckError, BoxLinkRx, BoxLinkTx, ConnectError, DynLinkSource, Link, LinkRx, LinkSource, LinkTx,
    Peer, RecvError, SendError, SessionLost,
};
use tokio::sync::watch::error::RecvError as RecvClosed;
use tokio::task::JoinError;
use tokio::time::timeout;

use crate::capability::Capability;
use crate::fixture::{DynFixture, LoneSource, Medium};

/// How a trial ends.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a trial failed, where something that had to work gave an error.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[track_caller]
    fn of(error: &dyn Error) -> Self {
        let mut text = format!("{}: {error}", Location::caller());
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self(text)
    }
}

/// One by one, as an implementation for every error would claim too much.
macro_rules! from {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            #[track_caller]
            fn from(error: $error) -> Self {
                Self::of(&error)
            }
        })*
    };
}

from! { io::Error, ConnectError, SendError, RecvError, AckError, SessionLost, HelloError, JoinError, RecvClosed }

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a trial is given.
pub(crate) struct Stage {
    fixture: Arc<dyn DynFixture>,
    capability: Capability,
}

impl Stage {
    pub(crate) fn new(fixture: Arc<dyn DynFixture>, capability: Capability) -> Self {
        Self { fixture, capability }
    }

    pub(crate) fn capability(&self) -> &Capability {
        &self.capability
    }

    pub(crate) async fn open(&self) -> io::Result<Medium> {
        self.fixture.open().await
    }

    pub(crate) async fn nobody(&self) -> io::Result<LoneSource> {
        self.fixture.nobody().await
    }

    pub(crate) async fn exhausted(&self) -> io::Result<LoneSource> {
        self.fixture.exhausted().await
    }

    /// A fresh medium with a link on it.
    pub(crate) async fn connected(&self) -> io::Result<Connected> {
        let mut medium = self.open().await?;
        let mut initiator = medium.initiator();
        let mut acceptor = medium.acceptor_source();
        let (near, far) = link_pair(&mut initiator, &mut acceptor).await?;
        Ok(Connected { near, far, initiator, acceptor, medium })
    }

    /// Runs `trial` for each direction of a link, each time on a fresh medium.
    pub(crate) async fn each_way(&self, trial: impl AsyncFn(Connected) -> Outcome) -> Outcome {
        trial(self.connected().await?).await?;
        let Connected { near, far, initiator, acceptor, medium } = self.connected().await?;
        trial(Connected { near: far, far: near, initiator, acceptor, medium }).await
    }
}

/// A link, with everything that it comes from. What a trial sends at the near end arrives at the
/// far one.
pub(crate) struct Connected {
    pub(crate) near: End,
    pub(crate) far: End,
    pub(crate) initiator: Box<dyn DynLinkSource>,
    pub(crate) acceptor: Box<dyn DynLinkSource>,
    pub(crate) medium: Medium,
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) tx: BoxLinkTx,
    pub(crate) rx: BoxLinkRx,
    pub(crate) peer: Peer,
}

impl End {
    pub(crate) fn of<L: Link<Tx = BoxLinkTx, Rx = BoxLinkRx>>(link: L) -> Self {
        let peer = link.peer();
        let (tx, rx) = link.split();
        Self { tx, rx, peer }
    }
}

impl End {
    /// After the end of a link nothing more is delivered.
    pub(crate) async fn nothing_more(&mut self) {
        for _ in 0..3 {
            // It may say again that it is at its end, or say nothing.
            match timeout(Duration::from_millis(20), self.rx.recv()).await {
                Ok(Ok(Some(late))) => panic!("received {} after the end", shown(&late)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// Both ends say something and hear it.
pub(crate) async fn exchange(near: &mut End, far: &mut End) -> Outcome {
    for n in 0..3 {
        put(&mut near.tx, &pattern(n, 100)).await?;
        expect(&mut far.rx, &pattern(n, 100)).await?;
        put(&mut far.tx, &pattern(n + 100, 100)).await?;
        expect(&mut near.rx, &pattern(n + 100, 100)).await?;
    }
    Ok(())
}

/// The next link of both sources, past the hello by which an acceptor's source knows that it has
/// one.
pub(crate) async fn link_pair(
    initiator: &mut Box<dyn DynLinkSource>,
    acceptor: &mut Box<dyn DynLinkSource>,
) -> io::Result<(End, End)> {
    let accept = async { Ok(End::of(LinkSource::next_link(acceptor).await?.into_link())) };
    tokio::try_join!(dial(initiator), accept)
}

/// The next link of an initiator's source, and a hello on it.
pub(crate) async fn dial(initiator: &mut Box<dyn DynLinkSource>) -> io::Result<End> {
    let mut near = End::of(LinkSource::next_link(initiator).await?.into_link());
    put(&mut near.tx, &ClientHello::fresh().encode()).await?;
    Ok(near)
}

/// Sends one payload and flushes it.
pub(crate) async fn put(tx: &mut BoxLinkTx, payload: &[u8]) -> io::Result<()> {
    tx.send(b"", Bytes::copy_from_slice(payload)).await?;
    tx.flush().await
}

/// Receives the next payload, which has to be `expected`.
#[track_caller]
pub(crate) fn expect<'a>(
    rx: &'a mut BoxLinkRx,
    expected: &'a [u8],
) -> impl Future<Output = Outcome> + use<'a> {
    let caller = Location::caller();
    async move {
        let received = rx.recv().await.map_err(|error| Failure(format!("{caller}: {error}")))?;
        match received {
            None => Err(Failure(format!("{caller}: the link was closed"))),
            Some(payload) if payload == expected => Ok(()),
            Some(payload) => Err(Failure(format!(
                "{caller}: received {} in place of {}",
                shown(&payload),
                shown(expected)
            ))),
        }
    }
}

/// As much of a payload as a reader wants to see.
pub(crate) fn shown(payload: &[u8]) -> String {
    let some: String = payload.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let more = if payload.len() > 16 { "…" } else { "" };
    format!("{} bytes ({some}{more})", payload.len())
}

/// `len` bytes that differ with `seed` and from place to place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    // Copied from a table, as trials under load are to load the transport and not the suite.
    const TABLE_BYTES: usize = 65_521;
    static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut random = Random(0);
        (0..TABLE_BYTES.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect()
    });
    let mut at = Random(seed).below(TABLE_BYTES);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let more = (len - bytes.len()).min(TABLE_BYTES - at);
        bytes.extend_from_slice(&TABLE[at..at + more]);
        at = (at + more + 4099) % TABLE_BYTES;
    }
    bytes
}

/// Numbers that are the same for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next() % bound).expect("less than a usize")
    }

    /// Sizes from 0 to the transport's maximum, both included, of which most are small: about as
    /// many bytes as the transport is to carry under load.
    pub(crate) fn sizes(
        mut self,
        count: usize,
        capability: &Capability,
    ) -> impl Iterator<Item = usize> {
        let max = capability.payload_bytes_max;
        let borders = [0, max, 1, max - 1, 0, max / 2];
        // The mean of `u^k`, for `u` between 0 and 1, is `1 / (k + 1)`.
        let load = capability.load_bytes.saturating_sub(5 * max).max(count);
        let exponent = (max as f64 * count as f64 / load as f64 - 1.0).max(1.0);
        let random = move |_| {
            let unit = self.below(1 << 30) as f64 / (1 << 30) as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to max")]
            let size = (unit.powf(exponent) * max as f64) as usize;
            size
        };
        borders.into_iter().chain((borders.len()..count).map(random))
    }
}
