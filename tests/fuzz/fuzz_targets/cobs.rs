//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `cobs`.
#![no_main]

rejoin_fuzz::target!("cobs");
