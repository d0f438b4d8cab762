//! Every fault of the proxy, as two plain TCP programs see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use rejoin_conformance::proxy::{Admission, Direction, Fault, FaultProxy, Shape};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use Direction::{ToClient, ToServer};

/// More than the system buffers between two ends that do not read.
static MUCH: [u8; 32 << 20] = [0; 32 << 20];

const SILENCE: Fault = Fault::Silence { lasting: None };

/// A server behind a proxy.
struct Net {
    server: TcpListener,
    proxy: FaultProxy,
}

impl Net {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(server.local_addr().unwrap()).await.unwrap();
        Self { server, proxy }
    }

    async fn dial(&self) -> TcpStream {
        soon(TcpStream::connect(self.proxy.addr())).await.unwrap()
    }

    /// One more connection, forwarded from end to end.
    async fn connect(&self) -> Pair {
        let connections = self.proxy.stats().connections;
        let client = self.dial().await;
        let (server, _) = soon(self.server.accept()).await.unwrap();
        soon(self.proxy.wait_until(|stats| stats.connections > connections)).await;
        Pair { client, server }
    }
}

/// The two ends of a connection.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    /// The ends from which and to which `direction` leads.
    fn ends(&mut self, direction: Direction) -> (&mut TcpStream, &mut TcpStream) {
        match direction {
            ToServer => (&mut self.client, &mut self.server),
            ToClient => (&mut self.server, &mut self.client),
        }
    }

    async fn carry(&mut self, direction: Direction, bytes: &[u8]) {
        let (from, to) = self.ends(direction);
        let mut received = vec![0; bytes.len()];
        from.write_all(bytes).await.unwrap();
        soon(to.read_exact(&mut received)).await.unwrap();
        assert_eq!(received, bytes);
    }
}

/// Only a test that fails waits for this long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("it happens soon")
}

/// Everything up to the end of the stream, and how it ended.
async fn rest(from: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut bytes = Vec::new();
    let end = soon(from.read_to_end(&mut bytes)).await;
    (bytes, end.map(drop).map_err(|error| error.kind()))
}

/// How a new connection ends. A reset may come before it is even established.
async fn dial_to_the_end(addr: SocketAddr) -> Result<(), ErrorKind> {
    let mut client = soon(TcpStream::connect(addr)).await.map_err(|error| error.kind())?;
    rest(&mut client).await.1
}

/// Asserts that `from` has nothing to read for a while, neither bytes nor an end.
async fn assert_silent(from: &mut TcpStream) {
    let read = timeout(Duration::from_millis(50), from.read(&mut [0; 1])).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn forwards_both_directions_and_their_ends() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    pair.carry(ToServer, b"question").await;
    pair.carry(ToClient, b"reply").await;

    pair.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut pair.server).await, (vec![], Ok(())));
    pair.carry(ToClient, b"late").await;
    assert_eq!(net.proxy.stats().live, 1);
    drop(pair.server);
    assert_eq!(rest(&mut pair.client).await, (vec![], Ok(())));

    let stats = soon(net.proxy.wait_until(|stats| stats.live == 0)).await;
    assert_eq!((stats.connections, stats.refused), (1, 0));
    assert_eq!((stats.to_server.bytes, stats.to_client.bytes), (8, 9));
}

#[tokio::test]
async fn passes_on_a_reset() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    pair.client.set_zero_linger().unwrap();
    drop(pair.client);
    assert_eq!(rest(&mut pair.server).await.1, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_fin_is_an_orderly_end_for_both() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    pair.carry(ToServer, b"abc").await;

    let report = soon(net.proxy.cut(Fault::Fin).report()).await;
    assert!(report.hit());
    assert_eq!((report.connections, report.to_server_bytes, report.to_client_bytes), (1, 3, 0));
    assert!(report.was_busy(Duration::from_secs(60)));
    assert_eq!(net.proxy.stats().live, 0);

    // What is sent after the end goes nowhere, and makes no reset of it.
    soon(pair.client.write_all(&MUCH)).await.unwrap();
    assert_eq!(rest(&mut pair.server).await, (vec![], Ok(())));
    assert_eq!(rest(&mut pair.client).await, (vec![], Ok(())));
}

#[tokio::test]
async fn a_reset_is_a_reset_for_both() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    pair.carry(ToClient, b"abc").await;
    let report = soon(net.proxy.cut(Fault::Reset).report()).await;
    assert_eq!((report.connections, report.to_client_bytes), (1, 3));
    assert_eq!(rest(&mut pair.client).await, (vec![], Err(ErrorKind::ConnectionReset)));
    assert_eq!(rest(&mut pair.server).await, (vec![], Err(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn a_silence_holds_everything_until_it_is_released() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    pair.carry(ToServer, b"abc").await;
    assert!(soon(net.proxy.cut(SILENCE).report()).await.hit());

    pair.client.write_all(b"held").await.unwrap();
    pair.server.write_all(b"back").await.unwrap();
    pair.server.shutdown().await.unwrap();
    assert_silent(&mut pair.server).await;
    assert_silent(&mut pair.client).await;

    // A new connection is not concerned.
    net.connect().await.carry(ToServer, b"new").await;
    assert_silent(&mut pair.server).await;

    net.proxy.release();
    assert_eq!(rest(&mut pair.client).await, (b"back".to_vec(), Ok(())));
    pair.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut pair.server).await, (b"held".to_vec(), Ok(())));
}

#[tokio::test]
async fn a_silence_hides_a_reset_too() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    soon(net.proxy.cut(SILENCE).report()).await;
    pair.client.set_zero_linger().unwrap();
    drop(pair.client);
    assert_silent(&mut pair.server).await;
    net.proxy.release();
    assert_eq!(rest(&mut pair.server).await.1, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_silence_can_end_by_itself_or_with_the_next_fault() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    let lasting = Duration::from_millis(80);
    let began = Instant::now();
    net.proxy.cut(Fault::Silence { lasting: Some(lasting) });
    pair.carry(ToServer, b"abc").await;
    assert!(began.elapsed() >= lasting);

    net.proxy.cut(SILENCE);
    pair.client.write_all(b"lost").await.unwrap();
    assert!(soon(net.proxy.cut(Fault::Reset).report()).await.hit());
    assert_eq!(rest(&mut pair.server).await, (vec![], Err(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn a_silent_connection_takes_bounded_memory() {
    let net = Net::new().await;
    let pair = net.connect().await;
    net.proxy.cut(SILENCE);
    let mut taken = 0;
    while timeout(Duration::from_millis(300), pair.client.writable()).await.is_ok() {
        match pair.client.try_write(&[0; 65536]) {
            Ok(len) => taken += len,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(taken < 64 << 20, "the proxy goes on reading");
    }
    assert_eq!(net.proxy.stats().to_server.bytes, 0);
}

#[tokio::test]
async fn a_half_close_leaves_the_other_direction() {
    for direction in [ToServer, ToClient] {
        let other = if direction == ToServer { ToClient } else { ToServer };
        let net = Net::new().await;
        let mut pair = net.connect().await;
        let fault = Fault::HalfClose(direction);
        let report = soon(net.proxy.cut(fault).report()).await;
        assert!(report.hit());
        assert_eq!(report.idle, None);
        assert!(!soon(net.proxy.cut(fault).report()).await.hit(), "it is closed already");

        let (from, to) = pair.ends(direction);
        soon(from.write_all(&MUCH)).await.unwrap();
        assert_eq!(rest(to).await, (vec![], Ok(())));
        pair.carry(other, b"goes on").await;
        drop(pair);
        soon(net.proxy.wait_until(|stats| stats.live == 0)).await;
    }
}

#[tokio::test]
async fn cuts_at_the_exact_byte() {
    let payload: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for direction in [ToServer, ToClient] {
        for len in [0, 1, 7, 16_384, 16_385, 50_000] {
            for (fault, end) in
                [(Fault::Fin, Ok(())), (Fault::Reset, Err(ErrorKind::ConnectionReset))]
            {
                let net = Net::new().await;
                let mut pair = net.connect().await;
                pair.carry(direction, b"before").await;
                let cut = net.proxy.cut_after(direction, len, fault);
                let (from, to) = pair.ends(direction);
                // Reading meanwhile: a reset takes along what the receiver's kernel does not have.
                let (_, (received, how)) = tokio::join!(from.write_all(&payload), rest(to));
                let len = usize::try_from(len).unwrap();
                assert_eq!(received.len(), len, "{direction:?} {fault:?}");
                assert!(received == payload[..len]);
                assert_eq!(how, end);

                let report = soon(cut.report()).await;
                assert_eq!(report.connections, 1);
                assert_eq!(report.to_server_bytes + report.to_client_bytes, 6 + len as u64);
                assert!(report.was_busy(Duration::from_secs(60)));
            }
        }
    }
}

#[tokio::test]
async fn a_cut_of_the_next_connection_spares_the_others() {
    let net = Net::new().await;
    let mut first = net.connect().await;
    let in_request = net.proxy.cut_next(ToServer, 3, Fault::Reset);
    let in_reply = net.proxy.cut_next(ToClient, 2, Fault::Fin);
    first.carry(ToServer, b"spared").await;

    let mut second = net.connect().await;
    second.client.write_all(b"hello").await.unwrap();
    assert_eq!(rest(&mut second.server).await, (b"hel".to_vec(), Err(ErrorKind::ConnectionReset)));
    let report = soon(in_request.report()).await;
    assert_eq!((report.connections, report.to_server_bytes), (1, 3));

    let mut third = net.connect().await;
    third.carry(ToServer, b"hello").await;
    third.server.write_all(b"hello").await.unwrap();
    assert_eq!(rest(&mut third.client).await, (b"he".to_vec(), Ok(())));
    assert!(soon(in_reply.report()).await.hit());

    net.connect().await.carry(ToClient, b"spared").await;
    first.carry(ToClient, b"spared").await;
}

#[tokio::test]
async fn cuts_that_are_called_off_are_not_done() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    let inside = [ToServer, ToClient].map(|there| net.proxy.cut_after(there, 3, Fault::Reset));
    let next = net.proxy.cut_next(ToServer, 3, Fault::Reset);
    net.proxy.disarm();
    pair.carry(ToServer, b"spared").await;
    pair.carry(ToClient, b"spared").await;
    net.connect().await.carry(ToServer, b"spared").await;
    for cut in inside.into_iter().chain([next]) {
        assert!(!soon(cut.report()).await.hit());
    }
}

#[tokio::test]
async fn a_cut_that_hits_nothing_says_so() {
    let net = Net::new().await;
    assert!(!soon(net.proxy.cut(Fault::Reset).report()).await.hit());

    let pair = net.connect().await;
    let replaced = net.proxy.cut_after(ToServer, 10, Fault::Reset);
    let too_late = net.proxy.cut_after(ToServer, 10, Fault::Reset);
    assert!(!soon(replaced.report()).await.hit());
    drop(pair);
    let report = soon(too_late.report()).await;
    assert_eq!((report.hit(), report.was_busy(Duration::MAX)), (false, false));
}

#[tokio::test]
async fn one_cut_hits_every_live_connection() {
    let net = Net::new().await;
    let mut pairs = [net.connect().await, net.connect().await];
    pairs[0].carry(ToServer, b"abc").await;
    pairs[1].carry(ToServer, b"de").await;
    let report = soon(net.proxy.cut(Fault::Fin).report()).await;
    assert_eq!((report.connections, report.to_server_bytes), (2, 5));
    for pair in &mut pairs {
        assert_eq!(rest(&mut pair.client).await, (vec![], Ok(())));
    }
}

#[tokio::test]
async fn refuses_and_holds_new_connections_only() {
    let net = Net::new().await;
    let mut old = net.connect().await;
    net.proxy.admit(Admission::Refuse);
    assert_eq!(dial_to_the_end(net.proxy.addr()).await, Err(ErrorKind::ConnectionReset));
    soon(net.proxy.wait_until(|stats| stats.refused == 1)).await;

    net.proxy.admit(Admission::Hold);
    let mut held = net.dial().await;
    held.write_all(b"early").await.unwrap();
    old.carry(ToServer, b"goes on").await;
    assert!(timeout(Duration::from_millis(50), net.server.accept()).await.is_err());

    net.proxy.admit(Admission::Forward);
    let (server, _) = soon(net.server.accept()).await.unwrap();
    held.shutdown().await.unwrap();
    let mut pair = Pair { client: held, server };
    assert_eq!(rest(&mut pair.server).await, (b"early".to_vec(), Ok(())));
}

#[tokio::test]
async fn a_server_that_is_away_resets_the_client() {
    let Net { server, proxy } = Net::new().await;
    drop(server);
    assert_eq!(dial_to_the_end(proxy.addr()).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(soon(proxy.wait_until(|stats| stats.refused == 1)).await.connections, 0);
}

#[tokio::test]
async fn latency_delays_every_byte_and_not_the_throughput() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    let latency = Duration::from_millis(40);
    net.proxy.shape(Shape { latency, ..Shape::default() });
    let began = Instant::now();
    pair.carry(ToServer, b"there").await;
    pair.carry(ToClient, b"and back").await;
    assert!(began.elapsed() >= 2 * latency);

    // This takes at least eight reads, and their delays overlap.
    let payload = vec![7; 128 * 1024];
    let latency = Duration::from_secs(1);
    net.proxy.shape(Shape { latency, ..Shape::default() });
    let began = Instant::now();
    pair.client.write_all(&payload).await.unwrap();
    pair.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut pair.server).await.0, payload);
    assert!(began.elapsed() >= latency && began.elapsed() < 4 * latency);
}

#[tokio::test]
async fn splits_writes() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    net.proxy.shape(Shape { write_bytes_max: NonZeroUsize::new(3), ..Shape::default() });
    pair.carry(ToServer, b"eleven byte").await;
    let stats = net.proxy.stats();
    assert_eq!((stats.to_server.bytes, stats.to_server.writes >= 4), (11, true), "{stats:?}");
}

#[tokio::test]
async fn coalesces_writes() {
    let net = Net::new().await;
    let mut pair = net.connect().await;
    let coalesce = Duration::from_secs(1);
    net.proxy.shape(Shape { coalesce, ..Shape::default() });
    // One at a time, so that the proxy reads them one by one, too.
    for number in 0..20_u8 {
        pair.client.write_all(&[number]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut received = [0; 20];
    soon(pair.server.read_exact(&mut received)).await.unwrap();
    assert_eq!(received.to_vec(), (0..20).collect::<Vec<_>>());
    assert_eq!(net.proxy.stats().to_server.writes, 1);

    // What was gathered arrives before the end of the stream.
    pair.client.write_all(b"last words").await.unwrap();
    pair.client.shutdown().await.unwrap();
    assert_eq!(soon(rest(&mut pair.server)).await, (b"last words".to_vec(), Ok(())));
}

#[tokio::test]
async fn limits_the_bandwidth() {
    const BYTES: usize = 50_000;
    let net = Net::new().await;
    let mut pair = net.connect().await;
    net.proxy.shape(Shape { bytes_per_second: NonZeroU32::new(100_000), ..Shape::default() });
    let began = Instant::now();
    pair.carry(ToServer, &vec![7; BYTES]).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(450), "{BYTES} bytes in {took:?}");
    assert!(took < Duration::from_secs(5), "{BYTES} bytes in {took:?}");

    // Without the limit this takes no time.
    net.proxy.shape(Shape::default());
    pair.carry(ToClient, &vec![7; 4 * BYTES]).await;
}

#[tokio::test]
async fn forwards_to_a_server_that_has_moved() {
    let net = Net::new().await;
    let mut old = net.connect().await;
    let moved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    net.proxy.redirect(moved.local_addr().unwrap());
    let client = net.dial().await;
    let (server, _) = soon(moved.accept()).await.unwrap();
    Pair { client, server }.carry(ToServer, b"to the new one").await;
    old.carry(ToServer, b"still to the old one").await;
}

#[tokio::test]
async fn dropping_the_proxy_ends_everything() {
    let net = Net::new().await;
    let mut live = net.connect().await;
    let mut silent = net.connect().await;
    net.proxy.cut(SILENCE);
    let pending = net.proxy.cut_after(ToServer, 1, Fault::Fin);
    let addr = net.proxy.addr();
    drop(net.proxy);
    assert!(!soon(pending.report()).await.hit());
    for end in [&mut live.client, &mut live.server, &mut silent.client, &mut silent.server] {
        assert!(rest(end).await.0.is_empty());
    }
    assert_eq!(
        soon(TcpStream::connect(addr)).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}
