//! Links between two ends of ours over loopback: data, independence of the halves, limits, ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use rejoin_websocket::{
    Link, LinkRx, LinkTx, Peer, Side, WebSocketConfig, WebSocketLink, WebSocketRecvError,
    WebSocketSendError,
};
use support::{BINARY, CLOSE, FIN, Halves, PING, PONG, pair, poll_once, scripted, soon};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn payload(n: usize) -> Bytes {
    let bytes = match n % 500 {
        0 => 200_000,
        1..20 => 20_000,
        _ => n % 140,
    };
    vec![n.to_le_bytes()[0]; bytes].into()
}

/// Sends and receives at the same time, closes first, and then reads up to the peer's close.
async fn side((mut tx, mut rx): Halves, count: usize) {
    let send = tokio::spawn(async move {
        for n in 0..count {
            tx.send(&[1, 2, 3], payload(n)).await.unwrap();
        }
        tx.close().await.unwrap();
    });
    for n in 0..count {
        let received = rx.recv().await.unwrap().unwrap();
        assert!(received[..3] == [1, 2, 3] && received[3..] == payload(n)[..], "payload {n}");
    }
    assert_eq!(rx.recv().await.unwrap(), None);
    assert_eq!(rx.recv().await.unwrap(), None, "and nothing after it");
    send.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_at_full_speed_at_once() {
    let (a, b) = pair(WebSocketConfig::default()).await;
    let (a, b) = (tokio::spawn(side(a, 5_000)), tokio::spawn(side(b, 5_000)));
    soon(a).await.unwrap();
    soon(b).await.unwrap();
}

#[tokio::test]
async fn one_side_may_close_while_the_other_goes_on() {
    let ((near_tx, mut near_rx), (mut far_tx, mut far_rx)) = pair(WebSocketConfig::default()).await;
    near_tx.close().await.unwrap();
    assert_eq!(soon(far_rx.recv()).await.unwrap(), None);
    for n in 0..100_u8 {
        far_tx.send(&[n], Bytes::new()).await.unwrap();
    }
    far_tx.close().await.unwrap();
    for n in 0..100_u8 {
        assert_eq!(soon(near_rx.recv()).await.unwrap().unwrap()[..], [n]);
    }
    assert_eq!(soon(near_rx.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn every_size_around_the_borders_of_the_encoding_and_the_buffers() {
    let config = WebSocketConfig {
        read_buffer_bytes: 4096,
        write_buffer_bytes: 5000,
        ..WebSocketConfig::default()
    };
    let ((mut tx_a, mut rx_a), (mut tx_b, mut rx_b)) = pair(config).await;
    let borders = [0, 125, 126, 4096, 5000, 65_535, 65_536, 100_000];
    for bytes in borders.into_iter().flat_map(|n: usize| n.saturating_sub(20)..n + 3) {
        let body: Bytes = (0..bytes).map(|n| n.to_le_bytes()[0]).collect();
        for split in [0, bytes / 2, bytes.min(11)] {
            let (head, body) = (body.slice(..split), body.slice(split..));
            tx_a.send(&head, body.clone()).await.unwrap();
            tx_b.send(&head, body.clone()).await.unwrap();
            let (a, b) = soon(async { tokio::join!(tx_a.flush(), tx_b.flush()) }).await;
            a.and(b).unwrap();
            for rx in [&mut rx_a, &mut rx_b] {
                let received = soon(rx.recv()).await.unwrap().unwrap();
                assert_eq!(received.len(), bytes);
                assert!(received[..split] == head && received[split..] == body, "{bytes} bytes");
            }
        }
    }
}

#[tokio::test]
async fn the_limit_holds_for_both_halves() {
    let config = WebSocketConfig { message_bytes_max: 8, ..WebSocketConfig::default() };
    let ((mut tx, _rx), (_, mut far_rx)) = pair(config).await;
    assert_eq!(tx.payload_bytes_max(), 8);
    let error = tx.send(b"head", Bytes::from_static(b"body!")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let inner = error.get_ref().unwrap().downcast_ref();
    assert_eq!(inner, Some(&WebSocketSendError::PayloadTooLarge { bytes: 9, bytes_max: 8 }));
    tx.send(b"head", Bytes::from_static(b"body")).await.unwrap();
    tx.flush().await.unwrap();
    assert_eq!(soon(far_rx.recv()).await.unwrap().unwrap(), "headbody");

    far_rx.limit_payloads(Some(3));
    tx.send(b"four", Bytes::new()).await.unwrap();
    tx.flush().await.unwrap();
    let error = soon(far_rx.recv()).await.unwrap_err();
    let inner = error.get_ref().unwrap().downcast_ref();
    assert_eq!(inner, Some(&WebSocketRecvError::PayloadTooLarge { bytes: 4, bytes_max: 3 }));
    let again = soon(far_rx.recv()).await.unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_sending_half_that_waits_does_not_stop_the_receiving_one() {
    for side in [Side::Client, Side::Server] {
        let (mut peer, (mut tx, mut rx)) = scripted(side, 64, &WebSocketConfig::default());
        let big = Bytes::from(vec![9; 300_000]);
        let mut sending = Box::pin(tx.send(&[], big.clone()));
        assert!(poll_once(&mut sending).await.is_none(), "the peer reads nothing");
        for n in 0..50_u8 {
            peer.send(FIN | BINARY, &[n]).await;
            assert_eq!(soon(rx.recv()).await.unwrap().unwrap()[..], [n]);
            assert!(poll_once(&mut sending).await.is_none());
        }
        let (sent, (first, received)) = soon(async { tokio::join!(sending, peer.recv()) }).await;
        sent.unwrap();
        assert!(first == FIN | BINARY && received == big);
    }
}

#[tokio::test]
async fn a_receiving_half_that_nobody_polls_does_not_stop_the_sending_one() {
    let (mut peer, (mut tx, mut rx)) = scripted(Side::Client, 64, &WebSocketConfig::default());
    // Its answer to the ping is stuck half-way, and it is polled no more.
    let payload = [7; 100];
    let mut receiving = Box::pin(rx.recv());
    for part in peer.frame(FIN | PING, &payload).chunks(50) {
        peer.send_raw(part).await;
        assert!(poll_once(&mut receiving).await.is_none());
    }

    let send = async {
        tx.send(b"through", Bytes::new()).await.unwrap();
        tx.flush().await.unwrap();
    };
    let read = async { (peer.recv().await, peer.recv().await) };
    let ((), (pong, message)) = soon(async { tokio::join!(send, read) }).await;
    assert_eq!(pong, (FIN | PONG, payload.to_vec()), "whole, and first");
    assert_eq!(message, (FIN | BINARY, b"through".to_vec()));
}

#[tokio::test]
async fn what_is_sent_waits_for_a_flush_and_one_flush_takes_it_all() {
    let (mut peer, (mut tx, _rx)) = scripted(Side::Client, 1 << 20, &WebSocketConfig::default());
    for n in 0..100_u8 {
        tx.send(&[n], Bytes::from_static(b"body")).await.unwrap();
    }
    let progress = tx.progress();
    assert_eq!(progress.get(), 0, "nothing was written");
    tx.flush().await.unwrap();
    assert_eq!(progress.get(), 100 * (2 + 5));
    for n in 0..100_u8 {
        assert_eq!(peer.recv().await, (FIN | BINARY, [&[n], &b"body"[..]].concat()));
    }
}

/// A stream that takes everything, and notes where it was, and how much.
#[derive(Clone, Default)]
struct Noting(std::sync::Arc<std::sync::Mutex<Vec<(usize, usize)>>>);

impl AsyncRead for Noting {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().push((b.as_ptr() as usize, b.len()));
        Poll::Ready(Ok(b.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = self.0.lock().unwrap();
        written.extend(slices.iter().map(|slice| (slice.as_ptr() as usize, slice.len())));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_large_body_is_not_copied_by_a_server() {
    let stream = Noting::default();
    let config = WebSocketConfig::default();
    let link = WebSocketLink::from_upgraded(stream.clone(), Side::Server, Peer::default(), &config);
    let (mut tx, _rx) = link.split();
    let body = Bytes::from(vec![5; 500_000]);
    tx.send(b"head", body.clone()).await.unwrap();
    tx.flush().await.unwrap();
    let written = stream.0.lock().unwrap();
    assert_eq!((written.len(), written[1].0), (2, body.as_ptr() as usize), "in one write");
}

#[tokio::test]
async fn what_a_client_masks_is_written_in_large_pieces() {
    const BUFFER: usize = 64 << 10;
    for bytes in [BUFFER - 100, BUFFER, BUFFER + 1, 2 * BUFFER, 2 * BUFFER + 1, 500_000] {
        let stream = Noting::default();
        let config = WebSocketConfig::default();
        let link =
            WebSocketLink::from_upgraded(stream.clone(), Side::Client, Peer::default(), &config);
        let (mut tx, _rx) = link.split();
        tx.send(b"head", Bytes::from(vec![5; bytes])).await.unwrap();
        tx.flush().await.unwrap();
        let written: Vec<_> = stream.0.lock().unwrap().iter().map(|write| write.1).collect();
        assert!(written.iter().sum::<usize>() > bytes);
        assert!(written.len() <= bytes.div_ceil(BUFFER), "{bytes}: {written:?}");
        assert!(written.iter().all(|&bytes| bytes <= 2 * BUFFER), "{bytes}: {written:?}");
    }
}

#[tokio::test]
async fn progress_is_seen_while_a_payload_crosses() {
    let (mut peer, (mut tx, mut rx)) = scripted(Side::Client, 1000, &WebSocketConfig::default());
    let (sent, received) = (tx.progress(), rx.progress());
    let mut sending = Box::pin(tx.send(&[], Bytes::from(vec![0; 200_000])));
    assert!(poll_once(&mut sending).await.is_none());
    assert_eq!(sent.get(), 1000);
    peer.send_raw(&peer.frame(FIN | BINARY, &[0; 900])[..500]).await;
    let mut receiving = Box::pin(rx.recv());
    assert!(poll_once(&mut receiving).await.is_none());
    assert_eq!(received.get(), 500);
}

#[tokio::test]
async fn dropping_both_halves_releases_the_connection_and_is_no_close() {
    let (near, (_tx, mut far_rx)) = pair(WebSocketConfig::default()).await;
    drop(near);
    let error = soon(far_rx.recv()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let inner = error.get_ref().unwrap().downcast_ref();
    assert_eq!(inner, Some(&WebSocketRecvError::EndOfStream { received: 0 }));
}

#[tokio::test]
async fn the_close_of_a_peer_is_answered_when_the_sending_half_goes() {
    let config = WebSocketConfig::default();
    // Closed, dropped, and dropped before.
    let (mut peer, (tx, mut rx)) = scripted(Side::Server, 1000, &config);
    peer.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(soon(rx.recv()).await.unwrap(), None);
    tx.close().await.unwrap();
    assert_eq!(peer.recv_close().await, 1000);

    let (mut peer, (tx, mut rx)) = scripted(Side::Server, 1000, &config);
    peer.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(soon(rx.recv()).await.unwrap(), None);
    drop(tx);
    assert_eq!(peer.recv_close().await, 1000);

    let (mut peer, (tx, mut rx)) = scripted(Side::Server, 1000, &config);
    drop(tx);
    peer.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(soon(rx.recv()).await.unwrap(), None);
    assert_eq!(peer.recv_close().await, 1000);
}

#[tokio::test]
async fn a_closed_link_waits_for_the_peers_close_in_the_background() {
    let config = WebSocketConfig { close_timeout: support::LONG, ..WebSocketConfig::default() };
    for rx_first in [false, true] {
        let (mut peer, (tx, rx)) = scripted(Side::Client, 100, &config);
        let rx = if rx_first {
            drop(rx);
            None
        } else {
            Some(rx)
        };
        tx.close().await.unwrap();
        drop(rx);
        assert_eq!(peer.recv_close().await, 1000);
        // What the peer has on its way is read up to its close, and then the connection ends.
        peer.send(FIN | BINARY, &[0; 1000]).await;
        peer.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
        assert_eq!(soon(peer.try_recv()).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_close_is_let_go_of() {
    let (mut peer, (tx, rx)) = scripted(Side::Client, 100, &WebSocketConfig::default());
    tx.close().await.unwrap();
    drop(rx);
    assert_eq!(peer.recv_close().await, 1000);
    let begun = tokio::time::Instant::now();
    assert!(peer.try_recv().await.is_err(), "the connection ends");
    assert_eq!(begun.elapsed().as_secs(), 2);
}
