//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `hello`.
#![no_main]

rejoin_fuzz::target!("hello");
