//! Frames on a line that damages bytes: noise in any pieces, and frames behind it.

use bytes::BytesMut;
use rejoin_stream::cobs::framing::{Check, Chunk, Deframer, Frame, encode, encoded_bytes_max};

use super::input::{Input, pieces};

/// Takes noise apart, however it comes, and finds a whole frame behind it.
pub(super) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let escapes = input.byte() % 2 == 1;
    let frame_bytes_max = input.one_of([0, 1, 16, 253, 254, 255, 2_000, 100_000]);
    let sizes = input.sizes();
    let noise = input.rest();
    let check = Check::new(b"a link").and(&[1]);

    let whole = chunks(noise, &[], frame_bytes_max, escapes);
    assert_eq!(chunks(noise, &sizes, frame_bytes_max, escapes), whole);
    for chunk in &whole {
        let Chunk::Bytes(chunk) = chunk else { continue };
        assert!((1..=encoded_bytes_max(frame_bytes_max, false)).contains(&chunk.len()));
        let Some(frame) = Frame::decode(chunk.clone()) else { continue };
        assert!(frame.bytes().len() <= chunk.len());
        if frame.fits(check) {
            // Two checks that differ in their last bytes never fit the same frame.
            assert!(!frame.fits(Check::new(b"a link").and(&[2])));
            read_back(check, frame.bytes(), escapes);
        }
    }

    let cut = noise.len().min(frame_bytes_max);
    read_back(check, &noise[..cut], escapes);
    // The delimiter ends the noise, whatever it is.
    let mut line = BytesMut::from(noise);
    line.extend_from_slice(&[0]);
    encode(check, &noise[..cut / 3], &noise[cut / 3..cut], escapes, &mut line);
    let found = chunks(&line, &sizes, frame_bytes_max, escapes);
    let Some(Chunk::Bytes(last)) = found.last() else { panic!("the whole frame is lost") };
    let frame = Frame::decode(last.clone()).expect("it is whole");
    assert!(frame.fits(check));
    assert_eq!(frame.into_bytes(), noise[..cut]);
}

fn chunks(bytes: &[u8], sizes: &[usize], frame_bytes_max: usize, escapes: bool) -> Vec<Chunk> {
    let mut deframer = Deframer::new(frame_bytes_max, escapes);
    let mut found = Vec::new();
    for mut piece in pieces(bytes, sizes) {
        while let Some(chunk) = deframer.next(&mut piece) {
            found.push(chunk);
        }
        assert!(piece.is_empty(), "everything is taken");
        assert!(deframer.pending() <= encoded_bytes_max(frame_bytes_max, false));
    }
    found
}

/// What is encoded is what is decoded, and nothing in it disturbs the line.
fn read_back(check: Check, bytes: &[u8], escapes: bool) {
    let mut line = BytesMut::new();
    encode(check, bytes, &[], escapes, &mut line);
    assert!(line.len() <= encoded_bytes_max(bytes.len(), escapes) + 1);
    let (delimiter, encoded) = line.split_last().expect("never empty");
    assert_eq!(*delimiter, 0);
    assert!(!encoded.contains(&0));
    if escapes {
        assert!(!encoded.iter().any(|byte| matches!(byte, 0x11 | 0x13)));
    }
    let [Chunk::Bytes(chunk)] = &chunks(&line, &[], bytes.len(), escapes)[..] else {
        panic!("one frame is one chunk");
    };
    let frame = Frame::decode(chunk.clone()).expect("it is whole");
    assert!(frame.fits(check));
    assert_eq!(frame.bytes(), bytes);
}
