//! WebSockets over the loopback interface, through the proxy. A cut inside a handshake falls into
//! that of HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rejoin_conformance::proxy::FaultProxy;
use rejoin_websocket::{
    LinkListener, LinkSource, WebSocketConfig, WebSocketLinkListener, WebSocketSource,
};

use super::{Receivers, open_metered};
use crate::meter::Framing;
use crate::options::Options;
use crate::run::RunError;
use crate::saboteur::Scene;

pub(super) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let mut listener = bind().await.map_err(RunError::Bind)?;
    let address = listener.local_addr().map_err(RunError::Bind)?;
    let proxy = FaultProxy::start(address).await.map_err(RunError::Bind)?;
    let mut source = source(&proxy);
    let [request, response] =
        head_bytes(&mut listener, &mut source, &proxy).await.map_err(RunError::Bind)?;
    let to_client = Framing::WebSocket { head_bytes: response, mask_bytes: 0 };
    let to_server = Framing::WebSocket { head_bytes: request, mask_bytes: 4 };
    open_metered(options, proxy, (listener, to_client), (source, to_server)).await
}

pub(super) async fn bind() -> io::Result<WebSocketLinkListener> {
    Ok(WebSocketLinkListener::bind("127.0.0.1:0").await?.with_config(config()))
}

pub(super) fn source(proxy: &FaultProxy) -> WebSocketSource {
    WebSocketSource::new(format!("ws://{}/", proxy.addr())).with_config(config())
}

/// As impatient as the conduits: a handshake can be silenced, too.
fn config() -> WebSocketConfig {
    WebSocketConfig { handshake_timeout: Duration::from_millis(500), ..Default::default() }
}

/// How long the heads of request and response are, which are the same each time: found out by one
/// upgrade after which nothing is said.
async fn head_bytes(
    listener: &mut WebSocketLinkListener,
    source: &mut WebSocketSource,
    proxy: &FaultProxy,
) -> io::Result<[u64; 2]> {
    let accept = async { listener.accept().await?.await };
    let links = tokio::try_join!(source.next_link(), accept)?;
    let stats =
        proxy.wait_until(|stats| stats.to_server.bytes > 0 && stats.to_client.bytes > 0).await;
    drop(links);
    proxy.wait_until(|stats| stats.live == 0).await;
    Ok([stats.to_server.bytes, stats.to_client.bytes])
}
