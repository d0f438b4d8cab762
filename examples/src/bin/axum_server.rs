//! A web server with a page and a WebSocket route whose clients keep their session when the
//! connection goes. The server is axum's; it grants the upgrade and hands the stream to rejoin.
//!
//! axum's own `WebSocketUpgrade` keeps the stream to itself, so the handler uses what that is built
//! on: hyper's upgrade of the request.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use facet::Facet;
use hyper_util::rt::TokioIo;
use rejoin_websocket::{
    Peer, Side, StableConduit, StableListener, WebSocketConfig, WebSocketLink, WebSocketLinkSender,
    WebSocketSource, refusal_response, upgrade_response, websocket_link_channel,
};

/// How many clients may wait to be accepted.
const WAITING_MAX: usize = 256;

/// An axum server with sessions over WebSockets, and a client for it.
#[derive(Parser)]
enum Command {
    /// Serves a page at / and sessions at /links until it is stopped.
    Serve {
        /// Where to listen; port 0 lets the system choose one.
        #[arg(long, default_value = "127.0.0.1:7000", value_name = "HOST:PORT")]
        listen: String,
    },
    /// Sends numbers and prints the sum so far after each.
    Call {
        /// The URL of the sessions.
        #[arg(long, default_value = "ws://127.0.0.1:7000/links")]
        url: String,
        /// What to send.
        #[arg(required = true, allow_negative_numbers = true)]
        numbers: Vec<i64>,
    },
}

/// What both sides send.
#[derive(Facet)]
struct Number {
    value: i64,
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let (links, listener) = websocket_link_channel(WAITING_MAX);
    let sessions = StableListener::<Number>::new(listener);
    let router = Router::new()
        .route("/", get(|| async { "sums at /links\n" }))
        .route("/links", get(upgrade))
        .with_state(links);
    let tcp = tokio::net::TcpListener::bind(address).await?;
    print(&format!("listening on {}", tcp.local_addr()?))?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        served = axum::serve(tcp, service) => Ok(served?),
        accepted = accept(sessions) => accepted,
    }
}

/// Grants an upgrade, and offers the link to the listener of the sessions.
async fn upgrade(
    State(links): State<WebSocketLinkSender>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let config = WebSocketConfig::default();
    let response = match upgrade_response(&request, &config) {
        Ok(response) => response,
        Err(refused) => return refusal_response(refused).map(|()| Body::empty()),
    };
    // Done by hyper when this handler has returned, so it is waited for elsewhere.
    let upgraded = hyper::upgrade::on(&mut request);
    let offered = links.offer(async move {
        let stream = TokioIo::new(upgraded.await.map_err(io::Error::other)?);
        Ok(WebSocketLink::from_upgraded(stream, Side::Server, Peer::at(peer), &config))
    });
    match offered {
        Ok(()) => response.map(|()| Body::empty()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn accept(mut sessions: StableListener<Number>) -> Result<(), Box<dyn Error>> {
    loop {
        let conduit = sessions.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = sum(conduit).await {
                let _ = writeln!(io::stderr(), "{}", with_causes(&*error));
            }
        });
    }
}

/// Adds up for one client. The sum outlives the connection, as the session does.
async fn sum(conduit: StableConduit<Number>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (tx, mut rx) = conduit.split();
    let mut sum = 0_i64;
    while let Some(number) = rx.recv().await? {
        sum = sum.wrapping_add(number.value);
        tx.send(&Number { value: sum }).await?;
    }
    Ok(())
}

async fn call(url: &str, numbers: Vec<i64>) -> Result<(), Box<dyn Error>> {
    let conduit = StableConduit::<Number>::connect(WebSocketSource::new(url)).await?;
    let (tx, mut rx) = conduit.split();
    for value in numbers {
        tx.send(&Number { value }).await?;
        let Some(sum) = rx.recv().await? else { break };
        print(&sum.value.to_string())?;
    }
    tx.close().await?;
    Ok(())
}

/// Prints a line; where nobody reads any more, that is no error.
fn print(line: &str) -> Result<(), String> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("the output could not be written: {error}"))
        }
        _ => Ok(()),
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Serve { listen } => serve(&listen).await,
        Command::Call { url, numbers } => call(&url, numbers).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}
