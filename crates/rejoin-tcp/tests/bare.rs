//! The bare conduit over real TCP on the loopback interface.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rejoin_tcp::{
    BareConduit, BareRecvError, BareSendError, LinkListener, LinkSource, MsgFamily, Raw, TcpConfig,
    TcpLink, TcpLinkListener, TcpSource,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

async fn pair<F: MsgFamily>() -> (BareConduit<F>, BareConduit<F>) {
    let mut listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let mut source = TcpSource::new(listener.local_addr().unwrap());
    let near = source.next_link().await.unwrap().into_link();
    let far = listener.accept().await.unwrap().await.unwrap();
    (BareConduit::new(near), BareConduit::new(far))
}

/// A conduit and the bare socket of its peer, with little room for what the peer has not read.
async fn conduit_and_socket() -> (BareConduit<Raw>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let peer = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let link = TcpLink::from_stream(stream, &TcpConfig::default()).unwrap();
    (BareConduit::new(link), peer)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap();
    [&len.to_le_bytes(), message].concat()
}

#[tokio::test]
async fn messages_cross_both_ways_at_full_speed() {
    const COUNT: u64 = 10_000;
    let side = |conduit: BareConduit<(u64, String)>| async move {
        let (tx, mut rx) = conduit.split();
        let sender = tokio::spawn(async move {
            for n in 0..COUNT {
                tx.send(&(n, "x".repeat((n % 300) as usize))).await.unwrap();
            }
            tx.close().await.unwrap();
        });
        for n in 0..COUNT {
            let message = rx.recv().await.unwrap().expect("no end yet");
            assert_eq!((message.0, message.1.len() as u64), (n, n % 300));
        }
        assert!(rx.recv().await.unwrap().is_none());
        sender.await.unwrap();
    };
    let (near, far) = pair().await;
    tokio::join!(side(near), side(far));
}

#[tokio::test]
async fn a_message_is_one_length_prefixed_payload() {
    let (conduit, mut peer) = conduit_and_socket().await;
    let (tx, mut rx) = conduit.split();
    tx.send(&&b"hello"[..]).await.unwrap();
    tx.send(&&b""[..]).await.unwrap();
    let mut bytes = [0; 13];
    peer.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\x05\0\0\0hello\0\0\0\0");
    peer.write_all(&framed(b"answer")).await.unwrap();
    assert_eq!(*rx.recv().await.unwrap().unwrap().get(), b"answer");
    peer.shutdown().await.unwrap();
    assert!(rx.recv().await.unwrap().is_none());
    tx.close().await.unwrap();
    assert_eq!(peer.read(&mut bytes).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reset_shows_after_everything_received() {
    let (conduit, mut peer) = conduit_and_socket().await;
    let (tx, mut rx) = conduit.split();
    for n in 0..100 {
        peer.write_all(&framed(&[n])).await.unwrap();
    }
    // A reset may destroy what is under way, so it waits until all has come in.
    for n in 0..100 {
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), [n]);
    }
    #[expect(deprecated, reason = "the only way to make a reset; zero never blocks")]
    peer.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))));
    assert!(matches!(rx.recv().await, Err(BareRecvError::Lost(_))));
    assert!(matches!(tx.send(&&b"late"[..]).await, Err(BareSendError::Lost(_))));
    tx.close().await.unwrap_err();
}

#[tokio::test]
async fn a_peer_that_leaves_while_this_side_sends_is_read_to_its_end() {
    let (conduit, mut peer) = conduit_and_socket().await;
    let (tx, mut rx) = conduit.split();
    let sender = tokio::spawn(async move {
        loop {
            if let Err(error) = tx.send(&&[0; 1000][..]).await {
                return error;
            }
        }
    });
    let mut bytes = [0; 1000];
    peer.read_exact(&mut bytes).await.unwrap();
    for n in 0..200 {
        peer.write_all(&framed(&[n])).await.unwrap();
    }
    // Its FIN arrives first; then, as it has not read everything, a reset.
    peer.shutdown().await.unwrap();
    drop(peer);
    assert!(matches!(sender.await.unwrap(), BareSendError::Lost(_)));
    for n in 0..200 {
        assert_eq!(*rx.recv().await.unwrap().unwrap().get(), [n]);
    }
    // Whether the end counts as a close depends on which of the two the system tells.
    assert!(matches!(rx.recv().await, Ok(None) | Err(BareRecvError::Lost(_))));
}

#[tokio::test]
async fn what_a_slow_peer_has_not_read_is_bounded() {
    const MESSAGE: usize = 32 * 1024;
    const COUNT: usize = 1500;
    // The conduit's send buffer, twice what the system may give to one connection, and some.
    const WAITING_MAX: usize = 16 * 1024 * 1024;
    let (conduit, mut peer) = conduit_and_socket().await;
    let (tx, _rx) = conduit.split();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        for _ in 0..COUNT {
            tx.send(&&[1; MESSAGE][..]).await.unwrap();
            counter.fetch_add(MESSAGE, Ordering::SeqCst);
        }
        tx.close().await.unwrap();
    });
    let mut message = vec![0; MESSAGE + 4];
    for received in 0..COUNT {
        tokio::task::yield_now().await;
        let waiting = sent.load(Ordering::SeqCst).saturating_sub(received * MESSAGE);
        assert!(waiting <= WAITING_MAX, "{waiting} bytes wait");
        peer.read_exact(&mut message).await.unwrap();
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn what_the_application_has_not_read_is_bounded() {
    const MESSAGE: usize = 32 * 1024;
    const COUNT: usize = 1500;
    const WAITING_MAX: usize = 16 * 1024 * 1024;
    let (near, far) = pair::<Raw>().await;
    let (tx, rx) = near.split();
    let (far_tx, mut far_rx) = far.split();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        for _ in 0..COUNT {
            tx.send(&&[1; MESSAGE][..]).await.unwrap();
            counter.fetch_add(MESSAGE, Ordering::SeqCst);
        }
        tx.close().await.unwrap();
    });
    for received in 0..COUNT {
        tokio::task::yield_now().await;
        let waiting = sent.load(Ordering::SeqCst).saturating_sub(received * MESSAGE);
        assert!(waiting <= WAITING_MAX, "{waiting} bytes wait");
        assert_eq!(far_rx.recv().await.unwrap().unwrap().get().len(), MESSAGE);
    }
    assert!(far_rx.recv().await.unwrap().is_none());
    sender.await.unwrap();
    drop((far_tx, rx));
}
