//! WebSocket links pass the suite.

mod fixture;

use std::process::ExitCode;
use std::sync::Arc;

use fixture::WebSocket;

fn main() -> ExitCode {
    let fixture = WebSocket {
        scheme: "ws",
        listener: Arc::new(|listener| listener),
        source: Arc::new(|source| source),
    };
    rejoin_conformance::main(fixture)
}
