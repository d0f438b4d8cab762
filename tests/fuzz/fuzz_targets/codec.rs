//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `codec`.
#![no_main]

rejoin_fuzz::target!("codec");
