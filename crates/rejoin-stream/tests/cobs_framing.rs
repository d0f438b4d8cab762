//! The framing of lines that damage bytes: nothing passes that was not sent, and the next whole
//! frame is found.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use rejoin_stream::cobs::framing::{
    CRC_BYTES, Check, Chunk, DELIMITER, Deframer, Frame, encode, encoded_bytes_max,
};

const FRAME_BYTES_MAX: usize = 600;

/// What a line does to one place of what it carries.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u8),
    Drop(usize),
    Insert(Vec<u8>),
    /// What was carried before comes once more.
    Repeat(usize),
    /// A break reads as a zero.
    Break,
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, Damage)> {
    let kind = prop_oneof![
        (1..=255_u8).prop_map(Damage::Flip),
        (1..100_usize).prop_map(Damage::Drop),
        vec(any::<u8>(), 1..100).prop_map(Damage::Insert),
        (1..200_usize).prop_map(Damage::Repeat),
        Just(Damage::Break),
    ];
    (any::<prop::sample::Index>(), kind)
}

fn inflict(line: &mut Vec<u8>, at: usize, damage: Damage) {
    match damage {
        Damage::Flip(bits) => line[at] ^= bits,
        Damage::Drop(count) => drop(line.drain(at..line.len().min(at + count))),
        Damage::Insert(bytes) => drop(line.splice(at..at, bytes)),
        Damage::Repeat(count) => {
            let again = line[at.saturating_sub(count)..at].to_vec();
            line.splice(at..at, again);
        }
        Damage::Break => line[at] = DELIMITER,
    }
}

/// Payloads in which zeros, runs and the bytes of flow control are frequent.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![3 => 0..80_usize, 1 => 240..FRAME_BYTES_MAX];
    (length, any::<u64>(), 1..40_u64).prop_map(|(length, seed, run)| {
        const FREQUENT: [u8; 4] = [0, 0x11, 0x13, 0x7d];
        let mut state = seed | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let any = state.to_le_bytes()[3];
            if state % run == 0 { FREQUENT[usize::from(any % 4)] } else { any }
        };
        (0..length).map(|_| byte()).collect()
    })
}

fn check_of(number: usize) -> Check {
    Check::new(b"of one link").and(&u32::try_from(number).unwrap().to_le_bytes())
}

fn line_of(payloads: &[Vec<u8>], escapes: bool) -> BytesMut {
    let mut line = BytesMut::from(&[DELIMITER][..]);
    for (number, payload) in payloads.iter().enumerate() {
        let (head, body) = payload.split_at(payload.len() / 3);
        encode(check_of(number), head, body, escapes, &mut line);
    }
    line
}

/// The frames that a reader finds, if the line gives `step` bytes at a time.
fn frames(line: &[u8], escapes: bool, step: usize) -> Vec<Option<Frame>> {
    let mut deframer = Deframer::new(FRAME_BYTES_MAX, escapes);
    let mut found = Vec::new();
    for mut input in line.chunks(step) {
        while let Some(chunk) = deframer.next(&mut input) {
            found.push(match chunk {
                Chunk::Bytes(bytes) => Frame::decode(bytes),
                Chunk::Overlong => None,
            });
        }
        assert!(deframer.pending() <= encoded_bytes_max(FRAME_BYTES_MAX, false), "bounded");
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whole_frames_come_as_they_were_sent(
        payloads in vec(payload(), 0..8),
        escapes: bool,
        step in 1..300_usize,
    ) {
        let line = line_of(&payloads, escapes);
        if escapes {
            prop_assert!(!line.iter().any(|byte| matches!(byte, 0x11 | 0x13)));
        }
        let found = frames(&line, escapes, step);
        prop_assert_eq!(found.len(), payloads.len());
        for (number, (frame, payload)) in found.into_iter().zip(&payloads).enumerate() {
            let frame = frame.unwrap();
            prop_assert!(frame.fits(check_of(number)));
            prop_assert!(!frame.fits(check_of(number + 1)), "never in another one's place");
            prop_assert!(!frame.fits(Check::new(b"of another link").and(&[0; 4])));
            prop_assert_eq!(frame.into_bytes(), payload);
        }
    }

    #[test]
    fn no_damage_yields_a_payload_that_was_not_sent(
        payloads in vec(payload(), 1..8),
        damages in vec(damage(), 1..6),
        escapes: bool,
        step in 1..300_usize,
    ) {
        let mut line = line_of(&payloads, escapes).to_vec();
        for (place, damage) in damages {
            if !line.is_empty() {
                let at = place.index(line.len());
                inflict(&mut line, at, damage);
            }
        }
        for frame in frames(&line, escapes, step).into_iter().flatten() {
            for (number, payload) in payloads.iter().enumerate() {
                if frame.fits(check_of(number)) {
                    prop_assert_eq!(frame.bytes(), &payload[..]);
                }
            }
        }
    }

    #[test]
    fn after_any_garbage_the_next_frame_is_found(
        garbage in vec(any::<u8>(), 0..2000),
        payload in payload(),
        escapes: bool,
        step in 1..300_usize,
    ) {
        let mut line = garbage;
        line.extend_from_slice(&line_of(std::slice::from_ref(&payload), escapes));
        let found = frames(&line, escapes, step);
        let last = found.last().unwrap().as_ref().unwrap();
        prop_assert!(last.fits(check_of(0)));
        prop_assert_eq!(last.bytes(), &payload[..]);
    }

    #[test]
    fn any_bytes_decode_or_do_not_and_nothing_else(bytes in vec(any::<u8>(), 0..700)) {
        if let Some(frame) = Frame::decode(BytesMut::from(&bytes[..])) {
            prop_assert!(frame.bytes().len() + CRC_BYTES <= bytes.len());
        }
    }
}

/// Every single-bit and every burst error of up to 32 bits inside the bytes that the code of COBS
/// does not touch is caught for sure, and that is most of a frame.
#[test]
fn no_flip_of_a_bit_and_no_loss_of_a_byte_passes() {
    let payload = (0..64_u8).map(|n| n.wrapping_mul(37)).collect::<Vec<_>>();
    let line = line_of(std::slice::from_ref(&payload), false);
    let mut damaged = Vec::new();
    for at in 0..line.len() {
        for bit in 0..8 {
            damaged.push(line.to_vec());
            damaged.last_mut().unwrap()[at] ^= 1 << bit;
        }
        for count in 1..=line.len() - at {
            let mut less = line.to_vec();
            less.drain(at..at + count);
            damaged.push(less);
        }
        for byte in 0..=255 {
            let mut more = line.to_vec();
            more.insert(at, byte);
            damaged.push(more);
        }
    }
    for mut line in damaged {
        line.push(DELIMITER);
        for frame in frames(&line, false, usize::MAX).into_iter().flatten() {
            assert!(!frame.fits(check_of(0)) || frame.bytes() == payload, "{line:x?}");
        }
    }
}

#[test]
fn a_flood_without_a_delimiter_is_held_back_by_nothing_and_not_kept() {
    let mut deframer = Deframer::new(FRAME_BYTES_MAX, false);
    for _ in 0..10_000 {
        let mut input = &b"U-Boot 2026.07 -- hit any key to stop autoboot\r\n"[..];
        assert_eq!(deframer.next(&mut input), None);
        assert!(deframer.pending() <= encoded_bytes_max(FRAME_BYTES_MAX, false));
    }
    assert_eq!(deframer.next(&mut &[DELIMITER][..]), Some(Chunk::Overlong));
    let mut line = BytesMut::new();
    encode(check_of(0), b"a", b"b", false, &mut line);
    let Some(Chunk::Bytes(bytes)) = deframer.next(&mut &line[..]) else { panic!("a frame") };
    assert_eq!(Frame::decode(bytes).unwrap().into_bytes(), Bytes::from_static(b"ab"));
}

#[test]
fn what_a_frame_costs() {
    let mut line = BytesMut::new();
    encode(check_of(0), &[1, 2, 0], &[7; 64], false, &mut line);
    assert_eq!(line.len(), 3 + 64 + CRC_BYTES + 1 + 1, "a CRC, a byte of COBS, a delimiter");
}
