//! The known defects of the reference, each with a test that fails on it. Defect 15, a length of
//! the peer's choice that is allocated unchecked, can only be had by a framing: its test,
//! `defect_15_…`, is in `rejoin-stream`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rejoin_core::protocol::{
    Batch, Position, Profile, ProtocolViolation, ResumeKey, Role, Session, SessionConfig,
};
use rejoin_core::{
    Codec, DecodeError, EncodeError, Link, LinkRx, LinkTx, MemoryConfig, MsgFamily, SendError,
    StableConduit, StableConfig, StableListener, Status, memory_listener,
};
use tokio::time::timeout;

use crate::common::{
    Drop, World, expect_all, fill, is_suspended, item, narrow, number, poll_times, recv, room,
    send, send_all, settle, until, within,
};
use crate::faults::Plan;
use crate::peer::{Peer, frame};

fn session(role: Role, first: u64) -> Session {
    let config = SessionConfig {
        profile: Profile::Base,
        item_bytes_max: 1 << 20,
        send_log_bytes_max: 1 << 20,
        window_bytes: 1 << 20,
        ack_frames_max: 64,
        ack_delay: Duration::from_millis(50),
        ping_interval: Duration::from_secs(5),
        peer_dead_after: Duration::from_secs(20),
        outage_max: Duration::from_secs(300),
        unproved_max: Duration::from_secs(10),
        linger: Duration::from_secs(10),
        manual_ack: false,
    };
    let nonce = ResumeKey::from_bytes([1; 16]);
    Session::starting_at(role, config, nonce, Position::new(first))
}

/// Gives both a new link.
fn shake_hands(now: Instant, near: &mut Session, far: &mut Session) {
    let key = ResumeKey::from_bytes([2; 16]);
    let (_, answer) = far.handle_client_hello(now, &near.client_hello(), key, usize::MAX).unwrap();
    near.handle_server_hello(now, &answer, usize::MAX).unwrap();
}

fn batch(range: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::default();
    for n in range {
        batch.buffer().extend_from_slice(&item(n));
        batch.commit();
    }
    batch
}

/// What `from` says next, as one payload.
fn payload(from: &mut Session, now: Instant) -> Option<Bytes> {
    let transmit = from.poll_transmit(now)?;
    Some([transmit.head.as_bytes(), &transmit.body].concat().into())
}

/// Brings everything that `from` has to say to `to`; gives the items that came out there.
fn deliver(now: Instant, from: &mut Session, to: &mut Session) -> Vec<u64> {
    let mut items = Vec::new();
    while let Some(payload) = payload(from, now) {
        let link = to.link().unwrap();
        items.extend(to.handle_frame(now, link, payload).unwrap().map(|it| number(&it)));
    }
    items
}

#[test]
fn defect_01_sequence_wraps_and_every_frame_is_dropped_as_a_duplicate() {
    let now = Instant::now();
    let first = u64::from(u32::MAX) - 2;
    let mut near = session(Role::Initiator, first);
    let mut far = session(Role::Acceptor, first);
    shake_hands(now, &mut near, &mut far);
    for turn in 0..4 {
        near.append(&mut batch(2 * turn..2 * turn + 2));
        assert_eq!(deliver(now, &mut near, &mut far), [2 * turn, 2 * turn + 1]);
        far.append(&mut batch(turn..turn + 1));
        assert_eq!(deliver(now, &mut far, &mut near), [turn], "and with it the acknowledgement");
        assert!(near.log().is_empty(), "acknowledged across the wrap");
        near.handle_link_down(now, near.link().unwrap());
        shake_hands(now, &mut near, &mut far);
    }
}

#[test]
fn defect_02_a_gap_is_delivered_without_a_word() {
    let now = Instant::now();
    let (mut near, mut far) = (session(Role::Initiator, 0), session(Role::Acceptor, 0));
    shake_hands(now, &mut near, &mut far);
    let link = far.link().unwrap();
    let mut arrive = |seq| far.handle_frame(now, link, frame(seq, None, b"x").into());
    assert!(arrive(0).unwrap().is_some());
    let error = arrive(5).unwrap_err();
    let expected = ProtocolViolation::Gap { expected: Position::new(1), actual: Position::new(5) };
    assert_eq!(error, expected);
}

#[tokio::test(start_paused = true)]
async fn defect_03_a_stranger_with_a_made_up_key_gets_what_is_anothers() {
    let mut world = World::new();
    let (near, far) = world.open().await;
    let mut status = far.status();
    world.network.refuse_dials();
    world.network.cut_links();
    until(&mut status, is_suspended).await;
    let (far_tx, _far_rx) = far.split();
    send(&far_tx, 7).await.unwrap();

    world.network.answer_dials();
    let mut stranger = Peer::dial(&world.connector).await;
    stranger.send_client_hello(crate::peer::EXTENDED, Some([0x55; 16]), None).await;
    let answer = stranger.recv_server_hello().await;
    assert_eq!(answer.flags & 0x01, 0x01, "rejected");
    assert_eq!(answer.number, 1, "unknown key");
    assert_eq!(stranger.recv().await, None, "and nothing else");

    let (_near_tx, mut near_rx) = near.split();
    expect_all(&mut near_rx, 7..8).await;
}

#[tokio::test(start_paused = true)]
async fn defect_04_a_time_out_around_recv_loses_the_receive_half() {
    let mut world = World::new();
    let ((near_tx, mut near_rx), (far_tx, _far_rx)) = world.halves().await;
    for n in 0..10 {
        timeout(Duration::from_millis(30), recv(&mut near_rx)).await.unwrap_err();
        send(&far_tx, n).await.unwrap();
        expect_all(&mut near_rx, n..n + 1).await;
    }
    assert_eq!(near_tx.stats().resumes, 0, "the link was healthy");
}

#[tokio::test(start_paused = true)]
async fn defect_05_cancelling_recv_during_a_reconnect_hangs_the_next() {
    for when in [Drop::Pending, Drop::Woken] {
        let mut world = World::new();
        let ((near_tx, mut near_rx), (far_tx, _far_rx)) = world.halves().await;
        let mut status = near_tx.status();
        world.network.refuse_dials();
        world.network.cut_links();
        until(&mut status, is_suspended).await;
        send(&far_tx, 0).await.unwrap();
        if when == Drop::Pending {
            assert!(poll_times(near_rx.recv(), 1, when).await.is_none());
            world.network.answer_dials();
        } else {
            world.network.answer_dials();
            assert!(within(poll_times(near_rx.recv(), 1, when)).await.is_none());
        }
        expect_all(&mut near_rx, 0..1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn defect_06_both_ends_replay_before_they_read_and_hang() {
    let mut world = World::with(narrow(2), room(200, 200));
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = world.halves_with(room(200, 200)).await;
    settle().await;
    // Both have written everything, and nothing of it arrives.
    world.network.freeze_links();
    send_all(&near_tx, 0..150).await;
    send_all(&far_tx, 0..150).await;
    settle().await;
    world.network.cut_links();
    let both =
        async { tokio::join!(expect_all(&mut near_rx, 0..150), expect_all(&mut far_rx, 0..150)) };
    within(both).await;
    within(near_tx.flush_acked()).await.unwrap();
    within(far_tx.flush_acked()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn defect_07_a_graceful_close_surfaces_as_an_io_error() {
    let mut world = World::new();
    let ((near_tx, mut near_rx), (far_tx, mut far_rx)) = world.halves().await;
    send_all(&far_tx, 0..3).await;
    within(far_tx.close()).await.unwrap();
    expect_all(&mut near_rx, 0..3).await;
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None, "and so it stays");
    assert!(matches!(send(&near_tx, 0).await, Err(SendError::Closed)));
    assert_eq!(within(recv(&mut far_rx)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn defect_08_one_way_traffic_never_trims_the_replay_buffer() {
    // Nobody reads, so that nothing but an acknowledgement on its own can tell what has arrived.
    let mut world = World::with(MemoryConfig::default(), room(100, 2000));
    let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves_with(room(10, 100)).await;
    within(send_all(&near_tx, 0..1000)).await;
    within(near_tx.flush_acked()).await.unwrap();
    assert_eq!(near_tx.stats().send_log_bytes, 0);
    within(expect_all(&mut far_rx, 0..1000)).await;
}

/// The transport's own link, listener and source go into a conduit as they are, and none of them
/// has to be `Clone`. Over TCP this is shown by that crate.
#[tokio::test(start_paused = true)]
async fn defect_09_it_cannot_be_combined_with_its_own_links() {
    fn is_link<L: Link<Tx: LinkTx, Rx: LinkRx>>(_: &L) {}
    let (listener, connector) = memory_listener(MemoryConfig::default());
    is_link(&connector.connect().await.unwrap());
    let mut listener = StableListener::<String>::new(listener);
    // This source's links are not `Clone`.
    let plan = Plan::new();
    let dial = StableConduit::<String>::connect(plan.source(&connector));
    let (near, far) = within(async { tokio::join!(dial, listener.accept()) }).await;
    near.unwrap().split().0.send(&"hello".to_owned()).await.unwrap();
    let mut far_rx = far.unwrap().split().1;
    assert_eq!(within(far_rx.recv()).await.unwrap().unwrap().as_str(), "hello");
}

#[test]
fn defect_10_a_number_is_taken_apart_from_the_storing_of_its_bytes() {
    // Whatever comes between: a link that goes, one that comes, or more items; what travels is
    // numbered in the order in which it was accepted. The test of clones that send at once from
    // several threads is in `race.rs`.
    let now = Instant::now();
    let (mut near, mut far) = (session(Role::Initiator, 0), session(Role::Acceptor, 0));
    near.append(&mut batch(0..2));
    shake_hands(now, &mut near, &mut far);
    near.append(&mut batch(2..4));
    let mut items = Vec::new();
    for round in 0..5 {
        // One is written and arrives, one is written and lost, then more are accepted.
        let arrives = payload(&mut near, now).unwrap();
        let link = far.link().unwrap();
        items.extend(far.handle_frame(now, link, arrives).unwrap().map(|it| number(&it)));
        assert!(payload(&mut near, now).is_some(), "lost");
        near.handle_link_down(now, near.link().unwrap());
        near.append(&mut batch(4 + round..5 + round));
        shake_hands(now, &mut near, &mut far);
    }
    items.extend(deliver(now, &mut near, &mut far));
    assert_eq!(items, (0..9).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn defect_11_one_failed_dial_or_handshake_ends_the_session() {
    let mut world = World::new();
    let plan = Plan::new();
    plan.dials_to_fail.store(3, Ordering::Relaxed);
    plan.answers_to_lose.store(2, Ordering::Relaxed);
    let dial = StableConduit::connect(plan.source(&world.connector));
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let (near_tx, _near_rx) = near.unwrap().split();
    let (_far_tx, mut far_rx) = far.unwrap().split();
    settle().await;

    plan.dials_to_fail.store(3, Ordering::Relaxed);
    plan.answers_to_lose.store(2, Ordering::Relaxed);
    world.network.cut_links();
    send_all(&near_tx, 0..5).await;
    expect_all(&mut far_rx, 0..5).await;
    assert_eq!(plan.dial_count(), 12);
}

#[tokio::test(start_paused = true)]
async fn defect_12_a_server_cannot_route_by_key_and_keeps_no_sessions() {
    let mut world = World::new();
    let mut pairs = Vec::new();
    for n in 0..20 {
        let (near, far) = world.halves().await;
        send(&near.0, n).await.unwrap();
        pairs.push((near, far));
    }
    world.network.cut_links();
    for (n, ((near_tx, _), _)) in pairs.iter().enumerate() {
        send(near_tx, 100 + n as u64).await.unwrap();
    }
    for (n, (_, (_, far_rx))) in pairs.iter_mut().enumerate() {
        let n = n as u64;
        expect_all(far_rx, n..n + 1).await;
        expect_all(far_rx, 100 + n..101 + n).await;
    }
    assert_eq!(world.listener.sessions(), 20);
}

#[tokio::test(start_paused = true)]
async fn defect_13_a_lost_server_hello_makes_the_clients_key_stale() {
    let mut world = World::new();
    let plan = Plan::new();
    let dial = StableConduit::connect(plan.source(&world.connector));
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let (near_tx, _near_rx) = near.unwrap().split();
    let (_far_tx, mut far_rx) = far.unwrap().split();
    settle().await;
    for n in 0..4 {
        // More answers in a row are lost than a table keeps keys.
        plan.answers_to_lose.store(9, Ordering::Relaxed);
        world.network.cut_links();
        send(&near_tx, n).await.unwrap();
        expect_all(&mut far_rx, n..n + 1).await;
    }
    assert_eq!(world.listener.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn defect_14_the_wake_up_after_a_reconnect_is_missed() {
    // Every moment of an outage is a moment in which somebody begins to wait.
    for turns in 0..40 {
        let mut world = World::with(MemoryConfig::default(), room(4, 4));
        let ((near_tx, _near_rx), (_far_tx, mut far_rx)) = world.halves_with(room(4, 4)).await;
        settle().await;
        world.network.freeze_links();
        let full = fill(&near_tx);
        world.network.cut_links();
        let receiving = tokio::spawn(async move {
            for _ in 0..full + 1 {
                within(recv(&mut far_rx)).await.unwrap();
            }
        });
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        within(send(&near_tx, 0)).await.unwrap();
        within(near_tx.flush_acked()).await.unwrap();
        within(receiving).await.unwrap();
    }
}

/// Messages that are encoded as they are, but for odd ones, which fail half-way.
struct Even;

struct EvenCodec;

impl MsgFamily for Even {
    type Msg<'a> = u64;
    type Codec = EvenCodec;

    fn shorten<'short, 'long: 'short>(msg: &'short u64) -> &'short u64 {
        msg
    }
}

impl Codec<Even> for EvenCodec {
    fn encode(n: &u64, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.extend_from_slice(&item(*n)[..4]);
        if n % 2 == 1 {
            return Err(EncodeError::new("odd"));
        }
        out.extend_from_slice(&item(*n)[4..]);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<u64, DecodeError> {
        Ok(number(bytes))
    }
}

#[tokio::test(start_paused = true)]
async fn defect_16_a_message_that_fails_leaves_a_hole_in_the_sequence() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<Even>::new(listener);
    let dial = StableConduit::<Even>::connect(connector.source());
    let (near, far) = within(async { tokio::join!(dial, listener.accept()) }).await;
    let (near_tx, _near_rx) = near.unwrap().split();
    let (_far_tx, mut far_rx) = far.unwrap().split();
    let mut positions = Vec::new();
    for n in 0..30 {
        let sent = match n % 3 {
            0 => near_tx.send(&n).await,
            1 => near_tx.try_send(&n),
            _ => near_tx.reserve().await.unwrap().send(&n),
        };
        match sent {
            Ok(position) => positions.push(position.get()),
            Err(error) => assert!(n % 2 == 1 && matches!(error, SendError::Encode(_))),
        }
    }
    assert_eq!(positions, (0..15).collect::<Vec<_>>());
    for n in 0..15 {
        assert_eq!(*within(far_rx.recv()).await.unwrap().unwrap().get(), 2 * n);
    }
}

#[tokio::test(start_paused = true)]
async fn defect_17_the_replay_buffer_is_unbounded_and_silence_and_absence_go_unnoticed() {
    let mut config = StableConfig::default();
    config.send_log_bytes_max = 1000;
    let mut world = World::with(MemoryConfig::default(), config.clone());
    let ((near_tx, _near_rx), (far_tx, _far_rx)) = world.halves_with(config.clone()).await;
    settle().await;
    // Nobody answers any more, and no link says so.
    world.network.freeze_links();
    world.network.ignore_dials();
    let start = tokio::time::Instant::now();
    assert!(fill(&near_tx) <= 1000 / 40, "bounded");
    let (mut near_status, mut far_status) = (near_tx.status(), far_tx.status());
    until(&mut near_status, is_suspended).await;
    assert!(start.elapsed() <= config.peer_dead_after, "noticed");
    until(&mut near_status, Status::is_final).await;
    until(&mut far_status, Status::is_final).await;
    let most = config.peer_dead_after + config.outage_max + Duration::from_secs(1);
    assert!(start.elapsed() <= most, "expired");
    assert_eq!(world.listener.sessions(), 0);
}
