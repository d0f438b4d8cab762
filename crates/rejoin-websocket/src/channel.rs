//! Links that another server has upgraded, such as axum's, for a listener of sessions. Neither
//! listens nor shakes hands itself.

use std::future::Future;
use std::io;

use rejoin_core::LinkListener;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::link::WebSocketLink;
use crate::listener::WebSocketUpgrade;

/// A channel for links from a web server to a listener. Up to `capacity` links, and at least one, wait
/// in it for the listener.
///
/// ```
/// use rejoin_websocket::{
///     Peer, Side, StableConduit, StableListener, WebSocketConfig, WebSocketLink,
///     websocket_link_channel,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (links, listener) = websocket_link_channel(64);
/// let mut sessions = StableListener::<String>::new(listener);
///
/// // In a web server's handler; `upgraded` would be what its upgrade has given.
/// # let (upgraded, _client) = tokio::io::duplex(1024);
/// links.offer(async move {
///     let peer = Peer::at("192.0.2.1:1234");
///     let config = WebSocketConfig::default();
///     Ok(WebSocketLink::from_upgraded(upgraded, Side::Server, peer, &config))
/// })?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn websocket_link_channel(capacity: usize) -> (WebSocketLinkSender, WebSocketLinkReceiver) {
    let (tx, rx) = mpsc::channel(capacity.max(1));
    (WebSocketLinkSender(tx), WebSocketLinkReceiver(rx))
}

/// Offers links to a [`WebSocketLinkReceiver`]. Clones offer to the same one.
#[derive(Clone, Debug)]
pub struct WebSocketLinkSender(mpsc::Sender<WebSocketUpgrade>);

/// Why a link was not taken. A web server tells its client so with the status 503.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum OfferError {
    /// As many links as fit wait already.
    #[error("too many links wait to be accepted")]
    Full,
    /// The listener is gone.
    #[error("nobody accepts links any more")]
    Closed,
}

impl WebSocketLinkSender {
    /// Offers the link that `upgrade` gives, without waiting for anything.
    ///
    /// The upgrade is run by whoever accepts it, under a deadline and beside those of other peers.
    /// Most web servers complete an upgrade after their handler has returned its response, so a
    /// handler could not wait for it.
    ///
    /// # Errors
    ///
    /// When there is no room or no listener; the upgrade is dropped then.
    pub fn offer(
        &self,
        upgrade: impl Future<Output = io::Result<WebSocketLink>> + Send + 'static,
    ) -> Result<(), OfferError> {
        self.0.try_send(WebSocketUpgrade::new(upgrade)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OfferError::Full,
            mpsc::error::TrySendError::Closed(_) => OfferError::Closed,
        })
    }
}

/// Accepts the links that [`WebSocketLinkSender`]s offer. When all of those are gone, it fails with
/// [`io::ErrorKind::Unsupported`].
#[derive(Debug)]
pub struct WebSocketLinkReceiver(mpsc::Receiver<WebSocketUpgrade>);

impl LinkListener for WebSocketLinkReceiver {
    type Link = WebSocketLink;
    type Upgrade = WebSocketUpgrade;

    async fn accept(&mut self) -> io::Result<WebSocketUpgrade> {
        self.0.recv().await.ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "nobody offers links any more")
        })
    }
}
