//! The two postcard codecs agree with each other, and with the reference, on every type that both
//! know, and neither is led astray by bytes that are not a message.
#![cfg(feature = "serde")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::BytesMut;
use facet::Facet;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rejoin_core::{Codec, FacetPostcard, Serde, SerdePostcard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A type that both codecs know.
trait Both: Facet<'static> + Serialize + DeserializeOwned + Debug + PartialEq + Send {}
impl<T: Facet<'static> + Serialize + DeserializeOwned + Debug + PartialEq + Send> Both for T {}

fn facet_encode<T: Both>(item: &T) -> BytesMut {
    let mut out = BytesMut::new();
    <FacetPostcard as Codec<T>>::encode(item, &mut out).expect("every type here has an encoding");
    out
}

fn serde_encode<T: Both>(item: &T) -> BytesMut {
    let mut out = BytesMut::new();
    <SerdePostcard as Codec<Serde<T>>>::encode(item, &mut out).expect("as above");
    out
}

fn facet_decode<T: Both>(bytes: &[u8]) -> Option<T> {
    <FacetPostcard as Codec<T>>::decode(bytes).ok()
}

fn serde_decode<T: Both>(bytes: &[u8]) -> Option<T> {
    <SerdePostcard as Codec<Serde<T>>>::decode(bytes).ok()
}

/// Both write the same bytes and read them back; neither reads more or less than all of them.
#[track_caller]
fn check<T: Both>(item: &T) -> BytesMut {
    let bytes = serde_encode(item);
    assert_eq!(facet_encode(item), bytes, "for {item:?}");
    assert_eq!(bytes, postcard::to_stdvec(item).expect("as above"), "for {item:?}");
    assert_eq!(facet_decode::<T>(&bytes).as_ref(), Some(item), "Facet on {bytes:02x?}");
    assert_eq!(serde_decode::<T>(&bytes).as_ref(), Some(item), "serde on {bytes:02x?}");

    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(facet_decode::<T>(&longer), None, "Facet on a byte too many for {item:?}");
    assert_eq!(serde_decode::<T>(&longer), None, "serde on a byte too many for {item:?}");
    if let Some((_, shorter)) = bytes.split_last() {
        assert_eq!(facet_decode::<T>(shorter), None, "Facet on a byte too few for {item:?}");
        assert_eq!(serde_decode::<T>(shorter), None, "serde on a byte too few for {item:?}");
    }
    bytes
}

/// Neither panics, and both take the same bytes for the same message.
#[track_caller]
fn check_hostile<T: Both>(bytes: &[u8]) {
    let facet = facet_decode::<T>(bytes);
    let serde = serde_decode::<T>(bytes);
    // Compared as text, in which numbers that are not numbers are equal.
    assert_eq!(format!("{facet:?}"), format!("{serde:?}"), "on {bytes:02x?}");
}

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Numbers {
    bytes: (u8, i8),
    shorts: (u16, i16),
    words: (u32, i32),
    longs: (u64, i64),
    huge: (u128, i128),
    sizes: (usize, isize),
    floats: (f32, f64),
    flag: bool,
    letter: char,
}

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Unit;

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Newtype(u16);

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Pair(i32, String);

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
#[repr(u8)]
enum Zoo {
    Nothing,
    One(u16),
    Word(String),
    Two(i64, Option<bool>),
    Named { left: Newtype, right: Pair, unit: Unit },
    Blob(Vec<u8>),
    Numbers(Box<Numbers>),
    Inner(Inner),
    Many(Vec<Inner>),
    Table(BTreeMap<String, Option<u32>>),
    Array([u16; 3]),
    Nested(Vec<Vec<Option<i16>>>),
    Outcome(Result<u32, String>),
}

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
#[repr(u8)]
enum Inner {
    Empty,
    Text(String),
    Point { x: f32, y: f64 },
    Maybe(Option<Option<u8>>),
}

/// A type that holds itself, so that the peer chooses how deeply it is nested.
#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Tree(Vec<Tree>);

#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
#[repr(u8)]
enum Expression {
    Leaf(u8),
    Not(Box<Expression>),
    Sum(Box<Expression>, Box<Expression>),
    Named { name: String, of: Option<Box<Expression>> },
}

/// A type that nests through nothing but options.
#[derive(Facet, Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Onion(Option<Box<Onion>>);

fn number() -> impl Strategy<Value = Numbers> {
    let floats = (
        any::<f32>().prop_filter("a number", |n| !n.is_nan()),
        any::<f64>().prop_filter("a number", |n| !n.is_nan()),
    );
    (any::<(u8, i8)>(), any::<(u16, i16)>(), any::<(u32, i32)>(), any::<(u64, i64)>())
        .prop_flat_map(move |(bytes, shorts, words, longs)| {
            let rest = (
                any::<(u128, i128)>(),
                any::<(usize, isize)>(),
                floats.clone(),
                any::<bool>(),
                any::<char>(),
            );
            rest.prop_map(move |(huge, sizes, floats, flag, letter)| Numbers {
                bytes,
                shorts,
                words,
                longs,
                huge,
                sizes,
                floats,
                flag,
                letter,
            })
        })
}

fn inner() -> impl Strategy<Value = Inner> {
    prop_oneof![
        Just(Inner::Empty),
        ".*".prop_map(Inner::Text),
        (-1e9f32..1e9, -1e9f64..1e9).prop_map(|(x, y)| Inner::Point { x, y }),
        any::<Option<Option<u8>>>().prop_map(Inner::Maybe),
    ]
}

fn zoo() -> impl Strategy<Value = Zoo> {
    prop_oneof![
        Just(Zoo::Nothing),
        any::<u16>().prop_map(Zoo::One),
        ".*".prop_map(Zoo::Word),
        any::<(i64, Option<bool>)>().prop_map(|(a, b)| Zoo::Two(a, b)),
        (any::<u16>(), any::<i32>(), ".*").prop_map(|(left, a, b)| Zoo::Named {
            left: Newtype(left),
            right: Pair(a, b),
            unit: Unit
        }),
        vec(any::<u8>(), 0..300).prop_map(Zoo::Blob),
        number().prop_map(|numbers| Zoo::Numbers(Box::new(numbers))),
        inner().prop_map(Zoo::Inner),
        vec(inner(), 0..5).prop_map(Zoo::Many),
        btree_map(".*", any::<Option<u32>>(), 0..5).prop_map(Zoo::Table),
        any::<[u16; 3]>().prop_map(Zoo::Array),
        vec(vec(any::<Option<i16>>(), 0..4), 0..4).prop_map(Zoo::Nested),
        any::<Result<u32, String>>().prop_map(Zoo::Outcome),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn codecs_agree_on_messages(zoo in zoo(), more in vec(zoo(), 0..4)) {
        check(&zoo);
        check(&(zoo, more));
    }

    #[test]
    fn codecs_agree_on_arbitrary_bytes(bytes in vec(any::<u8>(), 0..64)) {
        check_hostile::<Zoo>(&bytes);
        check_hostile::<Vec<Zoo>>(&bytes);
        check_hostile::<Numbers>(&bytes);
        check_hostile::<Vec<Expression>>(&bytes);
        check_hostile::<Vec<Tree>>(&bytes);
        check_hostile::<Chain>(&bytes);
        check_hostile::<Vec<Unit>>(&bytes);
        check_hostile::<BTreeMap<u8, Vec<Inner>>>(&bytes);
    }

    #[test]
    fn codecs_agree_on_damaged_messages(
        items in vec(zoo(), 0..4),
        damage in vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = serde_encode(&items).to_vec();
        for (at, bit) in damage {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        check_hostile::<Vec<Zoo>>(&bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        check_hostile::<Vec<Zoo>>(&bytes);
    }
}

#[test]
fn codecs_agree_on_the_edges() {
    check(&((i8::MIN, i16::MIN, i32::MIN), (i64::MIN, i128::MIN, isize::MIN)));
    check(&((u8::MAX, u16::MAX, u32::MAX), (u64::MAX, u128::MAX, usize::MAX)));
    check(&(f32::INFINITY, f64::NEG_INFINITY, -0.0f32, f64::MIN_POSITIVE));
    check(&('\0', 'é', '\u{10ffff}'));
    check(&(String::new(), Vec::<u64>::new(), None::<u8>));
    check(&vec![u8::MAX; 100_000]);
    check(&Unit);
    check(&Newtype(7));
    check(&vec![Unit, Unit]);
}

/// The items of the reference's golden wire vectors.
mod golden {
    use super::*;

    #[derive(Facet, Serialize, Deserialize, Debug, PartialEq)]
    struct Reading {
        id: u64,
        name: String,
        value: f64,
        tags: Vec<u32>,
        note: Option<String>,
    }

    #[derive(Facet, Serialize, Deserialize, Debug, PartialEq)]
    #[repr(u8)]
    enum Msg {
        Ping,
        Text(String),
        Reading(Reading),
        Blob { id: u32, bytes: Vec<u8> },
    }

    #[track_caller]
    fn check(item: &Msg, hex: &str) {
        let bytes = super::check(item);
        let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, hex, "for {item:?}");
    }

    #[test]
    fn items_are_the_references() {
        check(&Msg::Ping, "00");
        check(&Msg::Text("héllo".into()), "010668c3a96c6c6f");
        check(
            &Msg::Reading(Reading {
                id: 123_456_789_012,
                name: "boiler/7".into(),
                value: -21.5,
                tags: vec![0, 127, 128, u32::MAX],
                note: None,
            }),
            "0294b4e4f4cb0308626f696c65722f3700000000008035c004007f8001ffffffff0f00",
        );
        check(
            &Msg::Reading(Reading {
                id: 0,
                name: String::new(),
                value: f64::INFINITY,
                tags: vec![],
                note: Some("ok".into()),
            }),
            "020000000000000000f07f0001026f6b",
        );
        check(&Msg::Blob { id: 300, bytes: vec![0, 255, 1, 254] }, "03ac020400ff01fe");
        check(&Msg::Text("with ack".into()), "0108776974682061636b");
        check(&Msg::Text("from server".into()), "010b66726f6d20736572766572");
    }
}

mod limits {
    use super::*;

    #[track_caller]
    fn check_refused<T: Both>(bytes: &[u8]) {
        assert_eq!(facet_decode::<T>(bytes), None, "Facet on {} bytes", bytes.len());
        assert_eq!(serde_decode::<T>(bytes), None, "serde on {} bytes", bytes.len());
    }

    /// The length 2⁶³ and nothing behind it.
    const HUGE: [u8; 10] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];

    #[test]
    fn lengths_without_bytes_are_refused() {
        check_refused::<Vec<u64>>(&HUGE);
        check_refused::<Vec<u8>>(&HUGE);
        check_refused::<Vec<Unit>>(&HUGE);
        check_refused::<String>(&HUGE);
        check_refused::<Vec<Vec<String>>>(&HUGE);
        check_refused::<BTreeMap<u8, u8>>(&HUGE);
        check_refused::<BTreeMap<(), Unit>>(&HUGE);
        let nested = [&[1, 1][..], &HUGE].concat();
        check_refused::<Vec<Vec<Vec<u64>>>>(&nested);
    }

    #[test]
    fn elements_without_bytes_are_counted_over_the_whole_message() {
        check(&vec![Unit; 4096]);
        check_refused::<Vec<Unit>>(&[0x81, 0x20]);
        check(&vec![vec![Unit; 100]; 40]);
        check_refused::<Vec<Vec<Unit>>>(&[&[41][..], &[100; 41]].concat());
        // Their number is the type's own choice here.
        check(&vec![Zoo::Array([0; 3]); 5000]);
        check(&vec![[(); 32]; 128]);
    }

    #[test]
    fn nesting_has_a_bound() {
        // On a stack as small as that of any test or worker thread.
        let deep = 100_000;
        check_refused::<Chain>(&[&vec![1; deep][..], &[0]].concat());
        check_refused::<Tree>(&[&vec![1; deep][..], &[0]].concat());
        check_refused::<Onion>(&[&vec![1; deep][..], &[0]].concat());
        check_refused::<Expression>(&[&vec![1; deep][..], &[0, 7]].concat());
        check_refused::<Expression>(&[3, 0, 1].repeat(deep));

        check(&(0..14).fold(Tree(vec![]), |tree, _| Tree(vec![tree])));
        check(&(0..15).fold(Chain { next: None }, |chain, _| Chain { next: Some(chain.into()) }));
        check(&(0..15).fold(Expression::Leaf(3), |inner, _| Expression::Not(inner.into())));
        // Breadth is not depth.
        check(&vec![Some(Some(1u8)); 1000]);
        check(&vec![Chain { next: Some(Box::new(Chain { next: None })) }; 1000]);
    }
}
