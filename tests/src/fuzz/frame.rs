//! Frames: every payload after the hellos.

use bytes::Bytes;
use rejoin_core::protocol::{CLOSE_REASON_MAX, Control, Frame, Head, Profile};

/// Reads the input as a frame of either profile; what can be read can be written and read again.
pub(super) fn run(input: &[u8]) {
    let payload = Bytes::copy_from_slice(input);
    let base = Frame::decode(Profile::Base, payload.clone());
    let extended = Frame::decode(Profile::Extended, payload.clone());
    if let Ok(frame) = &base {
        assert!(matches!(frame, Frame::Data { .. }), "the base profile has data only");
        assert_eq!(Some(frame), extended.as_ref().ok(), "data is the same in both profiles");
    }
    let Ok(frame) = extended else { return };
    let again = match &frame {
        Frame::Data { seq, ack, item } => {
            assert!(payload.ends_with(item));
            let head = Head::data(*seq, *ack);
            assert!(head.as_bytes().len() + item.len() <= payload.len(), "heads are shortest");
            Bytes::from([head.as_bytes(), item].concat())
        }
        Frame::Control { seq, control } => {
            assert!(base.is_err());
            if let Control::Close(reason) = control {
                assert!(reason.text().len() <= CLOSE_REASON_MAX);
            }
            control.encode(*seq)
        }
    };
    assert_eq!(Frame::decode(Profile::Extended, again), Ok(frame));
}
