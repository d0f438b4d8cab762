//! The receiving half, which also sees to it that the peer's pings and closes are answered. Knows
//! nothing of what the sending half sends.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{LinkRx, Progress};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::WebSocketRecvError;
use crate::frames::{FrameReader, Said};
use crate::shared::Shared;

/// The receiving half of a [`WebSocketLink`](crate::WebSocketLink).
///
/// - `None` follows a close with the code 1000 or 1001 or without one. Any other code, and a
///   connection that ends without a close, is an error.
/// - The peer's close ends what the peer sends, not what this side sends: it is answered when the
///   sending half is closed or dropped.
/// - A ping is answered and flushed by the [`recv`](LinkRx::recv) that reads it, whether or not the
///   sending half does anything. Of several pings only the latest may be answered. Pongs are ignored.
/// - A text message and whatever else the peer must not send is a [`WebSocketRecvError`], and the
///   peer is told why with a close.
/// - Messages in several frames are put together. A payload shares the memory it was read into.
#[derive(Debug)]
pub struct WebSocketLinkRx {
    shared: Arc<Shared>,
    reader: FrameReader,
    state: State,
    /// Something was to be sent and may not be sent yet.
    answering: bool,
    close_timeout: Duration,
}

/// Whether more can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Closed,
    Failed,
}

impl WebSocketLinkRx {
    pub(crate) fn new(shared: Arc<Shared>, reader: FrameReader, close_timeout: Duration) -> Self {
        Self { shared, reader, state: State::Open, answering: false, close_timeout }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match self.reader.next() {
                Ok(Some(Said::Message(payload))) => {
                    self.answer(cx);
                    return Poll::Ready(Ok(Some(payload)));
                }
                Ok(Some(Said::Ping(payload))) => {
                    self.shared.want_pong(&payload);
                    self.answering = true;
                }
                Ok(Some(Said::Close(None | Some((1000 | 1001, _))))) => {
                    self.shared.peer_closed();
                    self.answering = true;
                    self.answer(cx);
                    return Poll::Ready(Ok(None));
                }
                Ok(Some(Said::Close(Some((code, reason))))) => {
                    return self.fail(cx, WebSocketRecvError::Closed { code, reason });
                }
                Ok(None) => {
                    self.answer(cx);
                    let more = match ready!(self.reader.poll_read(cx)) {
                        Ok(more) => more,
                        Err(error) => {
                            self.shared.fail(None);
                            return Poll::Ready(Err(error));
                        }
                    };
                    if !more {
                        let received = self.reader.pending_bytes();
                        return self.fail(cx, WebSocketRecvError::EndOfStream { received });
                    }
                }
                Err(error) => return self.fail(cx, error),
            }
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>) {
        self.answering = self.answering && self.shared.poll_answer(cx);
    }

    /// The link is dead; tells the peer why, if the medium takes that at once.
    fn fail<T>(&mut self, cx: &mut Context<'_>, error: WebSocketRecvError) -> Poll<io::Result<T>> {
        let code = match &error {
            WebSocketRecvError::PayloadTooLarge { .. } => Some(1009),
            WebSocketRecvError::Text => Some(1003),
            WebSocketRecvError::Protocol { .. } => Some(1002),
            WebSocketRecvError::Closed { code, .. } => Some(*code),
            WebSocketRecvError::EndOfStream { .. } | WebSocketRecvError::Failed => None,
        };
        self.shared.fail(code);
        self.shared.poll_answer(cx);
        Poll::Ready(Err(error.into()))
    }
}

impl LinkRx for WebSocketLinkRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        match self.state {
            State::Open => {}
            State::Closed => return Ok(None),
            State::Failed => return Err(WebSocketRecvError::Failed.into()),
        }
        let received = std::future::poll_fn(|cx| self.poll_recv(cx)).await;
        match &received {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Closed,
            Err(_) => self.state = State::Failed,
        }
        received
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        self.reader.limit(bytes_max);
    }

    fn progress(&self) -> Progress {
        self.reader.progress()
    }
}

impl Drop for WebSocketLinkRx {
    fn drop(&mut self) {
        if self.state == State::Open
            && let Some(reader) = self.shared.rx_gone(self.reader.take())
        {
            linger(reader, Arc::clone(&self.shared), self.close_timeout);
        }
    }
}

/// Waits for the peer's close on a link that this side has closed, without anybody waiting for it.
/// A connection that is dropped with something left to read is reset, and a reset may destroy what
/// was written last.
pub(crate) fn linger(mut reader: FrameReader, shared: Arc<Shared>, limit: Duration) {
    // Without a runtime there is nothing that could read.
    let Ok(runtime) = Handle::try_current() else { return };
    reader.limit(None);
    runtime.spawn(async move {
        let ended = std::future::poll_fn(|cx| {
            loop {
                match reader.next() {
                    Ok(Some(Said::Close(_))) | Err(_) => return Poll::Ready(()),
                    Ok(Some(_)) => {}
                    Ok(None) => match ready!(reader.poll_read(cx)) {
                        Ok(true) => {}
                        Ok(false) | Err(_) => return Poll::Ready(()),
                    },
                }
            }
        });
        // Either way the connection is dropped now.
        let _ = timeout(limit, ended).await;
        drop(shared);
    });
}
