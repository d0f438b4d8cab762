//! The upgrade of a connection to a WebSocket, for either side. What HTTP and RFC 6455 want of it is
//! tokio-tungstenite's business; here are the limits on it, and what is asked and granted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use rejoin_core::Peer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{
    ErrorResponse, create_response_with_body, write_response,
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig as Tungstenite;
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

use crate::config::WebSocketConfig;
use crate::error::{UpgradeRefused, WebSocketError};
use crate::url::Target;

/// How much a client that gets no link may go on to say before its connection is closed all the same.
const UNREAD_BYTES_MAX: u64 = 64 * 1024;
/// And for how long.
const UNREAD_LIMIT: Duration = Duration::from_millis(500);

/// The request for an upgrade to `target`, with `headers` in addition.
pub(crate) fn request(
    target: &Target,
    headers: &HeaderMap,
    config: &WebSocketConfig,
) -> Result<Request<()>, WebSocketError> {
    let invalid = |name: &HeaderName| WebSocketError::InvalidHeader { name: name.to_string() };
    let asked = target.uri.clone().into_client_request();
    let mut request = asked.map_err(|_| WebSocketError::InvalidUrl {
        url: target.text.clone(),
        reason: "no request can be made of it",
    })?;
    for (name, value) in headers {
        if name.as_str().starts_with("sec-websocket-") || [CONNECTION, UPGRADE].contains(name) {
            return Err(invalid(name));
        }
        if name == http::header::HOST {
            request.headers_mut().insert(name, value.clone());
        } else {
            request.headers_mut().append(name, value.clone());
        }
    }
    if let Some(subprotocol) = &config.subprotocol {
        let value = protocol_value(subprotocol).ok_or_else(|| invalid(&SEC_WEBSOCKET_PROTOCOL))?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(request)
}

/// Asks for an upgrade; gives the stream and what has been read from it beyond the answer.
pub(crate) async fn client<S>(
    stream: S,
    request: Request<()>,
    peer: &Peer,
    config: &WebSocketConfig,
) -> Result<(S, BytesMut), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = HeadStream::new(stream, config.head_bytes_max);
    let Err(error) = client_async_with_config(request, &mut head, small()).await else {
        return Ok(head.into_parts());
    };
    let address = peer.to_string();
    Err(match error {
        Error::Http(response) => WebSocketError::Http { address, status: response.status() },
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            WebSocketError::Subprotocol { address }
        }
        error => head.failure(address, error),
    })
}

/// Grants an upgrade at `path`, or anywhere; gives the stream and what has been read from it beyond
/// the request.
pub(crate) async fn server<S>(
    stream: S,
    peer: &Peer,
    path: Option<&str>,
    config: &WebSocketConfig,
) -> Result<(S, BytesMut), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = HeadStream::new(stream, config.head_bytes_max);
    let mut refused = None;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let judge = |request: &Request<()>, response: Response<()>| {
        let judged = select(request, path, config.subprotocol.as_deref());
        judged.map(|selected| with_protocol(response, selected)).map_err(|reason| {
            refused = Some(reason);
            refusal(reason).map(|()| None) as ErrorResponse
        })
    };
    let Err(error) = accept_hdr_async_with_config(&mut head, judge, small()).await else {
        return Ok(head.into_parts());
    };
    let address = peer.to_string();
    if let Some(source) = refused {
        return Err(WebSocketError::Refused { address, source });
    }
    let is_request = match &error {
        Error::Protocol(error) => *error != ProtocolError::HandshakeIncomplete,
        Error::HttpFormat(_) | Error::Utf8(_) => true,
        _ => false,
    };
    if is_request {
        // Tungstenite says nothing to somebody who does not ask for a WebSocket.
        decline(&mut head.inner, &refusal(UpgradeRefused::NotAnUpgrade)).await;
        return Err(WebSocketError::Refused { address, source: UpgradeRefused::NotAnUpgrade });
    }
    if head.too_long {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        decline(&mut head.inner, &closing(response)).await;
    }
    Err(head.failure(address, error))
}

/// Answers a request that is not granted, and ends the stream.
async fn decline<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, response: &Response<()>) {
    let mut answer = Vec::new();
    // Whoever is gone needs no answer.
    if write_response(&mut answer, &response.clone().map(|()| None::<String>)).is_err()
        || stream.write_all(&answer).await.is_err()
    {
        return;
    }
    end(stream).await;
}

/// Ends a stream, and lets the peer read the answer that it was given: a connection that is closed
/// with something unread is reset, which may overtake the answer.
pub(crate) async fn end<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = stream.take(UNREAD_BYTES_MAX);
    let _ = timeout(UNREAD_LIMIT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// The response that grants the upgrade that `request` asks for, with the subprotocol of `config`;
/// for servers of the `http` crate's types, such as hyper and axum.
///
/// Whoever grants it has the upgraded stream for
/// [`WebSocketLink::from_upgraded`](crate::WebSocketLink::from_upgraded) afterwards, in hyper from
/// `hyper::upgrade::on`, which is to be called first. The path has been judged by the server's
/// router.
///
/// # Errors
///
/// When the request cannot be granted; [`refusal_response`] is the answer to it.
pub fn upgrade_response<B>(
    request: &Request<B>,
    config: &WebSocketConfig,
) -> Result<Response<()>, UpgradeRefused> {
    let response =
        create_response_with_body(request, || ()).map_err(|_| UpgradeRefused::NotAnUpgrade)?;
    let selected = select(request, None, config.subprotocol.as_deref())?;
    Ok(with_protocol(response, selected))
}

/// The response that tells a client why it gets no upgrade.
#[must_use]
pub fn refusal_response(refused: UpgradeRefused) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = refused.status();
    if refused == UpgradeRefused::NotAnUpgrade {
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

/// A refusal after which the connection is closed.
fn refusal(refused: UpgradeRefused) -> Response<()> {
    let mut response = closing(refusal_response(refused));
    if refused == UpgradeRefused::NotAnUpgrade {
        let both = HeaderValue::from_static("close, upgrade");
        response.headers_mut().insert(CONNECTION, both);
    }
    response
}

/// The response without a body, as the last thing on its connection.
fn closing(mut response: Response<()>) -> Response<()> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// The subprotocol to select for a request, if there is one and the request may be granted.
fn select<B>(
    request: &Request<B>,
    path: Option<&str>,
    subprotocol: Option<&str>,
) -> Result<Option<HeaderValue>, UpgradeRefused> {
    if path.is_some_and(|path| path != request.uri().path()) {
        return Err(UpgradeRefused::Path);
    }
    let Some(wanted) = subprotocol else { return Ok(None) };
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offers.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    if !offered.any(|offer| offer.trim() == wanted) {
        return Err(UpgradeRefused::Subprotocol);
    }
    // One that is no token cannot have been offered.
    protocol_value(wanted).map(Some).ok_or(UpgradeRefused::Subprotocol)
}

fn with_protocol(mut response: Response<()>, selected: Option<HeaderValue>) -> Response<()> {
    if let Some(selected) = selected {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, selected);
    }
    response
}

/// A subprotocol as the value of its header, if it is a token as RFC 6455 wants it.
fn protocol_value(subprotocol: &str) -> Option<HeaderValue> {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
    let valid = !subprotocol.is_empty() && subprotocol.chars().all(is_token);
    valid.then(|| HeaderValue::from_str(subprotocol).ok()).flatten()
}

/// Tungstenite's WebSocket is thrown away after the handshake and needs no buffers.
fn small() -> Option<Tungstenite> {
    Some(Tungstenite::default().read_buffer_size(0).write_buffer_size(0))
}

/// A stream that gives out the head of an HTTP message and nothing behind it, so that what follows
/// is not lost in somebody else's buffer; and no more than a limit of it.
struct HeadStream<S> {
    inner: S,
    read: BytesMut,
    left: usize,
    bytes_max: usize,
    /// How many line ends came in a row; two end a head.
    line_ends: u8,
    too_long: bool,
}

impl<S> HeadStream<S> {
    fn new(inner: S, bytes_max: usize) -> Self {
        let read = BytesMut::new();
        Self { inner, read, left: bytes_max, bytes_max, line_ends: 0, too_long: false }
    }

    fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.read)
    }

    fn failure(&self, address: String, error: Error) -> WebSocketError {
        let source = match error {
            _ if self.too_long => {
                return WebSocketError::HeadTooLong { address, bytes_max: self.bytes_max };
            }
            Error::Io(error) => error,
            Error::Protocol(ProtocolError::HandshakeIncomplete) => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the peer ended the connection")
            }
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        };
        WebSocketError::Handshake { address, source }
    }

    /// How much of what was read belongs to the head.
    fn head_len(&mut self) -> usize {
        for (at, byte) in self.read.iter().enumerate() {
            match byte {
                b'\n' => self.line_ends += 1,
                b'\r' => {}
                _ => self.line_ends = 0,
            }
            if self.line_ends == 2 {
                return at + 1;
            }
        }
        self.read.len()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.line_ends == 2 {
            return Poll::Ready(Ok(()));
        }
        if this.left == 0 {
            this.too_long = true;
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        // Never more than is given out, except behind the end.
        let room = buf.remaining().min(this.left).min(1 << 10);
        this.read.reserve(room);
        let mut limited = (&mut this.inner).take(room as u64);
        let read = std::pin::pin!(limited.read_buf(&mut this.read));
        ready!(read.poll(cx))?;
        let len = this.head_len();
        buf.put_slice(&this.read[..len]);
        this.read.advance(len);
        this.left -= len;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
