//! What a line runs over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream under a line, with what a serial port can do besides.
pub trait Medium: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Throws away what was written and has not left yet, as far as the system lets it.
    ///
    /// # Behavior
    ///
    /// - Is called when nobody wants any more what was written last; a part of it may go out
    ///   nevertheless.
    /// - Does nothing by default.
    fn discard_output(&mut self) {}

    /// How many bytes were written and have not left yet, as far as the system tells.
    ///
    /// # Behavior
    ///
    /// - Zero by default, which means that only the stream itself holds the writer up.
    fn output_queued(&mut self) -> usize {
        0
    }
}

/// A stream that can do nothing besides.
#[derive(Debug)]
pub(super) struct Plain<S>(pub(super) S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Medium for Plain<S> {}

impl<S: AsyncRead + Unpin> AsyncRead for Plain<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Plain<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
