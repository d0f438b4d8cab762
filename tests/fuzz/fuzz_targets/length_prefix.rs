//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `length_prefix`.
#![no_main]

rejoin_fuzz::target!("length_prefix");
