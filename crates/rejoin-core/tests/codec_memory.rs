//! Decoding allocates in proportion to the bytes that a peer really sent, whatever they claim.
//!
//! Its own test binary with a single test, because it counts every allocation in the process.
#![cfg(feature = "serde")]

use std::alloc::System;

use facet::Facet;
use rejoin_core::{Codec, FacetPostcard, Serde, SerdePostcard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Facet, Serialize, Deserialize)]
struct Record {
    name: String,
    values: Vec<u64>,
    parts: Vec<Vec<String>>,
}

#[derive(Facet, Serialize, Deserialize)]
struct Large([u64; 32]);

#[derive(Facet, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

/// Counts what both codecs allocate for `bytes`, per byte and beyond a constant.
#[track_caller]
fn check<T>(what: &str, bytes: &[u8])
where
    T: Facet<'static> + Serialize + DeserializeOwned + Send,
{
    let most = 64 * 1024 + bytes.len() * 256;
    for (codec, decode) in [
        (
            "Facet",
            (|bytes| <FacetPostcard as Codec<T>>::decode(bytes).is_ok()) as fn(&[u8]) -> bool,
        ),
        ("serde", |bytes| <SerdePostcard as Codec<Serde<T>>>::decode(bytes).is_ok()),
    ] {
        // Once before, because Facet keeps what it learns of a type.
        decode(bytes);
        let region = Region::new(ALLOCATOR);
        decode(bytes);
        let allocated = region.change().bytes_allocated;
        assert!(allocated <= most, "{codec} took {allocated} bytes for {} of {what}", bytes.len());
    }
}

#[test]
fn a_claim_costs_nothing() {
    // Lengths of 2⁴⁰ and 2²⁴ at every place where a length can stand.
    for length in [&[0x80, 0x80, 0x80, 0x80, 0x80, 0x20][..], &[0x80, 0x80, 0x80, 0x08]] {
        for before in [&[][..], &[0], &[0, 0], &[0, 0, 1], &[0, 0, 1, 1], &[1], &[1, 1]] {
            for after in [0, 1, 1000] {
                let bytes = [before, length, &vec![1; after]].concat();
                check::<Record>("Record", &bytes);
                check::<Vec<u64>>("Vec<u64>", &bytes);
                check::<Vec<Large>>("Vec<Large>", &bytes);
                check::<Vec<()>>("Vec<()>", &bytes);
                check::<String>("String", &bytes);
                check::<Vec<Vec<Vec<u64>>>>("Vec<Vec<Vec<u64>>>", &bytes);
                check::<Tree>("Tree", &bytes);
            }
        }
    }
    // A length that the bytes could hold, if the elements were not larger than that.
    check::<Vec<Large>>("Vec<Large>", &[&[0xff, 0x7f][..], &[1; 0x3fff]].concat());
    check::<Vec<()>>("Vec<()>", &[0x80, 0x20]);
    check::<Vec<Vec<()>>>("Vec<Vec<()>>", &[&[40][..], &[100; 40]].concat());
}
