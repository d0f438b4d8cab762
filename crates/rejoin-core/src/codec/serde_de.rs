//! Postcard as one of serde's data formats, for reading only.
//!
//! The `postcard` crate has such a deserializer too. This one exists because what it reads comes
//! from a peer: a few bytes make the other go round 2⁶⁴ times for a `Vec<()>`, or overflow the
//! stack with a value nested in itself. It refuses those, and what follows the item, with the
//! same [`Reader`] as the Facet codec, so that the two accept the same bytes, except that more
//! nesting fits the stack here.

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::reader::{ElementEnd, ReadError, Reader};

/// How many levels of nesting one item may have.
const DEPTH_MAX: u32 = 128;

/// Reads one item.
pub(crate) struct Deserializer<'de> {
    reader: Reader<'de>,
}

impl<'de> Deserializer<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> Self {
        Self { reader: Reader::new(bytes, DEPTH_MAX) }
    }

    /// Succeeds when the item took all the bytes.
    pub(crate) fn finish(&self) -> Result<(), ReadError> {
        self.reader.finish()
    }

    /// Reads a value that may hold others, one level deeper.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.reader.enter(1)?;
        let value = read(self)?;
        self.reader.leave(1);
        Ok(value)
    }

    fn elements(&mut self, left: u64) -> Elements<'_, 'de> {
        let previous = self.reader.first_element();
        Elements { deserializer: self, left, previous }
    }
}

impl de::Error for ReadError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Type(message.to_string())
    }
}

/// Methods that read one primitive and show it to the visitor.
macro_rules! primitives {
    ($($method:ident => $visit:ident($reader:ident => $read:expr),)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let $reader = &mut self.reader;
            visitor.$visit($read)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = ReadError;

    fn is_human_readable(&self) -> bool {
        false
    }

    primitives! {
        deserialize_bool => visit_bool(reader => reader.flag()?),
        deserialize_i8 => visit_i8(reader => reader.byte()?.cast_signed()),
        deserialize_i16 => visit_i16(reader => narrow(reader.zigzag(16)?)?),
        deserialize_i32 => visit_i32(reader => narrow(reader.zigzag(32)?)?),
        deserialize_i64 => visit_i64(reader => reader.zigzag(64)?),
        deserialize_i128 => visit_i128(reader => reader.zigzag_i128()?),
        deserialize_u8 => visit_u8(reader => reader.byte()?),
        deserialize_u16 => visit_u16(reader => narrow(reader.varint(16)?)?),
        deserialize_u32 => visit_u32(reader => narrow(reader.varint(32)?)?),
        deserialize_u64 => visit_u64(reader => reader.varint(64)?),
        deserialize_u128 => visit_u128(reader => reader.varint_u128()?),
        deserialize_f32 => visit_f32(reader => reader.f32()?),
        deserialize_f64 => visit_f64(reader => reader.f64()?),
        deserialize_char => visit_char(reader => reader.char()?),
        deserialize_str => visit_borrowed_str(reader => reader.str()?),
        deserialize_string => visit_borrowed_str(reader => reader.str()?),
        deserialize_bytes => visit_borrowed_bytes(reader => reader.bytes()?),
        deserialize_byte_buf => visit_borrowed_bytes(reader => reader.bytes()?),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.reader.flag()? {
            self.nested(|this| visitor.visit_some(this))
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.nested(|this| visitor.visit_newtype_struct(this))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.reader.length()?;
        self.nested(|this| visitor.visit_seq(this.elements(left)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.nested(|this| visitor.visit_seq(Fields { deserializer: this, left: len }))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.reader.length()?;
        self.nested(|this| visitor.visit_map(this.elements(left)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.nested(|this| visitor.visit_enum(this))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, ReadError> {
        Err(ReadError::NotSelfDescribing)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, ReadError> {
        Err(ReadError::NotSelfDescribing)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, ReadError> {
        Err(ReadError::NotSelfDescribing)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Deserializer<'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ReadError> {
        let index: u32 = narrow(self.reader.varint(32)?)?;
        let index: U32Deserializer<ReadError> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Deserializer<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}

/// The values of a struct, tuple or array, whose number the type gives.
struct Fields<'a, 'de> {
    deserializer: &'a mut Deserializer<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.deserializer).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The elements of a sequence or map, whose number the peer gave.
struct Elements<'a, 'de> {
    deserializer: &'a mut Deserializer<'de>,
    left: u64,
    previous: ElementEnd,
}

impl Elements<'_, '_> {
    fn begin(&mut self) -> bool {
        let more = self.left > 0;
        self.left = self.left.saturating_sub(1);
        more
    }

    fn end(&mut self) -> Result<(), ReadError> {
        self.previous = self.deserializer.reader.end_element(self.previous)?;
        Ok(())
    }

    /// No more than there are bytes for.
    ///
    /// The length was checked against the bytes that are left, but an element can be larger in
    /// memory than in bytes. Serde's own collections bound what they allocate for a hint, to a
    /// mebibyte; this keeps a few bytes that claim many large elements well below that.
    fn hint(&self) -> Option<usize> {
        usize::try_from(self.left).ok().map(|left| left.min(self.deserializer.reader.remaining()))
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        if !self.begin() {
            return Ok(None);
        }
        let element = seed.deserialize(&mut *self.deserializer)?;
        self.end()?;
        Ok(Some(element))
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        if !self.begin() {
            return Ok(None);
        }
        seed.deserialize(&mut *self.deserializer).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let value = seed.deserialize(&mut *self.deserializer)?;
        self.end()?;
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

fn narrow<Wide, Narrow: TryFrom<Wide>>(wide: Wide) -> Result<Narrow, ReadError> {
    Narrow::try_from(wide).map_err(|_| ReadError::Overflow)
}
