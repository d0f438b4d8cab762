//! The length-prefixed link over in-memory streams: order, splits, limits, ends.

#![allow(clippy::unwrap_used)]

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use proptest::prelude::*;
use rejoin_core::{Link, LinkRx, LinkTx, Peer};
use rejoin_stream::{
    LengthPrefixedLink, LengthPrefixedRx, LengthPrefixedTx, StreamConfig, StreamRecvError,
    StreamSendError,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

/// Gives the chunks of a list, one per read, then the end of the stream.
struct Chunks(Vec<Bytes>);

impl AsyncRead for Chunks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(chunk) = self.0.first_mut() {
            let part = chunk.split_to(chunk.len().min(out.remaining()));
            out.put_slice(&part);
            if chunk.is_empty() {
                self.0.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes `step` bytes per write and refuses every second one for a moment.
struct Trickle {
    step: usize,
    vectored: bool,
    pause: bool,
    taken: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl AsyncWrite for Trickle {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pause = !self.pause;
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut taken = self.taken.lock().unwrap();
        let mut room = self.step;
        for slice in slices {
            let part = &slice[..room.min(slice.len())];
            taken.extend_from_slice(part);
            room -= part.len();
        }
        Poll::Ready(Ok(self.step - room))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn payloads(sizes: &[usize]) -> Vec<Bytes> {
    sizes
        .iter()
        .enumerate()
        .map(|(n, size)| {
            (0..*size).map(|i| (i * 31 + n).to_le_bytes()[0]).collect::<Vec<_>>().into()
        })
        .collect()
}

fn encode(payloads: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    for payload in payloads {
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        out.extend_from_slice(payload);
    }
    out
}

/// Receives until the close.
async fn receive_all<R: AsyncRead + Unpin + Send + 'static>(
    rx: &mut LengthPrefixedRx<R>,
) -> io::Result<Vec<Bytes>> {
    let mut received = Vec::new();
    while let Some(payload) = rx.recv().await? {
        received.push(payload);
    }
    Ok(received)
}

fn rx_of(bytes: &[u8], config: &StreamConfig) -> LengthPrefixedRx<Chunks> {
    LengthPrefixedRx::new(Chunks(vec![Bytes::copy_from_slice(bytes)]), config)
}

type DuplexLink =
    LengthPrefixedLink<tokio::io::ReadHalf<DuplexStream>, tokio::io::WriteHalf<DuplexStream>>;

fn pair(bytes: usize) -> (DuplexLink, DuplexLink) {
    let (a, b) = tokio::io::duplex(bytes);
    let config = StreamConfig::default();
    (
        LengthPrefixedLink::from_stream(a, Peer::at("a"), &config),
        LengthPrefixedLink::from_stream(b, Peer::at("b"), &config),
    )
}

const SIZES: &[usize] = &[0, 1, 64, 4_096, 0, 20_000, 3, 70_000, 16_384, 65_536, 2, 300_000, 5];

#[test]
fn both_directions_work_at_once_through_a_tiny_pipe() {
    run(async {
        for pipe in [1, 7, 4_000] {
            let (a, b) = pair(pipe);
            let sizes: &[usize] = if pipe < 10 { &[0, 1, 300, 2, 17_000] } else { SIZES };
            let sent = payloads(sizes);
            let side = async |link: DuplexLink| {
                let (mut tx, mut rx) = link.split();
                let send = async {
                    for payload in &sent {
                        let (head, body) = payload.split_at(payload.len().min(5));
                        tx.send(head, payload.slice_ref(body)).await.unwrap();
                    }
                    tx.close().await.unwrap();
                };
                tokio::join!(send, receive_all(&mut rx)).1.unwrap()
            };
            let (at_a, at_b) = tokio::join!(side(a), side(b));
            assert!(at_a == sent && at_b == sent, "through a pipe of {pipe} bytes");
        }
    });
}

#[test]
fn a_writer_may_take_any_part_of_what_it_is_given() {
    for step in [61, 5_000, 100_000] {
        for vectored in [false, true] {
            let taken = std::sync::Arc::default();
            let writer =
                Trickle { step, vectored, pause: false, taken: std::sync::Arc::clone(&taken) };
            let sent = payloads(&[0, 5, 20_000, 1, 8_192, 8_191, 8_187, 70_000, 70_000, 2]);
            run(async {
                let mut tx = LengthPrefixedTx::new(writer, &StreamConfig::default());
                for payload in &sent {
                    let (head, body) = payload.split_at(payload.len().min(5));
                    tx.send(head, payload.slice_ref(body)).await.unwrap();
                }
                tx.flush().await.unwrap();
            });
            assert!(*taken.lock().unwrap() == encode(&sent), "{step} bytes per write, {vectored}");
        }
    }
}

#[test]
fn nothing_is_written_before_a_flush_or_a_full_buffer() {
    let taken: std::sync::Arc<std::sync::Mutex<Vec<u8>>> = std::sync::Arc::default();
    let writer = Trickle {
        step: usize::MAX,
        vectored: true,
        pause: false,
        taken: std::sync::Arc::clone(&taken),
    };
    run(async {
        let mut tx = LengthPrefixedTx::new(writer, &StreamConfig::default());
        for _ in 0..900 {
            tx.send(&[], Bytes::from_static(&[1; 64])).await.unwrap();
        }
        assert_eq!(taken.lock().unwrap().len(), 0);
        tx.flush().await.unwrap();
        assert_eq!(taken.lock().unwrap().len(), 900 * 68);
        for _ in 0..1_000 {
            tx.send(&[], Bytes::from_static(&[1; 64])).await.unwrap();
        }
        assert!(taken.lock().unwrap().len() > 1_800 * 68, "a full buffer is written");
    });
}

#[test]
fn a_payload_over_the_limit_is_refused_and_the_link_goes_on() {
    run(async {
        let (a, b) = tokio::io::duplex(1_000);
        let config = StreamConfig { payload_bytes_max: 10, ..StreamConfig::default() };
        let mut tx = LengthPrefixedTx::new(a, &config);
        let mut rx = LengthPrefixedRx::new(b, &config);
        assert_eq!(tx.payload_bytes_max(), 10);

        let error = tx.send(b"head", Bytes::from_static(b"seven b")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let inner = error.get_ref().unwrap().downcast_ref();
        assert_eq!(inner, Some(&StreamSendError::PayloadTooLarge { bytes: 11, bytes_max: 10 }));

        tx.send(b"head", Bytes::from_static(b"six by")).await.unwrap();
        tx.close().await.unwrap();
        assert_eq!(receive_all(&mut rx).await.unwrap(), ["headsix by"]);
    });
}

#[track_caller]
fn check_failure(bytes: &[u8], kind: io::ErrorKind, expected: StreamRecvError) {
    let config = StreamConfig { payload_bytes_max: 10, ..StreamConfig::default() };
    run(async {
        let mut rx = rx_of(bytes, &config);
        assert_eq!(rx.recv().await.unwrap().as_deref(), Some(&b"ok"[..]));
        let error = rx.recv().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&expected));
        let again = rx.recv().await.unwrap_err();
        assert_eq!(again.get_ref().unwrap().downcast_ref(), Some(&StreamRecvError::Failed));
    });
}

#[test]
fn a_stream_that_ends_inside_a_message_is_an_error() {
    for (bytes, received) in [
        (&b"\x02\0\0\0ok\x01"[..], 1),
        (b"\x02\0\0\0ok\x04\0\0\0", 4),
        (b"\x02\0\0\0ok\x04\0\0\0abc", 7),
    ] {
        let expected = StreamRecvError::Truncated { received };
        check_failure(bytes, io::ErrorKind::UnexpectedEof, expected);
    }
}

#[test]
fn an_announced_payload_over_the_limit_is_an_error_whether_or_not_it_comes() {
    let kind = io::ErrorKind::InvalidData;
    let too_large = |bytes| StreamRecvError::PayloadTooLarge { bytes, bytes_max: 10 };
    check_failure(b"\x02\0\0\0ok\x0b\0\0\0elevenbytes\0\0\0\0", kind, too_large(11));
    check_failure(b"\x02\0\0\0ok\xff\xff\xff\xff", kind, too_large(0xffff_ffff));
}

#[test]
fn a_close_is_none_for_good_and_comes_after_everything() {
    run(async {
        let mut rx = rx_of(b"\x01\0\0\0a\0\0\0\0", &StreamConfig::default());
        assert_eq!(receive_all(&mut rx).await.unwrap(), ["a", ""]);
        assert_eq!(rx.recv().await.unwrap(), None);
    });
}

#[test]
fn defect_15_the_largest_announcement_costs_little_memory_until_it_comes() {
    /// Remembers the largest room that it was offered.
    struct Silent(std::sync::Arc<std::sync::atomic::AtomicUsize>, Vec<u8>);
    impl AsyncRead for Silent {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0.fetch_max(out.remaining(), std::sync::atomic::Ordering::Relaxed);
            out.put_slice(&std::mem::take(&mut self.1));
            Poll::Ready(Ok(()))
        }
    }
    let room = std::sync::Arc::default();
    let config = StreamConfig { payload_bytes_max: usize::MAX, ..StreamConfig::default() };
    let reader = Silent(std::sync::Arc::clone(&room), vec![0xff; 8]);
    let error = run(LengthPrefixedRx::new(reader, &config).recv()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let room = room.load(std::sync::atomic::Ordering::Relaxed);
    assert!(room <= 2 * config.read_buffer_bytes, "{room} bytes");
}

#[test]
fn the_peer_and_auto_traits_are_kept() {
    fn assert_auto<T: Send + Sync + Unpin>(_: &T) {}
    let (link, _) = pair(1);
    assert_auto(&link);
    assert_eq!(link.peer(), Peer::at("a"));
}

#[test]
fn a_raw_stream_is_understood() {
    run(async {
        let (mut raw, ours) = tokio::io::duplex(100);
        let (_, mut rx) =
            LengthPrefixedLink::from_stream(ours, Peer::default(), &StreamConfig::default())
                .split();
        raw.write_all(b"\x03\0\0\0abc").await.unwrap();
        assert_eq!(rx.recv().await.unwrap().as_deref(), Some(&b"abc"[..]));
    });
}

/// What `recv_parts` gives, up to `most` payloads.
fn take_run(rx: &mut impl LinkRx, most: usize) -> Vec<Bytes> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let run = rx.recv_parts(|part| {
        let takes = parts.len() < most;
        if takes {
            parts.push(part);
        }
        takes
    });
    parts.into_iter().map(|part| run.slice(part)).collect()
}

#[test]
fn a_run_is_all_that_came_with_a_payload_up_to_what_is_incomplete() {
    let sent = payloads(&[3, 0, 64, 1, 0, 0, 200, 9]);
    let bytes = encode(&sent);
    let whole = |end: usize| {
        let ends = (1..=sent.len()).map(|count| encode(&sent[..count]).len());
        ends.filter(|&at| at <= end).count()
    };
    for cut in 7..=bytes.len() {
        let (first, rest) = bytes.split_at(cut);
        let chunks = [first, rest].map(Bytes::copy_from_slice);
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let mut rx = LengthPrefixedRx::new(Chunks(chunks), &StreamConfig::default());
        run(async {
            let mut received = vec![rx.recv().await.unwrap().unwrap()];
            received.extend(take_run(&mut rx, usize::MAX));
            assert_eq!(received.len(), whole(cut), "of the first {cut} bytes");
            assert_eq!(take_run(&mut rx, usize::MAX), [""; 0], "behind a run");
            if received.len() < sent.len() {
                received.push(rx.recv().await.unwrap().unwrap());
                received.extend(take_run(&mut rx, usize::MAX));
            }
            assert!(received == sent, "cut after {cut} bytes");
            assert_eq!(rx.recv().await.unwrap(), None);
            assert_eq!(take_run(&mut rx, usize::MAX), [""; 0], "behind the close");
        });
    }
}

#[test]
fn a_run_begins_without_a_receive_and_goes_on_where_it_was_left() {
    let sent = payloads(&[1, 2, 3, 4, 5]);
    run(async {
        let mut rx = rx_of(&encode(&sent), &StreamConfig::default());
        assert_eq!(take_run(&mut rx, usize::MAX), [""; 0], "nothing is read for a run");
        assert_eq!(rx.recv().await.unwrap().as_ref(), sent.first());
        assert_eq!(take_run(&mut rx, 0), [""; 0]);
        assert_eq!(take_run(&mut rx, 2), sent[1..3]);
        assert_eq!(take_run(&mut rx, usize::MAX), sent[3..]);
    });
}

#[test]
fn a_large_payload_comes_alone_so_that_it_keeps_no_small_ones_alive() {
    for large in [8_193, 60_000, 70_000, 300_000] {
        let sent = payloads(&[5, 6, 8_192, 7, large, 8, 9]);
        run(async {
            // All is there at once, as far as one block holds it.
            let mut rx = rx_of(&encode(&sent), &StreamConfig::default());
            let (mut received, mut runs) = (Vec::new(), Vec::new());
            while let Some(payload) = rx.recv().await.unwrap() {
                received.push(payload);
                let run = take_run(&mut rx, usize::MAX);
                assert!(run.iter().all(|payload| payload.len() <= 8_192));
                runs.push(run.len());
                received.extend(run);
            }
            assert!(received == sent, "with one of {large} bytes");
            assert!(runs.len() < sent.len(), "{runs:?}");
        });
    }
}

#[test]
fn a_run_ends_before_what_is_too_long_for_the_half_itself() {
    let config = StreamConfig { payload_bytes_max: 10, ..StreamConfig::default() };
    for too_long in [11, u32::MAX] {
        let mut bytes = encode(&payloads(&[1, 10, 0]));
        bytes.extend(too_long.to_le_bytes());
        bytes.extend(encode(&payloads(&[3, 3])));
        run(async {
            let mut rx = rx_of(&bytes, &config);
            rx.recv().await.unwrap();
            assert_eq!(take_run(&mut rx, usize::MAX).len(), 2);
            assert_eq!(take_run(&mut rx, usize::MAX).len(), 0, "before the error is said");
            let error = rx.recv().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        });
    }
}

#[test]
fn small_parts_are_copied_and_large_ones_shared() {
    let writer =
        || Trickle { step: 1 << 20, vectored: true, pause: false, taken: Default::default() };
    for (len, shared) in [(0, false), (64, false), (8_191, false), (8_192, true), (50_000, true)] {
        let bytes = Bytes::from(vec![7; 60_000]);
        run(async {
            let mut tx = LengthPrefixedTx::new(writer(), &StreamConfig::default());
            tx.send_part(b"head", &bytes, 5..5 + len).await.unwrap();
            assert_eq!(bytes.is_unique(), !shared, "a part of {len} bytes is queued");
            tx.flush().await.unwrap();
            assert!(bytes.is_unique(), "a part of {len} bytes is written");
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the bytes are cut into reads, and whether or not payloads are kept, the same
    /// messages come out.
    #[test]
    fn any_split_gives_the_same_messages(
        sizes in prop::collection::vec(prop_oneof![4 => 0..200_usize, 1 => 0..150_000_usize], 0..12),
        cuts in prop::collection::vec(1..20_000_usize, 1..20),
        read_buffer_bytes in prop_oneof![Just(0_usize), Just(5_000), Just(65_536)],
        keep in any::<bool>(),
    ) {
        let sent = payloads(&sizes);
        let mut rest = Bytes::from(encode(&sent));
        let mut chunks = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            chunks.push(rest.split_to(rest.len().min(*cut)));
        }
        let config = StreamConfig { read_buffer_bytes, ..StreamConfig::default() };
        let mut rx = LengthPrefixedRx::new(Chunks(chunks), &config);
        run(async {
            let mut kept = Vec::new();
            for payload in &sent {
                let received = rx.recv().await.unwrap().unwrap();
                assert!(received == payload);
                if keep {
                    kept.push(received);
                }
            }
            assert_eq!(rx.recv().await.unwrap(), None);
            assert!(!keep || kept == sent, "kept payloads do not change");
        });
    }
}
