//! The handles of both conduits as a `Sink` and a `Stream`, under paused time: what code written for
//! the `futures` crates may rely on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use rejoin_core::{
    BareConduit, BareRecvError, BareSendError, MemoryConfig, MemoryNetwork, RecvError, SendError,
    StableConduit, StableConfig, StableListener, StableRx, StableTx, memory_link_pair,
    memory_listener,
};

/// What one small message costs in a log or a window.
const ITEM: usize = 33;

/// Only a test that fails waits for this long, and time is paused.
const SOON: Duration = Duration::from_secs(60);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("it does not hang")
}

/// The client's and the server's handles, and what keeps the network up.
struct World {
    near: (StableTx<u8>, StableRx<u8>),
    far: (StableTx<u8>, StableRx<u8>),
    network: MemoryNetwork,
    _listener: StableListener<u8>,
}

async fn world(config: StableConfig) -> World {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut settings = rejoin_core::ListenerConfig::default();
    settings.conduit = config.clone();
    let mut listener = StableListener::<u8>::with_config(listener, settings).unwrap();
    let dial = StableConduit::<u8>::connect_with(connector.source(), config);
    let (near, far) = soon(async { tokio::join!(dial, listener.accept()) }).await;
    World {
        near: near.unwrap().split(),
        far: far.unwrap().split(),
        network: connector.network().clone(),
        _listener: listener,
    }
}

/// Logs with room for so many small messages, and a peer that acknowledges by hand.
fn small(log: usize) -> StableConfig {
    let mut config = StableConfig::default();
    config.send_log_bytes_max = log * ITEM;
    config.manual_ack = true;
    config
}

/// Polls once, with nobody to wake.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_forwarded_and_ends_after_the_close() {
    let world = world(StableConfig::default()).await;
    let (tx, _near_rx) = world.near;
    let sent = tokio::spawn(stream::iter(0..200).map(Ok).forward(tx.into_sink()));
    let mut stream = world.far.1.into_stream();
    let received: Vec<u8> = soon(stream.by_ref().try_collect()).await.unwrap();
    assert!(received.into_iter().eq(0..200));
    assert!(stream.next().await.is_none(), "the end stays the end");
    soon(sent).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_pass_while_links_are_cut() {
    let world = world(small(8)).await;
    let mut sink = world.near.0.into_sink();
    let sending = tokio::spawn(async move {
        soon(sink.send_all(&mut stream::iter(0..200).map(Ok))).await.unwrap();
        sink.close().await
    });
    let mut stream = world.far.1.into_stream();
    for expected in 0..200 {
        assert_eq!(soon(stream.try_next()).await.unwrap(), Some(expected));
        let last = stream.get_ref().last_position().unwrap();
        stream.get_ref().acknowledge(last);
        if expected % 16 == 0 {
            world.network.cut_links();
        }
    }
    assert!(soon(stream.next()).await.is_none());
    soon(sending).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_log_holds_the_sink_back() {
    let world = world(small(4)).await;
    let mut sink = world.near.0.into_sink();
    let mut sent = 0;
    while poll_once(sink.feed(sent)).is_ready() {
        sent += 1;
        assert!(sent <= 5, "the bound and one message");
    }
    let mut stream = world.far.1.into_stream();
    for expected in 0..sent {
        assert_eq!(soon(stream.try_next()).await.unwrap(), Some(expected));
    }
    // Received is not enough: the application has said nothing of them.
    assert!(poll_once(sink.feed(sent)).is_pending());
    let feeding = tokio::spawn(async move { sink.feed(sent).await.map(|()| sink) });
    stream.get_ref().acknowledge(stream.get_ref().last_position().unwrap());
    let _sink = soon(feeding).await.unwrap().unwrap();
    assert_eq!(soon(stream.try_next()).await.unwrap(), Some(sent));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_future_is_dropped_is_sent_once_or_never() {
    let world = world(small(2)).await;
    let receiving = tokio::spawn(async move {
        let mut stream = world.far.1.into_stream();
        let mut received = Vec::new();
        loop {
            // One that is dropped before it is ready takes nothing.
            let Poll::Ready(next) = poll_once(stream.next()) else {
                tokio::task::yield_now().await;
                continue;
            };
            let Some(message) = next else { break received };
            received.push(message.unwrap());
            stream.get_ref().acknowledge(stream.get_ref().last_position().unwrap());
        }
    });
    let mut sink = world.near.0.into_sink();
    let mut dropped = 0;
    for message in 0..100 {
        while poll_once(sink.feed(message)).is_pending() {
            dropped += 1;
            tokio::task::yield_now().await;
        }
    }
    assert!(dropped > 20, "most had to wait: {dropped}");
    soon(sink.close()).await.unwrap();
    assert!(soon(receiving).await.unwrap().into_iter().eq(0..100));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_dropped_keeps_no_room_and_no_place() {
    let world = world(small(1)).await;
    let tx = world.near.0;
    let mut holds = tx.clone().into_sink();
    assert!(poll_once(std::future::poll_fn(|cx| holds.poll_ready_unpin(cx))).is_ready());
    // What it holds is all that there was.
    let mut waits = tx.clone().into_sink();
    assert!(poll_once(std::future::poll_fn(|cx| waits.poll_ready_unpin(cx))).is_pending());
    assert!(poll_once(tx.send(&1)).is_pending());
    // The first in the queue goes, and whoever comes after it must not wait for it.
    let sending = tokio::spawn({
        let tx = tx.clone();
        async move { tx.send(&7).await }
    });
    tokio::task::yield_now().await;
    drop(waits);
    drop(holds);
    soon(sending).await.unwrap().unwrap();
    assert_eq!(tx.stats().messages_accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_taken_back_keeps_no_room() {
    let world = world(small(1)).await;
    let mut sink = world.near.0.into_sink();
    assert!(poll_once(std::future::poll_fn(|cx| sink.poll_ready_unpin(cx))).is_ready());
    let tx = sink.into_inner();
    tx.try_send(&1).unwrap();
    let mut stream = world.far.1.into_stream();
    assert_eq!(soon(stream.next()).await.unwrap().unwrap(), 1);
    let mut rx = stream.into_inner();
    rx.acknowledge(rx.last_position().unwrap());
    soon(tx.send(&2)).await.unwrap();
    assert_eq!(soon(rx.recv()).await.unwrap().unwrap().into_inner(), 2);
}

#[tokio::test(start_paused = true)]
async fn flushing_waits_for_room_only_and_closing_for_the_peer() {
    let world = world(small(8)).await;
    world.network.refuse_dials();
    world.network.cut_links();
    let mut sink = world.near.0.into_sink();
    soon(sink.send(1)).await.unwrap();
    soon(sink.send(2)).await.unwrap();
    let mut closing = tokio::spawn(async move { sink.close().await });
    let mut stream = world.far.1.into_stream();
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut closing).await;
    assert!(waited.is_err(), "the peer has nothing yet");
    world.network.answer_dials();
    assert_eq!(soon(stream.try_next()).await.unwrap(), Some(1));
    assert_eq!(soon(stream.try_next()).await.unwrap(), Some(2));
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut closing).await;
    assert!(waited.is_err(), "the peer has not acknowledged anything yet");
    stream.get_ref().acknowledge(stream.get_ref().last_position().unwrap());
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_accepted_after_the_close() {
    let world = world(StableConfig::default()).await;
    let mut sink = world.near.0.into_sink();
    soon(SinkExt::<u8>::close(&mut sink)).await.unwrap();
    soon(SinkExt::<u8>::close(&mut sink)).await.unwrap();
    assert!(matches!(soon(sink.feed(1)).await, Err(SendError::Closed)));
    assert!(matches!(sink.start_send_unpin(1), Err(SendError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_fails_the_sink_and_is_the_last_item_of_the_stream() {
    let mut config = StableConfig::default();
    config.outage_max = Duration::from_secs(1);
    let world = world(config).await;
    let (mut sink, stream) = (world.near.0.into_sink(), world.near.1.into_stream());
    soon(sink.send(1)).await.unwrap();
    world.network.refuse_dials();
    world.network.cut_links();
    let items: Vec<_> = soon(stream.take(3).collect()).await;
    assert!(matches!(items[..], [Err(RecvError::Lost(_))]), "{items:?}");
    assert!(matches!(soon(SinkExt::<u8>::flush(&mut sink)).await, Err(SendError::Lost(_))));
    assert!(matches!(soon(sink.feed(2)).await, Err(SendError::Lost(_))));
    assert!(matches!(soon(SinkExt::<u8>::close(&mut sink)).await, Err(SendError::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_or_unreadable_ends_nothing() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let mut config = rejoin_core::BareConfig::default();
    config.message_bytes_max = 8;
    let mut sink = BareConduit::<String>::with_config(near, &config).split().0.into_sink();
    let mut stream = BareConduit::<Option<bool>>::new(far).split().1.into_stream();
    let too_large = soon(sink.feed("longer than eight".into())).await;
    assert!(matches!(too_large, Err(BareSendError::TooLarge { .. })), "{too_large:?}");
    soon(sink.send("unreadable".chars().take(5).collect())).await.unwrap();
    soon(sink.send(String::new())).await.unwrap();
    let unreadable = soon(stream.next()).await.unwrap();
    assert!(matches!(unreadable, Err(BareRecvError::Decode { .. })), "{unreadable:?}");
    // An empty string and no value are the same byte.
    assert_eq!(soon(stream.next()).await.unwrap().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn bare_handles_are_forwarded_and_end() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, rx) = BareConduit::<u8>::new(near).split();
    // The far side gives everything back.
    let (far_tx, far_rx) = BareConduit::<u8>::new(far).split();
    let echo = far_rx.into_stream().map_err(|error| panic!("{error}")).forward(far_tx.into_sink());
    let echo = tokio::spawn(echo);
    let sending = tokio::spawn(stream::iter(0..100).map(Ok).forward(tx.into_sink()));
    let received: Vec<_> = soon(rx.into_stream().try_collect()).await.unwrap();
    assert!(received.into_iter().eq(0..100));
    soon(sending).await.unwrap().unwrap();
    soon(echo).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_link_fails_the_bare_sink_and_ends_the_bare_stream() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let (tx, rx) = BareConduit::<u8>::new(near).split();
    let (mut sink, stream) = (tx.into_sink(), rx.into_stream());
    soon(sink.send(1)).await.unwrap();
    drop(far);
    let items: Vec<_> = soon(stream.take(3).collect()).await;
    assert!(matches!(items[..], [Err(BareRecvError::Lost(_))]), "{items:?}");
    assert!(matches!(soon(sink.feed(2)).await, Err(BareSendError::Lost(_))));
}
