//! The default codec: postcard, by way of Facet's reflection.
//!
//! Writing is `facet-postcard`'s; reading is `facet-format` over a parser of our own, for the
//! reasons that [`facet_parser`](super::facet_parser) gives.

use bytes::BytesMut;
use facet::Facet;
use facet_format::FormatDeserializer;
use facet_postcard::{SerializeError, Writer, to_writer_fallible};

use super::facet_parser::Parser;
use super::{Codec, DecodeError, EncodeError};
use crate::conduit::MsgFamily;

/// [Postcard](https://postcard.jamesmunns.com/wire-format) for messages that derive [`Facet`].
#[derive(Debug)]
pub struct FacetPostcard;

impl<F> Codec<F> for FacetPostcard
where
    F: MsgFamily,
    for<'a> F::Msg<'a>: Facet<'a>,
{
    fn encode(item: &F::Msg<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        to_writer_fallible(item, &mut Append(out)).map_err(EncodeError::new)
    }

    fn decode<'a>(bytes: &'a [u8]) -> Result<F::Msg<'a>, DecodeError> {
        let mut parser = Parser::new(bytes);
        // The buffer is for formats that describe themselves. Its default size costs tens of
        // kilobytes per message, and postcard never uses it.
        let item = FormatDeserializer::with_buffer_capacity(&mut parser, 0)
            .deserialize()
            .map_err(DecodeError::new)?;
        parser.finish().map_err(DecodeError::new)?;
        Ok(item)
    }
}

/// Appends to the caller's buffer, without one in between.
struct Append<'a>(&'a mut BytesMut);

impl Writer for Append<'_> {
    fn write_byte(&mut self, byte: u8) -> Result<(), SerializeError> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), SerializeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
