//! Postcard as the events from which `facet-format` builds a value.
//!
//! `facet-postcard` has such a parser too. This one exists because what it reads comes from a
//! peer: it refuses numbers that do not fit their type instead of cutting them off, bounds nesting
//! and elements that take no bytes, tells where the item ended, and allocates nothing but its
//! stack of open values, where the other copies the names of all variants of each enum it meets.
//!
//! It does not read types that need a self-describing encoding (untagged or internally tagged
//! enums, flattened fields, dynamic values): postcard has no place to put what they need.

use std::borrow::Cow;

use facet::{Span, StructKind};
use facet_format::{
    ContainerKind, DeserializeErrorKind, EnumVariantHint, FieldKey, FieldLocationHint,
    FormatParser, ParseError, ParseEvent, ParseEventKind, SavePoint, ScalarTypeHint, ScalarValue,
};

use super::reader::{ElementEnd, ReadError, Reader};

/// How many levels of nesting one item may have, where an enum counts as two.
///
/// Without optimisation, building a value takes up to 50 KiB of stack for each of these levels
/// (measured: 102 KiB for an enum in a `Box`, 78 KiB for a struct in a `Box` in an `Option`, 21 KiB
/// for an element of a `Vec`), and a thread has 2 MiB unless told otherwise.
const DEPTH_MAX: u32 = 32;

/// Parses one item from bytes that live for `'de` into events that live for `'out`.
///
/// Facet does not see lifetimes: it stores a string that it was lent in a `&'static str` or in a
/// `Cow<'static, str>` without complaint. So the lifetime of the events is the parser's to vouch
/// for. One that is [`owning`](Self::owning) has `'static` events, and the compiler sees to it that
/// nothing which borrows from the bytes is in them.
pub(crate) struct Parser<'de, 'out> {
    reader: Reader<'de>,
    length: usize,
    /// How strings and bytes are handed over.
    str: fn(&'de str) -> Cow<'out, str>,
    bytes: fn(&'de [u8]) -> Cow<'out, [u8]>,
    expected: Option<Expected>,
    peeked: Option<ParseEvent<'out>>,
    open: Vec<Open>,
    /// Set when the driver asked for what postcard cannot do; nothing is parsed after that.
    unsupported: bool,
}

/// What the driver said comes next.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Fields(usize),
    Scalar(ScalarTypeHint),
    Sequence,
    Rest,
    Array(usize),
    Option,
    Variant(Result<EnumVariantHint, ()>),
    /// As many bytes as said, without a prefix.
    Fixed(usize),
}

/// A value that was begun and not ended.
#[derive(Debug)]
struct Open {
    kind: OpenKind,
    /// How many options were entered since this value or its last element began. An option has no
    /// end of its own, but adds to the nesting.
    options: u32,
}

#[derive(Debug)]
enum OpenKind {
    Struct {
        fields_left: usize,
    },
    Elements {
        left: u64,
        /// `None` where the type gives the number of elements, so that the peer has no say in it.
        previous: Option<ElementEnd>,
    },
    Variant {
        variant: EnumVariantHint,
        step: VariantStep,
    },
}

impl OpenKind {
    /// How much it adds to the nesting.
    fn levels(&self) -> u32 {
        match self {
            Self::Struct { .. } | Self::Elements { .. } => 1,
            Self::Variant { .. } => 2,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum VariantStep {
    Name,
    Content,
    TupleEnd,
    End,
}

impl<'de> Parser<'de, 'static> {
    /// Copies what it hands over.
    pub(crate) fn owning(bytes: &'de [u8]) -> Self {
        Self::new(bytes, |str| Cow::Owned(str.to_owned()), |bytes| Cow::Owned(bytes.to_owned()))
    }
}

impl<'de> Parser<'de, 'de> {
    /// Lends what it hands over.
    pub(crate) fn borrowing(bytes: &'de [u8]) -> Self {
        Self::new(bytes, Cow::Borrowed, Cow::Borrowed)
    }
}

impl<'de, 'out> Parser<'de, 'out> {
    fn new(
        input: &'de [u8],
        str: fn(&'de str) -> Cow<'out, str>,
        bytes: fn(&'de [u8]) -> Cow<'out, [u8]>,
    ) -> Self {
        Self {
            reader: Reader::new(input, DEPTH_MAX),
            length: input.len(),
            str,
            bytes,
            expected: None,
            peeked: None,
            open: Vec::new(),
            unsupported: false,
        }
    }

    /// Succeeds when the item took all the bytes.
    pub(crate) fn finish(&self) -> Result<(), ReadError> {
        self.reader.finish()
    }

    fn span(&self) -> Span {
        Span::new(self.length - self.reader.remaining(), 1)
    }

    fn generate(&mut self) -> Result<ParseEventKind<'out>, ReadError> {
        if self.unsupported {
            return Err(ReadError::NotSelfDescribing);
        }
        match self.expected.take() {
            Some(expected) => self.begin(expected),
            None => self.proceed(),
        }
    }

    /// Reads the beginning of a value, or all of a scalar.
    fn begin(&mut self, expected: Expected) -> Result<ParseEventKind<'out>, ReadError> {
        Ok(match expected {
            Expected::Scalar(hint) => ParseEventKind::Scalar(self.scalar(hint)?),
            Expected::Rest => {
                ParseEventKind::Scalar(ScalarValue::Bytes((self.bytes)(self.reader.take_rest())))
            }
            Expected::Fixed(count) => {
                ParseEventKind::Scalar(ScalarValue::Bytes((self.bytes)(self.reader.take(count)?)))
            }
            Expected::Fields(fields_left) => {
                self.push(OpenKind::Struct { fields_left })?;
                ParseEventKind::StructStart(ContainerKind::Object)
            }
            Expected::Sequence => {
                let left = self.reader.length()?;
                self.push(OpenKind::Elements { left, previous: Some(ElementEnd::NONE) })?;
                ParseEventKind::SequenceStart(ContainerKind::Array)
            }
            Expected::Array(length) => {
                self.push(OpenKind::Elements { left: length as u64, previous: None })?;
                ParseEventKind::SequenceStart(ContainerKind::Array)
            }
            Expected::Option => {
                if self.reader.flag()? {
                    self.reader.enter(1)?;
                    if let Some(open) = self.open.last_mut() {
                        open.options += 1;
                    }
                    // Says only "not null"; the driver then says what the value is.
                    ParseEventKind::OrderedField
                } else {
                    ParseEventKind::Scalar(ScalarValue::Null)
                }
            }
            Expected::Variant(variant) => {
                let variant = variant.map_err(|()| ReadError::BadVariant)?;
                self.push(OpenKind::Variant { variant, step: VariantStep::Name })?;
                ParseEventKind::StructStart(ContainerKind::Object)
            }
        })
    }

    /// Goes on with the innermost open value.
    fn proceed(&mut self) -> Result<ParseEventKind<'out>, ReadError> {
        // Nothing is open and nothing was said to come: the type is beyond what postcard can do.
        let open = self.open.last_mut().ok_or(ReadError::NotSelfDescribing)?;
        match &mut open.kind {
            OpenKind::Struct { fields_left: 0 } => {
                self.pop();
                Ok(ParseEventKind::StructEnd)
            }
            OpenKind::Struct { fields_left } => {
                *fields_left -= 1;
                self.reader.leave(std::mem::take(&mut open.options));
                Ok(ParseEventKind::OrderedField)
            }
            OpenKind::Elements { left, previous } => {
                if let Some(previous) = previous {
                    *previous = self.reader.end_element(*previous)?;
                }
                if *left == 0 {
                    self.pop();
                    return Ok(ParseEventKind::SequenceEnd);
                }
                *left -= 1;
                self.reader.leave(std::mem::take(&mut open.options));
                Ok(ParseEventKind::OrderedField)
            }
            OpenKind::Variant { variant, step } => match (*step, variant.kind) {
                (VariantStep::Name, _) => {
                    *step = VariantStep::Content;
                    let name = Cow::Borrowed(variant.name);
                    let key = FieldKey::new(name, FieldLocationHint::KeyValue);
                    Ok(ParseEventKind::FieldKey(key))
                }
                (VariantStep::Content, StructKind::Struct) => {
                    *step = VariantStep::End;
                    let fields_left = variant.field_count;
                    self.push(OpenKind::Struct { fields_left })?;
                    Ok(ParseEventKind::StructStart(ContainerKind::Object))
                }
                (VariantStep::Content, StructKind::Tuple | StructKind::TupleStruct)
                    if variant.field_count != 1 =>
                {
                    *step = VariantStep::TupleEnd;
                    Ok(ParseEventKind::SequenceStart(ContainerKind::Array))
                }
                (VariantStep::TupleEnd, _) => {
                    *step = VariantStep::End;
                    Ok(ParseEventKind::SequenceEnd)
                }
                // A unit has no content; that of a variant with one field came without a wrapper.
                (VariantStep::Content | VariantStep::End, _) => {
                    self.pop();
                    Ok(ParseEventKind::StructEnd)
                }
            },
        }
    }

    fn push(&mut self, kind: OpenKind) -> Result<(), ReadError> {
        self.reader.enter(kind.levels())?;
        self.open.push(Open { kind, options: 0 });
        Ok(())
    }

    fn pop(&mut self) {
        if let Some(open) = self.open.pop() {
            self.reader.leave(open.kind.levels() + open.options);
        }
    }

    fn scalar(&mut self, hint: ScalarTypeHint) -> Result<ScalarValue<'out>, ReadError> {
        let reader = &mut self.reader;
        Ok(match hint {
            ScalarTypeHint::Bool => ScalarValue::Bool(reader.flag()?),
            ScalarTypeHint::U8 => ScalarValue::U64(reader.byte()?.into()),
            ScalarTypeHint::U16 => ScalarValue::U64(reader.varint(16)?),
            ScalarTypeHint::U32 => ScalarValue::U64(reader.varint(32)?),
            ScalarTypeHint::U64 => ScalarValue::U64(reader.varint(64)?),
            ScalarTypeHint::U128 => ScalarValue::U128(reader.varint_u128()?),
            ScalarTypeHint::Usize => ScalarValue::U64(reader.varint(usize::BITS)?),
            ScalarTypeHint::I8 => ScalarValue::I64(reader.byte()?.cast_signed().into()),
            ScalarTypeHint::I16 => ScalarValue::I64(reader.zigzag(16)?),
            ScalarTypeHint::I32 => ScalarValue::I64(reader.zigzag(32)?),
            ScalarTypeHint::I64 => ScalarValue::I64(reader.zigzag(64)?),
            ScalarTypeHint::I128 => ScalarValue::I128(reader.zigzag_i128()?),
            ScalarTypeHint::Isize => ScalarValue::I64(reader.zigzag(isize::BITS)?),
            ScalarTypeHint::F32 => ScalarValue::F64(reader.f32()?.into()),
            ScalarTypeHint::F64 => ScalarValue::F64(reader.f64()?),
            ScalarTypeHint::String => ScalarValue::Str((self.str)(reader.str()?)),
            ScalarTypeHint::Bytes => ScalarValue::Bytes((self.bytes)(reader.bytes()?)),
            ScalarTypeHint::Char => ScalarValue::Char(reader.char()?),
        })
    }

    fn event(&mut self) -> Result<ParseEvent<'out>, ParseError> {
        match self.generate() {
            Ok(kind) => Ok(ParseEvent::new(kind, self.span())),
            Err(error) => Err(parse_error(self.span(), &error)),
        }
    }

    fn expect(&mut self, expected: Expected) {
        // The driver peeks to see whether an element follows, and says what it is only then.
        self.peeked = None;
        self.expected = Some(expected);
    }
}

impl<'out> FormatParser<'out> for Parser<'_, 'out> {
    fn next_event(&mut self) -> Result<Option<ParseEvent<'out>>, ParseError> {
        match self.peeked.take() {
            Some(event) => Ok(Some(event)),
            None => self.event().map(Some),
        }
    }

    fn peek_event(&mut self) -> Result<Option<ParseEvent<'out>>, ParseError> {
        if self.peeked.is_none() {
            self.peeked = Some(self.event()?);
        }
        Ok(self.peeked.clone())
    }

    fn skip_value(&mut self) -> Result<(), ParseError> {
        self.unsupported = true;
        Err(parse_error(self.span(), &ReadError::NotSelfDescribing))
    }

    fn save(&mut self) -> SavePoint {
        // Called to look ahead for a tag. There is none, and no way to say so from here.
        self.unsupported = true;
        self.peeked = None;
        SavePoint::new(0)
    }

    fn restore(&mut self, _: SavePoint) {}

    fn current_span(&self) -> Option<Span> {
        Some(self.span())
    }

    fn format_namespace(&self) -> Option<&'static str> {
        // The name by which types choose a stand-in for this format.
        Some("postcard")
    }

    fn is_self_describing(&self) -> bool {
        false
    }

    fn hint_struct_fields(&mut self, num_fields: usize) {
        self.expect(Expected::Fields(num_fields));
    }

    fn hint_scalar_type(&mut self, hint: ScalarTypeHint) {
        self.expect(Expected::Scalar(hint));
    }

    fn hint_sequence(&mut self) {
        self.expect(Expected::Sequence);
    }

    fn hint_byte_sequence(&mut self) -> bool {
        self.expect(Expected::Scalar(ScalarTypeHint::Bytes));
        true
    }

    fn hint_remaining_byte_sequence(&mut self) -> bool {
        self.expect(Expected::Rest);
        true
    }

    fn hint_array(&mut self, len: usize) {
        self.expect(Expected::Array(len));
    }

    fn hint_option(&mut self) {
        self.expect(Expected::Option);
    }

    fn hint_map(&mut self) {
        self.expect(Expected::Sequence);
    }

    fn hint_dynamic_value(&mut self) {
        self.unsupported = true;
        self.peeked = None;
    }

    fn hint_enum(&mut self, variants: &[EnumVariantHint]) {
        // Read here and now, so that the variants need not be copied to be looked at later.
        let variant = self.reader.varint(32).ok().and_then(|index| {
            usize::try_from(index).ok().and_then(|index| variants.get(index)).copied()
        });
        self.expect(Expected::Variant(variant.ok_or(())));
    }

    fn hint_opaque_scalar(
        &mut self,
        type_identifier: &'static str,
        shape: &'static facet::Shape,
    ) -> bool {
        // What facet-postcard writes for well-known types of other crates.
        let expected = match type_identifier {
            "Uuid" | "Ulid" => Expected::Fixed(16),
            "OrderedFloat" | "NotNan" => {
                let single = shape.inner.is_some_and(facet::Shape::is_type::<f32>);
                Expected::Scalar(if single { ScalarTypeHint::F32 } else { ScalarTypeHint::F64 })
            }
            "Utf8PathBuf"
            | "Utf8Path"
            | "DateTime<Utc>"
            | "DateTime<Local>"
            | "DateTime<FixedOffset>"
            | "NaiveDateTime"
            | "NaiveDate"
            | "NaiveTime"
            | "Timestamp"
            | "Zoned"
            | "civil::DateTime"
            | "civil::Date"
            | "civil::Time"
            | "Span"
            | "SignedDuration"
            | "UtcDateTime"
            | "OffsetDateTime"
            | "PrimitiveDateTime"
            | "Date"
            | "Time" => Expected::Scalar(ScalarTypeHint::String),
            _ => return false,
        };
        self.expect(expected);
        true
    }
}

#[cold]
fn parse_error(span: Span, error: &ReadError) -> ParseError {
    ParseError::new(span, DeserializeErrorKind::InvalidValue { message: error.to_string().into() })
}
