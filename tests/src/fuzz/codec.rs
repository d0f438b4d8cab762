//! Messages: bytes that a peer says are one. Both postcard codecs read them, of types of every kind,
//! and agree on what they are.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use bytes::BytesMut;
use facet::Facet;
use rejoin_core::{Codec, FacetPostcard, Raw, RawBytes, Serde, SerdePostcard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A type that both codecs know.
trait Both: Facet<'static> + Serialize + DeserializeOwned + Debug + Send {}
impl<T: Facet<'static> + Serialize + DeserializeOwned + Debug + Send> Both for T {}

/// The first byte says what the others are read as.
pub(super) fn run(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    const KINDS: [fn(&[u8]); 18] = [
        check::<Zoo>,
        check::<Vec<Zoo>>,
        check::<Numbers>,
        check::<Vec<Expression>>,
        check::<Tree>,
        check::<Chain>,
        check::<Onion>,
        check::<Vec<Unit>>,
        check::<BTreeMap<u8, Vec<Inner>>>,
        check::<BTreeMap<String, BTreeMap<i16, ()>>>,
        check::<(String, Vec<u64>, Option<Box<Pair>>)>,
        check::<Vec<[u64; 32]>>,
        check::<Vec<Vec<Vec<()>>>>,
        check::<Vec<char>>,
        check::<Result<(bool, f32), [Inner; 2]>>,
        check::<u128>,
        // Its order is nobody's, so two of them are not compared.
        decode::<HashMap<u16, String>>,
        raw,
    ];
    KINDS[usize::from(kind) % KINDS.len()](bytes);
}

/// Where both take the bytes, it is for the same message, and what they write is that message again.
fn check<T: Both>(bytes: &[u8]) {
    let facet = <FacetPostcard as Codec<T>>::decode(bytes).ok();
    let serde = <SerdePostcard as Codec<Serde<T>>>::decode(bytes).ok();
    // They count nesting differently, so one may refuse as too deep what the other takes.
    let (Some(facet), Some(serde)) = (facet, serde) else { return };
    // As text, in which numbers that are not numbers are equal.
    let text = format!("{facet:?}");
    assert_eq!(text, format!("{serde:?}"));
    let (mut by_facet, mut by_serde) = (BytesMut::new(), BytesMut::new());
    <FacetPostcard as Codec<T>>::encode(&facet, &mut by_facet).expect("it was decoded");
    <SerdePostcard as Codec<Serde<T>>>::encode(&serde, &mut by_serde).expect("it was decoded");
    assert_eq!(by_facet.len(), by_serde.len());
    for written in [by_facet, by_serde] {
        assert!(written.len() <= bytes.len(), "no encoding is longer than the shortest");
        let again = <FacetPostcard as Codec<T>>::decode(&written).expect("it was encoded");
        assert_eq!(format!("{again:?}"), text);
    }
}

fn decode<T: Both>(bytes: &[u8]) {
    let facet = <FacetPostcard as Codec<T>>::decode(bytes).is_ok();
    assert_eq!(facet, <SerdePostcard as Codec<Serde<T>>>::decode(bytes).is_ok());
}

fn raw(bytes: &[u8]) {
    let item = <RawBytes as Codec<Raw>>::decode(bytes).expect("anything is raw bytes");
    assert_eq!(item, bytes);
}

#[derive(Facet, Serialize, Deserialize, Debug)]
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

#[derive(Facet, Serialize, Deserialize, Debug)]
struct Unit;

#[derive(Facet, Serialize, Deserialize, Debug)]
struct Newtype(u16);

#[derive(Facet, Serialize, Deserialize, Debug)]
struct Pair(i32, String);

#[derive(Facet, Serialize, Deserialize, Debug)]
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

#[derive(Facet, Serialize, Deserialize, Debug)]
#[repr(u8)]
enum Inner {
    Empty,
    Text(String),
    Point { x: f32, y: f64 },
    Maybe(Option<Option<u8>>),
}

/// A type that holds itself, so that the peer chooses how deeply it is nested.
#[derive(Facet, Serialize, Deserialize, Debug)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Facet, Serialize, Deserialize, Debug)]
struct Tree(Vec<Tree>);

#[derive(Facet, Serialize, Deserialize, Debug)]
#[repr(u8)]
enum Expression {
    Leaf(u8),
    Not(Box<Expression>),
    Sum(Box<Expression>, Box<Expression>),
    Named { name: String, of: Option<Box<Expression>> },
}

/// A type that nests through nothing but options.
#[derive(Facet, Serialize, Deserialize, Debug)]
struct Onion(Option<Box<Onion>>);
