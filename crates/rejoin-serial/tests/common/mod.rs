//! A conduit over a cable of pseudo-terminals, and waiting without sleeping.

use std::time::Duration;

use rejoin_conformance::line::{Cable, End};
use rejoin_serial::{
    Raw, SerialConfig, SerialSource, SerialStatsHandle, StableConduit, StableRx, StableTx,
};

pub(crate) type Tx = StableTx<Raw>;
pub(crate) type Rx = StableRx<Raw>;

/// One end of a session.
pub(crate) struct Side {
    pub(crate) tx: Tx,
    pub(crate) rx: Rx,
    pub(crate) stats: SerialStatsHandle,
}

/// Waits for what a test that works does not wait long for.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(60), future).await {
            Ok(output) => output,
            Err(_) => panic!("hangs at {caller}"),
        }
    }
}

pub(crate) fn source(cable: &Cable, end: End) -> SerialSource {
    match end {
        End::Near => SerialSource::new(cable.port(end)),
        End::Far => SerialSource::new(cable.port(end)).accepting(),
    }
}

pub(crate) async fn connect(source: SerialSource, config: SerialConfig) -> Side {
    let stable = config.stable_config();
    let source = source.with_config(config);
    let stats = source.stats_handle();
    let conduit = StableConduit::<Raw>::connect_with(source, stable).await.unwrap();
    let (tx, rx) = conduit.split();
    Side { tx, rx, stats }
}

/// Sends so many messages and receives them at the other end, in order and once.
pub(crate) async fn exchange(from: &Tx, to: &mut Rx, numbers: std::ops::Range<u32>) {
    let sent = async {
        for number in numbers.clone() {
            from.send(&&message(number)[..]).await.unwrap();
        }
    };
    let received = async {
        for number in numbers.clone() {
            let received = to.recv().await.unwrap().unwrap();
            assert_eq!(*received.get(), &message(number)[..], "message {number}");
        }
    };
    soon(async { tokio::join!(sent, received) }).await;
}

/// 64 bytes that follow from the number.
fn message(number: u32) -> bytes::Bytes {
    let byte = |index: u32| number.wrapping_mul(2_654_435_761).wrapping_add(index).to_le_bytes()[1];
    number.to_le_bytes().into_iter().chain((4..64).map(byte)).collect()
}
