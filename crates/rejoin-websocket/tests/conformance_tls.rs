//! WebSocket links over TLS pass the suite.

mod certificate;
mod fixture;

use std::process::ExitCode;
use std::sync::Arc;

use fixture::WebSocket;
use rejoin_conformance::Suite;

fn main() -> ExitCode {
    let (server, client) = certificate::configs(&["localhost"]);
    let fixture = WebSocket {
        scheme: "wss",
        listener: Arc::new(move |listener| listener.with_tls(Arc::clone(&server))),
        source: Arc::new(move |source| source.with_tls(Arc::clone(&client))),
    };
    Suite::new(fixture).snapshot("tests/conformance_tls.snapshot").main()
}
