//! The bytes on the wire: golden vectors of both profiles in both directions, and what becomes of
//! every damaged variant of them.
//!
//! The vectors are those of `docs/protocol.md`, which this test reads.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use facet::Facet;
use proptest::prelude::*;
use rejoin_core::protocol::{
    AckState, Batch, CLOSE_REASON_MAX, ClientHello, CloseReason, Control, Frame, FrameError,
    HELLO_LEN, Head, HelloError, PacketAck, PacketSeq, Position, Profile, RejectReason, ResumeKey,
    Role, ServerHello, Session, SessionConfig, Settings,
};
use rejoin_core::{Codec, FacetPostcard, MsgFamily};

#[derive(Facet, PartialEq, Debug, Clone)]
struct Reading {
    id: u64,
    name: String,
    value: f64,
    tags: Vec<u32>,
    note: Option<String>,
}

#[derive(Facet, PartialEq, Debug, Clone)]
#[repr(u8)]
enum Msg {
    Ping,
    Text(String),
    Reading(Reading),
    Blob { id: u32, bytes: Vec<u8> },
}

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The bytes that the document gives under this name.
#[track_caller]
fn vector(name: &str) -> Vec<u8> {
    let row = format!("| `{name}` | `");
    let rest = DOCUMENT.split_once(&row).unwrap_or_else(|| panic!("no vector {name}")).1;
    hex(rest.split_once('`').expect("a closing quote").0)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|it| !it.is_whitespace())
        .map(|it| u8::try_from(it.to_digit(16).expect("a hexadecimal digit")).expect("a digit"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn counting_key() -> ResumeKey {
    ResumeKey::from_bytes(std::array::from_fn(|index| u8::try_from(index + 1).expect("small")))
}

fn nines() -> ResumeKey {
    ResumeKey::from_bytes([9; 16])
}

fn client_hellos() -> Vec<(&'static str, ClientHello)> {
    let last = Some(PacketSeq(2));
    vec![
        ("client_hello_fresh", ClientHello::fresh()),
        ("client_hello_resume", ClientHello::resume(Profile::Base, counting_key(), last)),
        ("x_client_hello_fresh", ClientHello::fresh_extended(counting_key())),
        ("x_client_hello_resume", ClientHello::resume(Profile::Extended, nines(), last)),
        ("x_client_hello_resume_nothing", ClientHello::resume(Profile::Extended, nines(), None)),
    ]
}

fn server_hellos() -> Vec<(&'static str, ServerHello)> {
    let accepted = |profile, key, last: Option<u32>| ServerHello::Accepted {
        profile,
        key,
        last_received: last.map(PacketSeq),
    };
    let rejected = |reason| ServerHello::Rejected { profile: Profile::Extended, reason };
    let unspecified =
        ServerHello::Rejected { profile: Profile::Base, reason: RejectReason::Unspecified };
    vec![
        ("server_hello_fresh", accepted(Profile::Base, counting_key(), None)),
        ("server_hello_resumed", accepted(Profile::Base, nines(), Some(3))),
        ("server_hello_rejected", unspecified),
        ("x_server_hello_fresh", accepted(Profile::Extended, counting_key(), None)),
        ("x_server_hello_resumed", accepted(Profile::Extended, nines(), Some(u32::MAX))),
        ("x_server_hello_unknown_key", rejected(RejectReason::UnknownKey)),
        ("x_server_hello_closed", rejected(RejectReason::Closed)),
        ("x_server_hello_stale", rejected(RejectReason::Stale)),
        ("x_server_hello_reason_300", rejected(RejectReason::Other(300))),
    ]
}

/// The data frames of the vectors: number, acknowledgement, item.
fn data_frames() -> Vec<(&'static str, u32, Option<u32>, Msg)> {
    let text = |text: &str| Msg::Text(text.to_owned());
    vec![
        ("seq0_ping", 0, None, Msg::Ping),
        ("seq1_text", 1, None, text("héllo")),
        (
            "seq2_reading",
            2,
            None,
            Msg::Reading(Reading {
                id: 123_456_789_012,
                name: "boiler/7".to_owned(),
                value: -21.5,
                tags: vec![0, 127, 128, 4_294_967_295],
                note: None,
            }),
        ),
        (
            "seq3_reading",
            3,
            None,
            Msg::Reading(Reading {
                id: 0,
                name: String::new(),
                value: f64::INFINITY,
                tags: vec![],
                note: Some("ok".to_owned()),
            }),
        ),
        ("seq4_blob", 4, None, Msg::Blob { id: 300, bytes: vec![0, 255, 1, 254] }),
        ("seq5_ack2_text", 5, Some(2), text("with ack")),
        ("server_seq0_text", 0, None, text("from server")),
    ]
}

fn control_frames() -> Vec<(&'static str, u32, Control)> {
    let state = |ack: Option<u32>, limit| AckState { ack: ack.map(ack_of), limit };
    let settings = |state| {
        let (item_bytes_max, send_log_bytes) = (16 << 20, 4 << 20);
        Control::Settings(Settings { state, item_bytes_max, send_log_bytes })
    };
    vec![
        ("x_settings_first", 0, settings(state(None, 4 << 20))),
        ("x_settings_resumed", 6, settings(state(Some(2), 4_194_400))),
        ("x_ack", 6, Control::Ack(state(Some(300), 5_000_000_000))),
        ("x_ack_window_only", 0, Control::Ack(state(None, 1))),
        ("x_ping", 128, Control::Ping(1)),
        ("x_pong", 0, Control::Pong(u64::MAX)),
        ("x_close", 6, Control::Close(CloseReason::new(7, "done"))),
        ("x_close_plain", u32::MAX, Control::Close(CloseReason::default())),
        ("x_close_ack", 6, Control::CloseAck),
        ("x_going_away", 6, Control::GoingAway { retry_after_ms: 1500 }),
    ]
}

fn ack_of(seq: u32) -> PacketAck {
    PacketAck { max_delivered: PacketSeq(seq) }
}

fn item(msg: &Msg) -> Bytes {
    let mut out = BytesMut::new();
    <FacetPostcard as Codec<Msg>>::encode(msg, &mut out).expect("it has an encoding");
    out.freeze()
}

fn encode(frame: &Frame) -> Bytes {
    match frame {
        Frame::Data { seq, ack, item } => [Head::data(*seq, *ack).as_bytes(), item].concat().into(),
        Frame::Control { seq, control } => control.encode(*seq),
    }
}

/// Every frame of the vectors, with the profiles that know it.
fn frames() -> Vec<(&'static str, Vec<Profile>, Frame)> {
    let data = data_frames().into_iter().map(|(name, seq, ack, msg)| {
        let frame = Frame::Data { seq: PacketSeq(seq), ack: ack.map(ack_of), item: item(&msg) };
        (name, vec![Profile::Base, Profile::Extended], frame)
    });
    let control = control_frames().into_iter().map(|(name, seq, control)| {
        (name, vec![Profile::Extended], Frame::Control { seq: PacketSeq(seq), control })
    });
    data.chain(control).collect()
}

#[test]
fn hellos_match_the_vectors_in_both_directions() {
    for (name, hello) in client_hellos() {
        let bytes = vector(name);
        assert_eq!(hello.encode().to_vec(), bytes, "{name}");
        assert_eq!(ClientHello::decode(&bytes), Ok(hello), "{name}");
    }
    for (name, hello) in server_hellos() {
        let bytes = vector(name);
        assert_eq!(hello.encode().to_vec(), bytes, "{name}");
        assert_eq!(ServerHello::decode(&bytes), Ok(hello), "{name}");
    }
}

#[test]
fn frames_match_the_vectors_in_both_directions() {
    for (name, profiles, frame) in frames() {
        let bytes = Bytes::from(vector(name));
        assert_eq!(encode(&frame), bytes, "{name}");
        for profile in profiles {
            assert_eq!(Frame::decode(profile, bytes.clone()).as_ref(), Ok(&frame), "{name}");
        }
        if let Frame::Control { .. } = frame {
            let tag = bytes[bytes.iter().position(|byte| *byte < 0x80).expect("a last byte") + 1];
            assert_eq!(Frame::decode(Profile::Base, bytes), Err(FrameError::UnknownTag { tag }));
        }
    }
}

#[test]
fn items_match_the_vectors_in_both_directions() {
    for (name, _, _, msg) in data_frames() {
        let Ok(Frame::Data { item: bytes, .. }) = Frame::decode(Profile::Base, vector(name).into())
        else {
            panic!("{name} is a data frame");
        };
        let decoded = <FacetPostcard as Codec<Msg>>::decode(&bytes).expect(name);
        assert_eq!(Msg::shorten(&decoded), &msg, "{name}");
        assert_eq!(item(&msg), bytes, "{name}");
    }
}

fn session(role: Role) -> Session {
    let second = std::time::Duration::from_secs(1);
    let config = SessionConfig {
        profile: Profile::Base,
        item_bytes_max: 1 << 20,
        send_log_bytes_max: 1 << 20,
        window_bytes: 1 << 20,
        ack_frames_max: 64,
        ack_delay: second,
        ping_interval: 5 * second,
        peer_dead_after: 20 * second,
        outage_max: 300 * second,
        unproved_max: 60 * second,
        linger: 30 * second,
        manual_ack: false,
    };
    Session::new(role, config, ResumeKey::from_bytes([0; 16]))
}

fn append(session: &mut Session, msgs: &[Msg]) {
    let mut batch = Batch::default();
    for msg in msgs {
        <FacetPostcard as Codec<Msg>>::encode(msg, batch.buffer()).expect("it has an encoding");
        batch.commit();
    }
    session.append(&mut batch);
}

fn sent(session: &mut Session, now: Instant) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| session.poll_transmit(now))
        .map(|it| [it.head.as_bytes(), &it.body].concat())
        .collect()
}

// REPLAY-2
#[test]
fn an_initiator_says_the_vectors_and_replays_what_the_acceptor_lacks() {
    let now = Instant::now();
    let mut session = session(Role::Initiator);
    assert_eq!(session.client_hello().encode().to_vec(), vector("client_hello_fresh"));
    let answer = ServerHello::decode(&vector("server_hello_fresh")).unwrap();
    let link = session.handle_server_hello(now, &answer, usize::MAX).unwrap();

    let msgs: Vec<_> = data_frames().into_iter().map(|(_, _, _, msg)| msg).collect();
    append(&mut session, &msgs[..5]);
    let first = ["seq0_ping", "seq1_text", "seq2_reading", "seq3_reading", "seq4_blob"];
    assert_eq!(sent(&mut session, now), first.map(vector));
    for seq in 0..3 {
        let head = Head::data(PacketSeq(seq), None);
        let payload = [head.as_bytes(), &item(&Msg::Ping)].concat();
        assert!(session.handle_frame(now, link, payload.into()).unwrap().is_some());
    }
    append(&mut session, &msgs[5..6]);
    assert_eq!(sent(&mut session, now), [vector("seq5_ack2_text")]);

    session.handle_link_down(now, link);
    assert_eq!(session.client_hello().encode().to_vec(), vector("client_hello_resume"));
    let answer = ServerHello::decode(&vector("server_hello_resumed")).unwrap();
    session.handle_server_hello(now, &answer, usize::MAX).unwrap();
    // As the reference's replay, except that each frame carries today's acknowledgement.
    let replay = [vector("replay_seq4_ack2_blob"), vector("seq5_ack2_text")];
    assert_eq!(sent(&mut session, now), replay);
    let ours = Frame::decode(Profile::Base, replay[0].clone().into()).unwrap();
    let theirs = Frame::decode(Profile::Base, vector("seq4_blob").into()).unwrap();
    let (Frame::Data { seq, item, .. }, Frame::Data { seq: their_seq, item: their_item, .. }) =
        (ours, theirs)
    else {
        panic!("both are data frames");
    };
    assert_eq!((seq, item), (their_seq, their_item));
    assert_eq!(session.log().acked(), 4);
}

#[test]
fn an_acceptor_takes_the_vectors_and_answers_as_the_reference_does() {
    let now = Instant::now();
    let mut session = session(Role::Acceptor);
    let hello = ClientHello::decode(&vector("client_hello_fresh")).unwrap();
    let (link, answer) =
        session.handle_client_hello(now, &hello, counting_key(), usize::MAX).unwrap();
    assert_eq!(answer.encode().to_vec(), vector("server_hello_fresh"));
    append(&mut session, &[Msg::Text("from server".to_owned()), Msg::Ping, Msg::Ping]);
    assert_eq!(sent(&mut session, now)[0], vector("server_seq0_text"));
    for (name, _, _, msg) in data_frames().into_iter().take(4) {
        let taken = session.handle_frame(now, link, vector(name).into()).unwrap();
        assert_eq!(taken, Some(item(&msg)), "{name}");
    }
    // The link dies with frames 4 and 5 on it.
    session.handle_link_down(now, link);
    let hello = ClientHello::decode(&vector("client_hello_resume")).unwrap();
    let (link, answer) = session.handle_client_hello(now, &hello, nines(), usize::MAX).unwrap();
    assert_eq!(answer.encode().to_vec(), vector("server_hello_resumed"));
    assert!(session.log().is_empty(), "the hello says that all three arrived");
    for name in ["seq4_blob", "seq5_ack2_text"] {
        assert!(session.handle_frame(now, link, vector(name).into()).unwrap().is_some(), "{name}");
    }
    assert_eq!(session.received(), Position::new(6).get());
}

// HELLO-1
#[test]
fn a_hello_of_any_other_length_is_refused() {
    for (name, _) in client_hellos() {
        let bytes = vector(name);
        for len in (0..HELLO_LEN).chain([HELLO_LEN + 1, 4096]) {
            let mut damaged = bytes.clone();
            damaged.resize(len, 0);
            let refused = HelloError::Length { actual: len };
            assert_eq!(ClientHello::decode(&damaged), Err(refused));
            assert_eq!(ServerHello::decode(&damaged), Err(refused));
        }
    }
}

// HELLO-1 HELLO-2
#[test]
fn a_flipped_bit_of_a_hello_is_an_error_or_another_hello() {
    for (name, _) in client_hellos() {
        for damaged in flips(&vector(name)) {
            let magic_intact = damaged.starts_with(b"ROCH");
            let decoded = ClientHello::decode(&damaged);
            assert_eq!(decoded.is_ok(), magic_intact, "{name}");
            if let Ok(hello) = decoded {
                assert_eq!(ClientHello::decode(&hello.encode()), Ok(hello));
            }
        }
    }
    for (name, _) in server_hellos() {
        for damaged in flips(&vector(name)) {
            let magic_intact = damaged.starts_with(b"ROSH");
            let decoded = ServerHello::decode(&damaged);
            assert_eq!(decoded.is_ok(), magic_intact, "{name}");
            if let Ok(hello) = decoded {
                assert_eq!(ServerHello::decode(&hello.encode()), Ok(hello));
            }
        }
    }
}

// HELLO-2
#[test]
fn flags_and_fields_that_mean_nothing_are_ignored() {
    let mut bytes = vector("client_hello_fresh");
    bytes[4] |= 0x7c;
    bytes[5..25].fill(0xaa);
    assert_eq!(ClientHello::decode(&bytes), Ok(ClientHello::fresh()));
    let mut bytes = vector("server_hello_rejected");
    bytes[4] |= 0x7e;
    bytes[5..25].fill(0xaa);
    let rejected =
        ServerHello::Rejected { profile: Profile::Base, reason: RejectReason::Unspecified };
    assert_eq!(ServerHello::decode(&bytes), Ok(rejected));
}

// FRAME-2
#[test]
fn a_frame_that_ends_early_is_an_error() {
    for (name, profiles, frame) in frames() {
        let bytes = Bytes::from(vector(name));
        // Where the item begins, a data frame may end: an empty item is an item.
        let head_len = match &frame {
            Frame::Data { item, .. } => bytes.len() - item.len(),
            Frame::Control { .. } => bytes.len(),
        };
        for profile in profiles {
            for len in 0..head_len {
                let cut = Frame::decode(profile, bytes.slice(..len));
                assert_eq!(cut, Err(FrameError::Truncated), "{name} cut at {len}");
            }
        }
    }
}

// FRAME-2
#[test]
fn a_control_frame_that_goes_on_is_an_error() {
    for (name, _, _) in control_frames() {
        let mut bytes = vector(name);
        bytes.push(0);
        let longer = Frame::decode(Profile::Extended, bytes.into());
        assert_eq!(longer, Err(FrameError::TrailingBytes), "{name}");
    }
}

// FRAME-2
#[test]
fn fields_out_of_range_are_errors() {
    #[track_caller]
    fn check(bytes: &[u8], expected: FrameError) {
        let actual = Frame::decode(Profile::Extended, Bytes::copy_from_slice(bytes));
        assert_eq!(actual, Err(expected), "{bytes:02x?}");
    }
    check(&[0, 9], FrameError::UnknownTag { tag: 9 });
    check(&[0, 255], FrameError::UnknownTag { tag: 255 });
    // An optional acknowledgement is 0 or 1.
    check(&[0, 3, 2, 0], FrameError::UnknownTag { tag: 2 });
    // Numbers of 2³² and of six bytes.
    check(&[0x80, 0x80, 0x80, 0x80, 0x10, 0], FrameError::VarintTooLarge);
    check(&[0x80, 0x80, 0x80, 0x80, 0x80, 0, 0], FrameError::VarintTooLarge);
    check(&[0, 1, 0xff, 0xff, 0xff, 0xff, 0x1f], FrameError::VarintTooLarge);
    // A token of 2⁶⁴.
    let token = [0, 4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2];
    check(&token, FrameError::VarintTooLarge);
    // Reasons that are too long, claim 4 GiB, or are not UTF-8.
    let len = CLOSE_REASON_MAX + 1;
    let mut long = vec![0, 6, 0, 0x81, 0x02];
    assert_eq!(len, 0x101);
    long.extend(vec![b'x'; len]);
    check(&long, FrameError::Reason);
    check(&[0, 6, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], FrameError::Reason);
    check(&[0, 6, 0, 2, 0xc3, 0x28], FrameError::Reason);
}

// FRAME-3
#[test]
fn a_longer_encoding_of_an_integer_is_understood_and_never_written() {
    let long = [0x85, 0x80, 0x80, 0x80, 0x00, 1, 0x82, 0x00, b'x'];
    let frame = Frame::decode(Profile::Base, Bytes::copy_from_slice(&long)).unwrap();
    let item = Bytes::from_static(b"x");
    assert_eq!(frame, Frame::Data { seq: PacketSeq(5), ack: Some(ack_of(2)), item });
    assert_eq!(encode(&frame).as_ref(), [5, 1, 2, b'x']);
}

#[test]
fn a_flipped_bit_of_a_frame_is_an_error_or_another_frame() {
    for (name, _, _) in frames() {
        for damaged in flips(&vector(name)) {
            for profile in [Profile::Base, Profile::Extended] {
                check_consistent(profile, &damaged);
            }
        }
    }
}

#[test]
fn a_reason_that_is_too_long_is_cut_at_a_character() {
    let reason = CloseReason::new(1, "é".repeat(200));
    assert_eq!(reason.text().len(), CLOSE_REASON_MAX);
    let reason = CloseReason::new(1, format!("x{}", "é".repeat(200)));
    assert_eq!(reason.text().len(), CLOSE_REASON_MAX - 1);
    let frame = Control::Close(reason.clone()).encode(PacketSeq(0));
    let decoded = Frame::decode(Profile::Extended, frame).unwrap();
    let control = Control::Close(reason);
    assert_eq!(decoded, Frame::Control { seq: PacketSeq(0), control });
}

/// All variants of `bytes` with one bit changed.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    })
}

/// Bytes that decode re-encode to something that means the same.
#[track_caller]
fn check_consistent(profile: Profile, bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(profile, Bytes::copy_from_slice(bytes)) {
        let again = encode(&frame);
        assert!(again.len() <= bytes.len(), "the shortest encoding is written");
        assert_eq!(Frame::decode(profile, again), Ok(frame));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for profile in [Profile::Base, Profile::Extended] {
            check_consistent(profile, &bytes);
            let now = Instant::now();
            let mut session = session(Role::Acceptor);
            let hello = ClientHello::fresh();
            let (link, _) = session
                .handle_client_hello(now, &hello, counting_key(), usize::MAX)
                .expect("a fresh hello is welcome");
            let _ = session.handle_frame(now, link, bytes.clone().into());
        }
        let _ = ClientHello::decode(&bytes);
        let _ = ServerHello::decode(&bytes);
        let _ = <FacetPostcard as Codec<Msg>>::decode(&bytes);
    }

    #[test]
    fn arbitrary_hellos_re_encode(flags: u8, rest in any::<[u8; 20]>(), server: bool) {
        let magic = if server { b"ROSH" } else { b"ROCH" };
        let bytes = [&magic[..], &[flags], &rest].concat();
        if server {
            let hello = ServerHello::decode(&bytes).expect("magic and length are right");
            prop_assert_eq!(ServerHello::decode(&hello.encode()), Ok(hello));
        } else {
            let hello = ClientHello::decode(&bytes).expect("magic and length are right");
            prop_assert_eq!(ClientHello::decode(&hello.encode()), Ok(hello));
        }
    }
}
