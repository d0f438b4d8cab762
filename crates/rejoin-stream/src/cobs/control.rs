//! The frames that open and end links on a line. They carry no payloads and belong to no link
//! themselves; each names the link that it is about.

use bytes::BytesMut;
use rejoin_core::protocol::Role;

use super::framing::{self, Check, Frame};

/// Names a link on its line. The initiator chooses them, one after another from a random start;
/// never zero.
pub(super) type LinkId = u32;

/// In the place of a link's name: whichever the reader has.
pub(super) const ANY_LINK: LinkId = 0;

/// The longest control frame, without its CRC.
const BYTES_MAX: usize = 9;

/// What a control frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Control {
    /// The initiator asks for a link.
    Open(LinkId),
    /// The acceptor has it.
    Opened(LinkId),
    /// The sender has given the link up.
    Reset(LinkId, ResetCause),
    /// The sender has sent so many payloads on the link and sends no more.
    Close(LinkId, u32),
}

/// Why a link was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResetCause {
    /// Something came that was not what was sent.
    Damage,
    /// Nobody uses it any more.
    HungUp,
    /// There is no such link.
    Unknown,
}

impl Control {
    /// Appends the frame, between two delimiters: nobody knows what stands before it on the line.
    pub(super) fn encode(self, from: Role, escapes: bool, out: &mut BytesMut) {
        let (kind, link, rest): (u8, _, Option<u32>) = match self {
            Self::Open(link) => (1, link, None),
            Self::Opened(link) => (2, link, None),
            Self::Reset(link, ResetCause::Damage) => (3, link, None),
            Self::Reset(link, ResetCause::HungUp) => (4, link, None),
            Self::Reset(link, ResetCause::Unknown) => (5, link, None),
            Self::Close(link, count) => (6, link, Some(count)),
        };
        let mut bytes = [0; BYTES_MAX];
        bytes[0] = kind;
        bytes[1..5].copy_from_slice(&link.to_le_bytes());
        let mut len = 5;
        if let Some(rest) = rest {
            bytes[5..].copy_from_slice(&rest.to_le_bytes());
            len = BYTES_MAX;
        }
        out.extend_from_slice(&[framing::DELIMITER]);
        framing::encode(check(from), &bytes[..len], &[], escapes, out);
    }

    /// The control frame that `frame` is, and whose.
    pub(super) fn decode(frame: &Frame) -> Option<(Self, Role)> {
        let (&kind, rest) = frame.bytes().split_first()?;
        let (link, rest) = rest.split_first_chunk()?;
        let link = u32::from_le_bytes(*link);
        let control = match (kind, rest.len()) {
            (1, 0) => Self::Open(link),
            (2, 0) => Self::Opened(link),
            (3, 0) => Self::Reset(link, ResetCause::Damage),
            (4, 0) => Self::Reset(link, ResetCause::HungUp),
            (5, 0) => Self::Reset(link, ResetCause::Unknown),
            (6, 4) => Self::Close(link, u32::from_le_bytes(*rest.first_chunk()?)),
            _ => return None,
        };
        let from = [Role::Initiator, Role::Acceptor];
        let from = from.into_iter().find(|from| frame.fits(check(*from)))?;
        let named = link != ANY_LINK || matches!(control, Self::Reset(..));
        named.then_some((control, from))
    }
}

/// What the CRC of the control frames of one side begins with. The two differ, so that an end which
/// hears its own voice does not take it for the other's.
fn check(from: Role) -> Check {
    Check::new(b"rejoin line 1 control").and(&[role_byte(from)])
}

/// What the CRCs of one side's payloads on a link begin with. Each one is followed by the payload's
/// number on the link.
pub(super) fn payload_check(link: LinkId, from: Role) -> Check {
    Check::new(b"rejoin line 1 payload").and(&[role_byte(from)]).and(&link.to_le_bytes())
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Initiator => b'i',
        Role::Acceptor => b'a',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cobs::framing::{Chunk, Deframer};

    /// Calculated by another program, from what the protocol's page says.
    const OPEN: &[u8] = b"\x00\x0a\x01\x04\x03\x02\x01\xc7\x92\x4b\xc5\x00";
    const CLOSE: &[u8] = b"\x00\x07\x06\x04\x03\x02\x01\x02\x01\x01\x05\x7a\x20\x75\x11\x00";
    const PAYLOAD: &[u8] = b"\x02\x01\x08\x02ok\x27\xe0\xa2\xfc\x00";
    const LINK: LinkId = 0x0102_0304;

    fn encoded(control: Control, from: Role) -> BytesMut {
        let mut out = BytesMut::new();
        control.encode(from, false, &mut out);
        out
    }

    #[test]
    fn the_bytes_are_those_that_the_protocol_says() {
        assert_eq!(encoded(Control::Open(LINK), Role::Initiator), OPEN);
        assert_eq!(encoded(Control::Close(LINK, 2), Role::Acceptor), CLOSE);
        let mut out = BytesMut::new();
        let check = payload_check(LINK, Role::Acceptor).and(&1_u32.to_le_bytes());
        framing::encode(check, b"\x01\x00", b"\x02ok", false, &mut out);
        assert_eq!(out, PAYLOAD);
    }

    #[test]
    fn every_control_frame_comes_as_it_was_said_and_names_a_link() {
        let resets = [ResetCause::Damage, ResetCause::HungUp, ResetCause::Unknown];
        let about = |link| {
            let resets = resets.map(|cause| Control::Reset(link, cause));
            let others = [Control::Open(link), Control::Opened(link), Control::Close(link, 7)];
            resets.into_iter().chain(others)
        };
        for from in [Role::Initiator, Role::Acceptor] {
            for control in about(LINK).chain(about(ANY_LINK)) {
                let mut deframer = Deframer::new(100, false);
                let encoded = encoded(control, from);
                let Some(Chunk::Bytes(chunk)) = deframer.next(&mut &encoded[..]) else { panic!() };
                let decoded = Control::decode(&Frame::decode(chunk).unwrap());
                // Only a reset may be about whatever link there is.
                let valid =
                    matches!(control, Control::Reset(..)) || about(LINK).any(|it| it == control);
                let expected = valid.then_some((control, from));
                assert_eq!(decoded, expected);
            }
        }
    }
}
