//! What the public types are to their users beside their methods: which threads they may be on,
//! what they print, and how errors lead to their causes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::error::Error;
use std::fmt::{Debug, Display};
use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use rejoin_core::protocol::*;
use rejoin_core::*;

fn assert_send<T: Send>(_: T) {}
fn is_send_sync<T: Send + Sync + Unpin + Debug>() {}

/// Compiles only if it is so; never runs.
macro_rules! pin_auto_traits {
    ($($name:ident: [$($type:ty),* $(,)?];)*) => {
        $(#[test] fn $name() { $(is_send_sync::<$type>();)* })*
    };
}

pin_auto_traits! {
    conduits_are_send_sync_unpin_and_debug: [
        StableConduit<String>, StableTx<String>, StableRx<String>, StablePermit<'static, String>,
        StableListener<String>, BareConduit<String>, BareTx<String>, BareRx<String>,
        BarePermit<'static, String>, StableStream<String>, StableSink<String>, BareStream<String>,
        BareSink<String>, SelfRef<String>, SelfRef<Raw>, Raw, RawBytes, FacetPostcard,
        FacetPostcardBorrowed,
    ];
    settings_and_figures_are_send_sync_unpin_and_debug: [
        StableConfig, ListenerConfig, RedialPolicy, BareConfig, MemoryConfig, AcceptorConfig,
        AcceptorStats, AcceptorStatsHandle, Stats, Status, SuspendCause, Peer, FailoverPolicy,
        EntryFailure, Candidate<'static>, Drained, Unfinished, BlockPool, Progress,
    ];
    errors_are_send_sync_unpin_and_debug: [
        ConfigError, ConnectError, SendError, RecvError, AckError, SessionLost, BareSendError,
        BareRecvError, LinkLost, EncodeError, DecodeError, HelloError, FrameError, HandshakeError,
        ProtocolViolation, LossReason, RejectReason, DialHandshakeError, FailoverError,
    ];
    memory_links_are_send_sync_unpin_and_debug: [
        MemoryLink, MemoryTx, MemoryRx, MemoryListener, MemorySource, MemoryConnector,
        MemoryNetwork, Attachment<MemoryLink>, SplitLink<MemoryTx, MemoryRx>,
    ];
    the_protocol_is_send_sync_unpin_and_debug: [
        Session, SessionConfig, SessionCounters, Sessions, SessionId, Admission, SendLog, Batch,
        ClientHello, ServerHello, Opening, Profile, ResumeKey, Frame, Control, Settings, AckState,
        CloseReason, Head, PacketAck, PacketSeq, Position, Transmit, Event, Ending, DropCause,
        LinkGeneration, Role,
    ];
}

#[cfg(feature = "serde")]
pin_auto_traits! {
    serde_families_are_send_sync_unpin_and_debug: [Serde<String>, SerdePostcard];
}

/// Links behind pointers stay with one thread at a time, as their halves may.
#[test]
fn boxed_links_can_be_sent() {
    fn is_send<T: Send + Unpin + Debug>() {}
    is_send::<(BoxLinkTx, BoxLinkRx, BoxLink)>();
    fn is_send_only<T: Send + ?Sized>() {}
    is_send_only::<dyn DynLinkSource>();
    is_send_only::<(Failover, ListenerSet, BoxUpgrade)>();
    is_send_only::<SourceListener<MemorySource>>();
    is_send_only::<AcceptorSource<MemoryListener>>();
}

#[tokio::test(start_paused = true)]
async fn every_public_future_can_be_sent() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<String>::new(listener);
    assert_send(listener.accept());
    assert_send(StableConduit::<String>::connect(connector.source()));
    assert_send(StableConduit::<Raw>::connect_with(connector.source(), StableConfig::default()));
    assert_send(connector.connect());

    let (tx, mut rx) = StableConduit::<String>::connect(connector.source()).await.unwrap().split();
    let item = String::new();
    assert_send(tx.send(&item));
    assert_send(tx.reserve());
    assert_send(tx.acked(Position::default()));
    assert_send(tx.flush_acked());
    assert_send(rx.recv());
    assert_send(tx.clone().close());
    assert_send(tx.close_with(CloseReason::default()));

    let (near, far) = memory_link_pair(MemoryConfig::default());
    assert_send(prepare_acceptor_attachment(far));
    let (tx, mut rx) = BareConduit::<String>::new(near).split();
    assert_send(tx.send(&item));
    assert_send(tx.reserve());
    assert_send(rx.recv());
    assert_send(tx.close());
}

/// Walks an error down to its root; none says again what the one below it says.
#[track_caller]
fn check(error: &(dyn Error + 'static), depth: usize, root: &str) {
    let chain: Vec<_> = std::iter::successors(Some(error), |&error| error.source()).collect();
    assert_eq!(chain.len(), depth, "{chain:?}");
    let texts: Vec<_> = chain.iter().map(ToString::to_string).collect();
    for (text, cause) in texts.iter().zip(texts.iter().skip(1)) {
        assert!(!text.contains(cause.as_str()), "`{text}` repeats `{cause}`");
    }
    for error in &chain {
        is_a_sentence(error);
    }
    assert_eq!(chain.last().unwrap().to_string(), root);
}

#[track_caller]
fn is_a_sentence(error: impl Display) {
    let text = error.to_string();
    let first = text.chars().next().expect("not empty");
    assert!(!first.is_uppercase() && !text.ends_with('.') && !text.contains('\n'), "{text:?}");
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the pipe broke")
}

#[test]
fn errors_lead_to_their_causes() {
    let lost = || LinkLost(Arc::new(broken()));
    check(&BareSendError::Lost(lost()), 3, "the pipe broke");
    check(&BareRecvError::Lost(lost()), 3, "the pipe broke");
    check(&BareSendError::Encode(EncodeError::new("no form")), 3, "no form");
    check(&SendError::Encode(EncodeError::new("no form")), 3, "no form");
    check(
        &ConnectError::Config(ConfigError::PingTooRare),
        2,
        &ConfigError::PingTooRare.to_string(),
    );
    check(&ConnectError::Fatal(broken()), 2, "the pipe broke");
    let unreachable = ConnectError::Unreachable { attempts: 3, source: broken() };
    check(&unreachable, 2, "the pipe broke");
    check(&ConnectError::Refused(LossReason::Stopped), 2, &LossReason::Stopped.to_string());
    let decode = |source| BareRecvError::Decode {
        position: Position::new(1),
        source,
        bytes: bytes::Bytes::new(),
    };
    check(&decode(DecodeError::new("cut off")), 3, "cut off");
    let peer = || Peer::at("there:1");
    for error in [
        DialHandshakeError::NotThisProtocol { peer: peer(), source: broken() },
        DialHandshakeError::LinkFailed { peer: peer(), source: broken() },
    ] {
        check(&error, 2, "the pipe broke");
        check(&io::Error::from(error), 2, "the pipe broke");
    }
    let magic = HelloError::Magic.to_string();
    check(&ProtocolViolation::from(HelloError::Magic), 2, &magic);
    check(&ProtocolViolation::from(FrameError::Truncated), 2, &FrameError::Truncated.to_string());
    check(&HandshakeError::Lost(LossReason::Expired), 2, &LossReason::Expired.to_string());
    check(&EntryFailure::Failed(broken()), 2, "the pipe broke");
    check(&EntryFailure::Fatal(Arc::new(broken())), 2, "the pipe broke");
    for error in [HelloError::Magic, HelloError::Length { actual: 3 }] {
        is_a_sentence(error);
    }
    for error in [FrameError::Truncated, FrameError::VarintTooLarge] {
        is_a_sentence(error);
    }
    for error in [BareSendError::Full, BareSendError::Closed] {
        check(&error, 1, &error.to_string());
    }
}

#[test]
fn programs_with_io_errors_lose_nothing_of_them() {
    use io::ErrorKind;

    #[track_caller]
    fn check_kind(error: impl Into<io::Error>, kind: ErrorKind) {
        let error = error.into();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.get_ref().is_some());
    }
    check_kind(ConfigError::PingTooRare, ErrorKind::InvalidInput);
    check_kind(ConnectError::Fatal(broken()), ErrorKind::BrokenPipe);
    check_kind(ConnectError::Refused(LossReason::Stopped), ErrorKind::ConnectionRefused);
    check_kind(SendError::Full, ErrorKind::WouldBlock);
    check_kind(SendError::Expired, ErrorKind::TimedOut);
    check_kind(SendError::Closed, ErrorKind::BrokenPipe);
    check_kind(AckError::NotSent(Position::from(7)), ErrorKind::InvalidInput);
    check_kind(LinkLost(Arc::new(broken())), ErrorKind::BrokenPipe);
    check_kind(BareSendError::from(LinkLost(Arc::new(broken()))), ErrorKind::BrokenPipe);
    check_kind(BareSendError::Full, ErrorKind::WouldBlock);
    let error = io::Error::from(BareRecvError::from(LinkLost(Arc::new(broken()))));
    check(&error, 3, "the pipe broke");
    assert_eq!(u64::from(Position::from(7)), 7);
}

/// The way down from what a sender sees, for a session that was really lost.
#[tokio::test(start_paused = true)]
async fn a_lost_session_says_why() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<String>::new(listener);
    let mut config = StableConfig::default();
    config.outage_max = std::time::Duration::from_secs(1);
    let conduit = StableConduit::<String>::connect_with(connector.source(), config).await.unwrap();
    let _accepted = listener.accept().await.unwrap();
    let (tx, mut rx) = conduit.split();
    connector.network().refuse_dials();
    connector.network().cut_links();
    let error = rx.recv().await.unwrap_err();
    check(&error, 3, &LossReason::OutageLimit.to_string());
    let error = tx.send(&"late".into()).await.unwrap_err();
    check(&error, 3, &LossReason::OutageLimit.to_string());
    let SendError::Lost(lost) = &error else { panic!("{error:?}") };
    let reason = lost.source().and_then(|source| source.downcast_ref());
    assert_eq!(reason, Some(&LossReason::OutageLimit));
    check(&AckError::Lost(lost.clone()), 3, &LossReason::OutageLimit.to_string());
}

proptest! {
    /// Neither a key nor whatever holds one shows a byte of it, in any notation.
    #[test]
    fn debug_shows_nothing_of_a_key(bytes: [u8; 16], others: [u8; 16]) {
        let shown = |bytes| {
            let key = ResumeKey::from_bytes(bytes);
            let nonce = ClientHello::fresh_extended(key);
            let resume = ClientHello::resume(Profile::Extended, key, None);
            let mut sessions = Sessions::new(4);
            let admitted = sessions.admit(&nonce, key);
            assert!(matches!(admitted, Admission::New(..)));
            format!("{key:?} {key:#?} {nonce:?} {:?} {resume:?} {:?} {sessions:?}",
                nonce.opening(), resume.opening())
        };
        // What does not depend on the key cannot give anything of it away.
        prop_assert_eq!(shown(bytes), shown(others));
    }
}

/// Gives everything back until the peer closes. Written once, for every conduit.
async fn echo(conduit: impl Conduit<Msg = String>) -> usize {
    let (tx, mut rx) = conduit.split();
    let mut count = 0;
    while let Some(message) = rx.recv().await.expect("no message is lost") {
        let permit = tx.reserve().await.expect("the peer is there");
        permit.send(message.get()).expect("there is room");
        count += 1;
    }
    tx.close().await.expect("everything arrives");
    count
}

async fn talk(conduit: impl Conduit<Msg = String>) {
    let (tx, mut rx) = conduit.split();
    for n in 0..100 {
        tx.reserve().await.unwrap().send(&format!("message {n}")).unwrap();
        assert_eq!(*rx.recv().await.unwrap().unwrap(), format!("message {n}"));
    }
    tx.close().await.unwrap();
    assert!(rx.recv().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn code_for_any_conduit_runs_over_each() {
    let (near, far) = memory_link_pair(MemoryConfig::default());
    let server = tokio::spawn(echo(BareConduit::<String>::new(far)));
    talk(BareConduit::<String>::new(near)).await;
    assert_eq!(server.await.unwrap(), 100);

    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<String>::new(listener);
    let server = tokio::spawn(async move { echo(listener.accept().await.unwrap()).await });
    talk(StableConduit::<String>::connect(connector.source()).await.unwrap()).await;
    assert_eq!(server.await.unwrap(), 100);
}
