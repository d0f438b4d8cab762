//! What the tests share: a client and a server with a network between them that fails on demand.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rejoin_core::protocol::Position;
use rejoin_core::{
    ConnectError, ListenerConfig, MemoryConfig, MemoryConnector, MemoryNetwork, Raw, RecvError,
    SendError, StableConduit, StableConfig, StableListener, StableRx, StableTx, Status,
    memory_listener,
};
use tokio::sync::watch;

pub(crate) type Conduit = StableConduit<Raw>;
pub(crate) type Tx = StableTx<Raw>;
pub(crate) type Rx = StableRx<Raw>;
pub(crate) type Halves = (Tx, Rx);

/// What one test item costs in a log or a window: 8 bytes and 32 more.
pub(crate) const ITEM: usize = 40;

/// A listener, what dials it, and the network between them.
pub(crate) struct World {
    pub(crate) listener: StableListener<Raw>,
    pub(crate) connector: MemoryConnector,
    pub(crate) network: MemoryNetwork,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(MemoryConfig::default(), StableConfig::default())
    }

    pub(crate) fn with(memory: MemoryConfig, conduit: StableConfig) -> Self {
        let mut config = ListenerConfig::default();
        config.conduit = conduit;
        Self::with_listener(memory, config)
    }

    pub(crate) fn with_listener(memory: MemoryConfig, config: ListenerConfig) -> Self {
        let (listener, connector) = memory_listener(memory);
        let listener = StableListener::with_config(listener, config).unwrap();
        let network = connector.network().clone();
        Self { listener, connector, network }
    }

    pub(crate) async fn connect(&self, config: StableConfig) -> Result<Conduit, ConnectError> {
        within(Conduit::connect_with(self.connector.source(), config)).await
    }

    /// A client's conduit and the server's end of it.
    pub(crate) async fn open_with(&mut self, config: StableConfig) -> (Conduit, Conduit) {
        let dial = Conduit::connect_with(self.connector.source(), config);
        let (near, far) = within(async { tokio::join!(dial, self.listener.accept()) }).await;
        (near.unwrap(), far.unwrap())
    }

    pub(crate) async fn open(&mut self) -> (Conduit, Conduit) {
        self.open_with(StableConfig::default()).await
    }

    /// The handles of both ends: the client's, and the server's.
    pub(crate) async fn halves_with(&mut self, config: StableConfig) -> (Halves, Halves) {
        let (near, far) = self.open_with(config).await;
        (near.split(), far.split())
    }

    pub(crate) async fn halves(&mut self) -> (Halves, Halves) {
        self.halves_with(StableConfig::default()).await
    }
}

/// Room for `log` and `window` test items.
pub(crate) fn room(log: usize, window: usize) -> StableConfig {
    let mut config = StableConfig::default();
    config.send_log_bytes_max = log * ITEM;
    config.inbox_bytes_max = window * ITEM;
    config
}

/// Links that hold `items` test items in each direction.
pub(crate) fn narrow(items: usize) -> MemoryConfig {
    MemoryConfig { capacity_bytes: items * 50, ..MemoryConfig::default() }
}

/// Fails the test instead of hanging it; the time is virtual in most tests.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(1800), future).await {
            Ok(output) => output,
            Err(_) => panic!("hangs at {caller}"),
        }
    }
}

pub(crate) fn item(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

pub(crate) async fn send(tx: &Tx, n: u64) -> Result<Position, SendError> {
    tx.send(&&item(n)[..]).await
}

pub(crate) async fn recv(rx: &mut Rx) -> Result<Option<u64>, RecvError> {
    Ok(rx.recv().await?.map(|message| number(message.get())))
}

pub(crate) async fn send_all(tx: &Tx, range: std::ops::Range<u64>) {
    for n in range {
        within(send(tx, n)).await.unwrap();
    }
}

#[track_caller]
pub(crate) fn expect_all(
    rx: &mut Rx,
    range: std::ops::Range<u64>,
) -> impl Future<Output = ()> + use<'_> {
    let caller = std::panic::Location::caller();
    async move {
        for n in range {
            assert_eq!(within(recv(rx)).await.unwrap(), Some(n), "at {caller}");
        }
    }
}

/// How many items `tx` accepts before it is full.
pub(crate) fn fill(tx: &Tx) -> u64 {
    (0..1_000_000)
        .find(|&n| match tx.try_send(&&item(n)[..]) {
            Ok(_) => false,
            Err(SendError::Full) => true,
            Err(error) => panic!("{error}"),
        })
        .expect("there is a bound")
}

/// Waits for a status.
#[track_caller]
pub(crate) fn until(
    status: &mut watch::Receiver<Status>,
    wanted: impl FnMut(&Status) -> bool,
) -> impl Future<Output = Status> {
    let waiting = within(status.wait_for(wanted));
    async move { waiting.await.expect("the conduit tells until its end").clone() }
}

pub(crate) fn is_connected(status: &Status) -> bool {
    matches!(status, Status::Connected { .. })
}

pub(crate) fn is_suspended(status: &Status) -> bool {
    matches!(status, Status::Suspended { .. })
}

/// Whether a future is dropped in the moment that it is pending, or only when it was woken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    Pending,
    Woken,
}

/// Polls `future` up to `times` times, then drops it; `None` when it was not ready by then.
pub(crate) async fn poll_times<F: Future>(
    future: F,
    times: usize,
    when: Drop,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == times && when == Drop::Pending => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Begins `operation` again and again, and drops it after no poll, one poll, two polls, and so on,
/// until it comes to its end.
#[track_caller]
pub(crate) fn cancel_at_every_poll<T>(
    when: Drop,
    mut operation: impl AsyncFnMut() -> T,
) -> impl Future<Output = T> {
    let whole = async move {
        let mut times = 0;
        loop {
            if let Some(output) = poll_times(operation(), times, when).await {
                return output;
            }
            times += 1;
            assert!(times < 1000, "never comes to its end");
            // The others get on while nobody waits here.
            tokio::task::yield_now().await;
        }
    };
    within(whole)
}

/// Lets every other task run until all of them wait.
pub(crate) async fn settle() {
    pass(Duration::from_millis(200)).await;
}

/// Lets this much virtual time pass, with everything that falls due in it. Panics where the clock
/// is not paused.
pub(crate) async fn pass(time: Duration) {
    tokio::time::advance(Duration::ZERO).await;
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}
