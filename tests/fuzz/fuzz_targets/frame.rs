//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `frame`.
#![no_main]

rejoin_fuzz::target!("frame");
