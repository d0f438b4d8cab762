//! A conduit over a line that needs longer for one message than a peer may be silent.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::pending;
use std::io;
use std::time::Duration;

use rejoin_core::{
    AcceptorConfig, AcceptorSource, Attachment, LinkListener, LinkSource, Peer, Raw, StableConduit,
    Status,
};
use rejoin_stream::{LengthPrefixedLink, StreamConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

type SlowLink = LengthPrefixedLink<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

fn link(stream: DuplexStream) -> SlowLink {
    LengthPrefixedLink::from_stream(stream, Peer::default(), &StreamConfig::default())
}

/// Carries one byte in each millisecond in either direction.
fn slow_line() -> (DuplexStream, DuplexStream) {
    let ((near, near_line), (far, far_line)) = (tokio::io::duplex(64), tokio::io::duplex(64));
    let (near_in, near_out) = tokio::io::split(near_line);
    let (far_in, far_out) = tokio::io::split(far_line);
    tokio::spawn(carry(near_in, far_out));
    tokio::spawn(carry(far_in, near_out));
    (near, far)
}

async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(64));
    let mut bytes = [0; 64];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        ticks.tick().await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Makes one line after another.
struct Dial(mpsc::Sender<DuplexStream>);

impl LinkSource for Dial {
    type Link = SlowLink;

    async fn next_link(&mut self) -> io::Result<Attachment<SlowLink>> {
        let (near, far) = slow_line();
        self.0.send(far).await.map_err(io::Error::other)?;
        Ok(Attachment::initiator(link(near)))
    }
}

struct Accept(mpsc::Receiver<DuplexStream>);

impl LinkListener for Accept {
    type Link = SlowLink;
    type Upgrade = std::future::Ready<io::Result<SlowLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        match self.0.recv().await {
            Some(far) => Ok(std::future::ready(Ok(link(far)))),
            None => pending().await,
        }
    }
}

// LIVE-5
#[tokio::test(start_paused = true)]
async fn a_message_may_take_longer_than_a_peer_may_be_silent() {
    let (dialled, accepted) = mpsc::channel(1);
    let called = AcceptorSource::new(Accept(accepted), AcceptorConfig::default());
    let (near, far) = tokio::try_join!(
        StableConduit::<Raw>::connect(Dial(dialled)),
        StableConduit::<Raw>::connect(called)
    )
    .unwrap();
    // An hour of virtual time, so that a conduit that never gets on fails.
    tokio::time::timeout(Duration::from_secs(3600), exchange(near, far)).await.unwrap();
}

async fn exchange(near: StableConduit<Raw>, far: StableConduit<Raw>) {
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = (near.split(), far.split());
    // Two minutes each, six times what makes a silent peer dead; both ways, then one way.
    let large = vec![7u8; 120_000];
    near_tx.send(&&large[..]).await.unwrap();
    far_tx.send(&&large[..]).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().unwrap().get().len(), large.len());
    assert_eq!(near_rx.recv().await.unwrap().unwrap().get().len(), large.len());
    near_tx.send(&&large[..]).await.unwrap();
    assert_eq!(far_rx.recv().await.unwrap().unwrap().get().len(), large.len());
    near_tx.flush_acked().await.unwrap();
    assert_eq!((near_tx.stats().resumes, far_tx.stats().resumes), (0, 0));
    assert!(matches!(*near_tx.status().borrow(), Status::Connected { generation: 1, .. }));
}
