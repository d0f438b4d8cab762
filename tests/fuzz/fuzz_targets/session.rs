//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `session`.
#![no_main]

rejoin_fuzz::target!("session");
