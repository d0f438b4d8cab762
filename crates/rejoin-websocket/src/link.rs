//! A link over one WebSocket connection, however it was upgraded.

use std::io;

use bytes::BytesMut;
use rejoin_core::{Link, Peer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::WebSocketConfig;
use crate::frame::Side;
use crate::frames::FrameReader;
use crate::handshake;
use crate::rx::WebSocketLinkRx;
use crate::shared::{Shared, Writer};
use crate::tx::WebSocketLinkTx;

/// A link over one WebSocket connection. Each payload is one binary message.
///
/// The halves share no lock while they work: a sending half that waits for a slow peer holds up no
/// receiving half, and the other way round.
#[derive(Debug)]
pub struct WebSocketLink {
    tx: WebSocketLinkTx,
    rx: WebSocketLinkRx,
    peer: Peer,
}

impl WebSocketLink {
    /// A link over a stream on which the upgrade has been done elsewhere, such as by hyper or axum;
    /// see [`upgrade_response`](crate::upgrade_response). Nothing that came after the upgrade may
    /// have been read from the stream.
    ///
    /// A `WebSocketStream` that `tokio_tungstenite::accept_async` has just given can be used through
    /// its `into_inner`, as it has read nothing but the request. One from `client_async` may have
    /// read more, and would lose it; use [`connect`](Self::connect) there.
    pub fn from_upgraded<S>(stream: S, side: Side, peer: Peer, config: &WebSocketConfig) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self::from_stream(stream, BytesMut::new(), side, peer, config)
    }

    /// Grants the upgrade that a client asks for over `stream`, whatever the path, and makes a link
    /// of it.
    ///
    /// Waits for as long as the client takes: run it under a deadline.
    ///
    /// # Errors
    ///
    /// [`WebSocketError`](crate::WebSocketError) inside.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn accept<S>(stream: S, peer: Peer, config: &WebSocketConfig) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (stream, read) = handshake::server(stream, &peer, None, config).await?;
        Ok(Self::from_stream(stream, read, Side::Server, peer, config))
    }

    /// Asks for an upgrade over `stream` with a `GET` of `url`, and makes a link of it. Here, the
    /// URL's host and scheme decide only what the request says.
    ///
    /// Waits for as long as the server takes: run it under a deadline.
    ///
    /// # Errors
    ///
    /// [`WebSocketError`](crate::WebSocketError) inside.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn connect<S>(
        stream: S,
        url: &str,
        peer: Peer,
        config: &WebSocketConfig,
    ) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let target = crate::url::Target::parse(url)?;
        let request = handshake::request(&target, &http::HeaderMap::new(), config)?;
        let (stream, read) = handshake::client(stream, request, &peer, config).await?;
        Ok(Self::from_stream(stream, read, Side::Client, peer, config))
    }

    /// A link over a stream of which `read` was read after the upgrade.
    pub(crate) fn from_stream<S>(
        stream: S,
        read: BytesMut,
        side: Side,
        peer: Peer,
        config: &WebSocketConfig,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        Self::from_halves((Box::new(reader), Box::new(writer)), read, side, peer, config)
    }

    /// As [`from_stream`](Self::from_stream), over a stream that has halves of its own.
    pub(crate) fn from_halves(
        (reader, writer): Halves,
        read: BytesMut,
        side: Side,
        peer: Peer,
        config: &WebSocketConfig,
    ) -> Self {
        let writer = Writer::new(writer, side);
        let progress = writer.progress();
        let shared = Shared::new(writer);
        let reader = FrameReader::new(reader, read, side, config);
        let tx = WebSocketLinkTx::new(shared.clone(), progress, side, config);
        Self { tx, rx: WebSocketLinkRx::new(shared, reader, config.close_timeout), peer }
    }
}

/// The two halves of a stream. Boxed, so that links of all kinds are of one type: that costs one
/// indirect call for each system call.
pub(crate) type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl Link for WebSocketLink {
    type Tx = WebSocketLinkTx;
    type Rx = WebSocketLinkRx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        (self.tx, self.rx)
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}
