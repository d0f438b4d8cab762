//! libFuzzer's way into `rejoin_tests::fuzz`, for the target `websocket`.
#![no_main]

rejoin_fuzz::target!("websocket");
