//! The web server: axum's, with a page and the route of the events, and the drain at its end.
//!
//! axum's own `WebSocketUpgrade` keeps the stream to itself, so the handler uses what that is built
//! on: hyper's upgrade of the request.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use hyper_util::rt::TokioIo;
use rejoin_websocket::{
    Drained, ListenerConfig, Peer, Side, StableListener, WebSocketConfig, WebSocketLink,
    WebSocketLinkSender, refusal_response, upgrade_response, websocket_link_channel,
};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fanout::{self, Happened};
use crate::{Event, Failure};

/// How many upgraded streams may wait to become links.
const LINKS_WAITING_MAX: usize = 256;

/// How much is sent to a client before it has acknowledged it. Little: what is in here is no longer
/// fresh, and cannot be left out any more.
const SEND_LOG_BYTES_MAX: usize = 8 * 1024;

/// When the clients of a server that ends are to try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What `serve` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where to listen; port 0 lets the system choose one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// How many events happen in a second.
    #[arg(long, default_value_t = 10, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// How many clients there may be at a time.
    #[arg(long, default_value_t = 1000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients_max: u32,
    /// How many seconds the clients have to hear the goodbye.
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) drain_limit: u64,
}

/// A server that listens, and has not begun to accept clients.
pub(crate) struct Server {
    address: SocketAddr,
    /// Ends with this value, and with it the web server.
    web: JoinSet<io::Result<()>>,
    sessions: StableListener<Event>,
    rate: u32,
    drain_limit: Duration,
}

/// What a server leaves behind.
pub(crate) struct Served {
    pub(crate) events: u64,
    pub(crate) clients: u64,
    pub(crate) drained: Drained,
}

impl Server {
    pub(crate) async fn start(options: &Options) -> Result<Self, Failure> {
        let (links, listener) = websocket_link_channel(LINKS_WAITING_MAX);
        let mut config = ListenerConfig::default();
        config.sessions_max = usize::try_from(options.clients_max)?;
        config.conduit.send_log_bytes_max = SEND_LOG_BYTES_MAX;
        // A client that does not take the goodbye is given up after that time, and again as long.
        let drain_limit = Duration::from_secs(options.drain_limit);
        config.conduit.linger = drain_limit;
        let sessions = StableListener::with_config(listener, config)?;
        let router = Router::new()
            .route("/", get(|| async { "events at /events\n" }))
            .route("/events", get(upgrade))
            .with_state(links);
        let tcp = tokio::net::TcpListener::bind(options.listen).await?;
        let address = tcp.local_addr()?;
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let mut web = JoinSet::new();
        web.spawn(async move { axum::serve(tcp, service).await });
        Ok(Self { address, web, sessions, rate: options.rate, drain_limit })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets events happen and sends them to whoever is there until `stop`, then drains.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Served, Failure> {
        let (publish, _) = broadcast::channel(fanout::WAITING_MAX);
        let mut clock = tokio::time::interval(Duration::from_secs(1) / self.rate);
        let (mut events, mut clients) = (0, 0);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = clock.tick() => {
                    // An error says that there are no clients.
                    let _ = publish.send(Happened { number: events, at: Instant::now() });
                    events += 1;
                }
                conduit = self.sessions.accept() => {
                    // One that ends early has lost its client, and nothing is left to be done for it.
                    tokio::spawn(fanout::feed(conduit?, publish.subscribe(), events));
                    clients += 1;
                }
                Some(ended) = self.web.join_next() => ended??,
            }
        }
        // The feeds of the clients come to their end, and say goodbye. Clients whose connections are
        // cut meanwhile still come back, so the web server goes on until all have heard it.
        drop(publish);
        let drained = self.sessions.drain(RETRY_AFTER, self.drain_limit).await;
        Ok(Served { events, clients, drained })
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, {} clients", self.events, self.clients)?;
        for late in &self.drained.unfinished {
            let unheard = late.stats.send_log_messages;
            write!(f, "\nnot finished: {}, with {unheard} messages on their way", late.peer)?;
        }
        Ok(())
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

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn told_to_stop() {
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => _ = signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
