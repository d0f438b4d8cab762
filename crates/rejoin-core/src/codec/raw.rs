//! Messages that are bytes already: no encoding, no prefix, no copy on receipt.

use bytes::BytesMut;

use crate::codec::{Codec, DecodeError, EncodeError};
use crate::conduit::MsgFamily;

/// The family of byte slices: the message is the payload.
///
/// A received message borrows from the bytes that the link gave.
#[derive(Debug)]
pub struct Raw;

impl MsgFamily for Raw {
    type Msg<'a> = &'a [u8];
    type Codec = RawBytes;

    fn shorten<'short, 'long: 'short>(msg: &'short &'long [u8]) -> &'short &'short [u8] {
        msg
    }
}

/// The codec of [`Raw`]: the item is the bytes, without a length or anything else.
#[derive(Debug)]
pub struct RawBytes;

impl Codec<Raw> for RawBytes {
    #[inline]
    fn encode(item: &&[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
        out.extend_from_slice(item);
        Ok(())
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[u8], DecodeError> {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_is_the_bytes() {
        let mut out = BytesMut::from(&b"head"[..]);
        RawBytes::encode(&&b"body"[..], &mut out).unwrap();
        assert_eq!(&out[..], b"headbody");
        RawBytes::encode(&&b""[..], &mut out).unwrap();
        assert_eq!(&out[..], b"headbody");
    }

    #[test]
    fn decoding_copies_nothing() {
        let bytes = [1, 2, 3];
        assert!(std::ptr::eq(RawBytes::decode(&bytes).unwrap(), &bytes[..]));
    }
}
