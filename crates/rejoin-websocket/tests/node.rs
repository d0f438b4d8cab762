//! Against Node.js: its own WebSocket as the client of our listener, and a server whose WebSocket is
//! written by hand. Both speak the wire of docs/protocol.md, in either profile (HELLO-3, HELLO-6), and
//! both lose their link once. Without Node there is nothing to do, which is printed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use rejoin_websocket::http::{HeaderName, HeaderValue};
use rejoin_websocket::{
    Raw, StableConduit, StableConfig, StableListener, WebSocketConfig, WebSocketSource,
};
use support::{listen, soon};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Runs a script of `tests/node`, if there is a Node that can.
async fn node(script: &str, arguments: &[&str], needs_websocket: bool) -> Option<Child> {
    let version = Command::new("node").arg("--version").output().await;
    let Ok(version) = version else {
        println!("skipped: there is no `node` on this machine");
        return None;
    };
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok());
    let mut command = Command::new("node");
    match major {
        // Behind a flag in 20, and there is no such flag before.
        Some(0..20) | None if needs_websocket => {
            println!("skipped: node {version} has no WebSocket of its own");
            return None;
        }
        Some(20 | 21) if needs_websocket => {
            command.arg("--experimental-websocket");
        }
        _ => {}
    }
    let path = format!("{}/tests/node/{script}", env!("CARGO_MANIFEST_DIR"));
    let child = command.arg(path).args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    Some(child.unwrap())
}

fn config() -> WebSocketConfig {
    WebSocketConfig { subprotocol: Some("rejoin.test".into()), ..WebSocketConfig::default() }
}

async fn check_client(profile: &str) {
    let (listener, url) = listen().await;
    let listener = listener.with_config(config());
    let mut sessions = StableListener::<Raw>::new(listener);
    let Some(client) = node("client.mjs", &[&url, profile], true).await else { return };
    let serve = tokio::spawn(async move {
        let (tx, mut rx) = sessions.accept().await.unwrap().split();
        let mut items = Vec::new();
        while let Ok(Some(item)) = rx.recv().await {
            tx.send(&&item.get().to_ascii_uppercase()[..]).await.unwrap();
            items.push(String::from_utf8(item.get().to_vec()).unwrap());
            if items.len() == 5 {
                break;
            }
        }
        (items, tx, sessions)
    });
    let output = soon(client.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "ONE\nTWO\nTHREE\nFOUR\nFIVE\nclosed 1000\n");
    let (items, ..) = soon(serve).await.unwrap();
    assert_eq!(items, ["one", "two", "three", "four", "five"]);
}

#[tokio::test]
async fn a_node_client_of_the_base_profile() {
    check_client("base").await;
}

#[tokio::test]
async fn a_node_client_of_the_extended_profile() {
    check_client("extended").await;
}

async fn check_server(mut stable: StableConfig) {
    let Some(mut server) = node("server.mjs", &[], false).await else { return };
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = soon(lines.next_line()).await.unwrap().unwrap();
    let url = format!("ws://127.0.0.1:{port}/links?a=b");

    let mut refused = WebSocketSource::new(&url);
    let error = soon(rejoin_websocket::LinkSource::next_link(&mut refused)).await.unwrap_err();
    let status = support::websocket_error(&error).http_status().map(|status| status.as_u16());
    assert_eq!(status, Some(403));

    let source = WebSocketSource::new(&url)
        .with_config(config())
        .with_header(HeaderName::from_static("x-test"), HeaderValue::from_static("yes"));
    stable.redial.backoff_min = Duration::from_millis(10);
    let conduit = soon(StableConduit::<Raw>::connect_with(source, stable)).await.unwrap();
    let (tx, mut rx) = conduit.split();
    for item in ["one", "two", "three", "four"] {
        tx.send(&item.as_bytes()).await.unwrap();
    }
    for expected in ["ONE", "TWO", "THREE", "FOUR"] {
        assert_eq!(*soon(rx.recv()).await.unwrap().unwrap().get(), expected.as_bytes());
    }
    soon(tx.close()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "pong");
    }
}

#[tokio::test]
async fn a_node_server_of_the_extended_profile() {
    check_server(StableConfig::default()).await;
}

#[tokio::test]
async fn a_node_server_of_the_base_profile() {
    use rejoin_websocket::protocol::Profile;
    let mut stable = StableConfig::default();
    stable.profile = Profile::Base;
    check_server(stable).await;
}
