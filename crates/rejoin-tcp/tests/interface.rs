//! What TCP links are dialled with: a local address, keepalive; and where they go next after one
//! that led nowhere.

#![expect(clippy::unwrap_used, reason = "helper functions of tests")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rejoin_tcp::{
    Keepalive, Link, LinkListener, LinkSource, TcpConfig, TcpError, TcpLink, TcpLinkListener,
    TcpSource,
};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

async fn listen() -> (TcpLinkListener, String) {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn dialled(source: &mut TcpSource) -> String {
    source.next_link().await.unwrap().link().peer().address().unwrap().to_owned()
}

fn tcp_error(error: &io::Error) -> &TcpError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

// Elsewhere, only the first address of the loopback network is there without being set up.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_link_comes_from_the_local_address_that_was_chosen() {
    let (mut listener, address) = listen().await;
    let mut source = TcpSource::new(address).local_address(Ipv4Addr::new(127, 0, 0, 2).into());
    for _ in 0..2 {
        let _near = source.next_link().await.unwrap();
        let far = listener.accept().await.unwrap().await.unwrap();
        assert!(far.peer().address().unwrap().starts_with("127.0.0.2:"), "{}", far.peer());
    }
}

#[tokio::test]
async fn a_local_address_that_no_interface_has_is_waited_for() {
    let (_listener, address) = listen().await;
    // Reserved for documentation.
    let local = IpAddr::from([192, 0, 2, 1]);
    let mut source = TcpSource::new(address).local_address(local);
    let error = source.next_link().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    assert!(!source.is_fatal(&error), "the cable may be plugged in again");
}

#[tokio::test]
async fn a_local_address_of_the_other_family_reaches_nobody() {
    let (_listener, address) = listen().await;
    let mut source = TcpSource::new(address).local_address(Ipv6Addr::LOCALHOST.into());
    let error = source.next_link().await.unwrap_err();
    assert!(matches!(tcp_error(&error), TcpError::InvalidAddress { .. }), "{error:?}");
    assert!(source.is_fatal(&error));
}

#[tokio::test]
async fn a_name_is_reached_at_its_addresses_of_the_local_family() {
    let (_listener, address) = listen().await;
    let port = address.rsplit_once(':').unwrap().1;
    let mut source =
        TcpSource::new(format!("localhost:{port}")).local_address(Ipv4Addr::LOCALHOST.into());
    assert_eq!(dialled(&mut source).await, address);
}

#[tokio::test]
async fn an_address_whose_link_led_nowhere_is_tried_last() {
    let (_first, first) = listen().await;
    let (_second, second) = listen().await;
    let mut source = TcpSource::new(&first).or(&second);
    assert_eq!(dialled(&mut source).await, first);
    source.link_failed(&io::Error::other("it does not say hello"));
    assert_eq!(dialled(&mut source).await, second);
    source.link_failed(&io::Error::other("nor does this one"));
    assert_eq!(dialled(&mut source).await, first);
    // This one works, so that it is the first choice from now on.
    assert_eq!(dialled(&mut source).await, first);
    source.link_failed(&io::Error::other("it does not work any more"));
    assert_eq!(dialled(&mut source).await, second);
    assert_eq!(dialled(&mut source).await, second);
}

/// The options of a socket that a link over it was made of.
async fn with_keepalive(keepalive: Option<Keepalive>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    // The link owns its socket, so a second handle shows the options.
    let twin = SockRef::from(&stream).try_clone().unwrap();
    let config = TcpConfig { keepalive, ..TcpConfig::default() };
    let _link = TcpLink::from_stream(stream, &config).unwrap();
    TcpStream::from_std(twin.into()).unwrap()
}

#[tokio::test]
async fn keepalive_is_off_unless_asked_for() {
    let stream = with_keepalive(None).await;
    assert!(!SockRef::from(&stream).keepalive().unwrap());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn keepalive_is_set_as_documented() {
    #[track_caller]
    fn check(stream: &TcpStream, idle: u64, interval: u64, retries: u32) {
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(idle));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(interval));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), retries);
    }
    check(&with_keepalive(Some(Keepalive::default())).await, 15, 5, 3);
    let (idle, interval) = (Duration::from_secs(60), Duration::from_secs(7));
    check(&with_keepalive(Some(Keepalive { idle, interval, retries: 9 })).await, 60, 7, 9);
    // What the system would refuse is rounded up.
    let (idle, interval) = (Duration::ZERO, Duration::from_millis(1));
    check(&with_keepalive(Some(Keepalive { idle, interval, retries: 0 })).await, 1, 1, 1);
}
