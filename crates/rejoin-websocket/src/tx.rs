//! The sending half: payloads side by side in one buffer, one binary message each. When to write is
//! the caller's business; control frames are not in here.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{LinkTx, Progress};

use crate::config::WebSocketConfig;
use crate::error::WebSocketSendError;
use crate::frame::{Encoder, Mask, Side, append};
use crate::rx::linger;
use crate::shared::{Shared, Writer};

/// The most that an idle queue keeps allocated, in bytes.
const IDLE_BYTES: usize = 2 << 10;

/// After how many small batches in a row a large buffer is given back.
const QUIET_BATCHES: u8 = 4;

/// The sending half of a [`WebSocketLink`](crate::WebSocketLink).
///
/// Small payloads are copied side by side and written together. Of a payload that fills the buffer
/// the body is not copied on the server's side, and copied once on the client's, to be masked.
///
/// [`close`](LinkTx::close) sends the close code 1000 and is ready when the medium has it. The peer's
/// own close is then waited for by the receiving half; once that is dropped, in the background, for
/// [`close_timeout`](WebSocketConfig::close_timeout) at most. Dropping the half without a close sends
/// none, unless it answers the peer's.
pub struct WebSocketLinkTx {
    shared: Arc<Shared>,
    encoder: Encoder,
    /// Whole frames.
    queue: Vec<u8>,
    /// Something was written or queued since the medium was last flushed.
    unflushed: bool,
    quiet_batches: u8,
    queue_bytes_max: usize,
    payload_bytes_max: usize,
    close_timeout: Duration,
    progress: Progress,
}

impl WebSocketLinkTx {
    pub(crate) fn new(
        shared: Arc<Shared>,
        progress: Progress,
        side: Side,
        config: &WebSocketConfig,
    ) -> Self {
        Self {
            shared,
            encoder: Encoder::new(side),
            queue: Vec::new(),
            unflushed: false,
            quiet_batches: 0,
            queue_bytes_max: config.write_buffer_bytes.max(1),
            payload_bytes_max: config.message_bytes_max,
            close_timeout: config.close_timeout,
            progress,
        }
    }

    /// Writes the queue, then `body` masked with `mask`.
    async fn write(&mut self, body: &[u8], mask: Option<Mask>) -> io::Result<()> {
        let mut writer = std::future::poll_fn(|cx| self.shared.poll_take(cx)).await?;
        let written = self.write_with(&mut writer, body, mask).await;
        self.put_back(writer, written).await
    }

    async fn write_with(
        &mut self,
        writer: &mut Writer,
        mut body: &[u8],
        mut mask: Option<Mask>,
    ) -> io::Result<()> {
        if mask.is_some() {
            // Piece by piece, so that a large body is masked in little memory. The last one may be
            // larger than the others: a few bytes would not be worth a write of their own, and nobody
            // else may write before the frame is whole.
            while self.queue.len() + body.len() > 2 * self.queue_bytes_max {
                let room = self.queue_bytes_max.saturating_sub(self.queue.len());
                let (piece, rest) = body.split_at(room);
                append(&mut self.queue, piece, &mut mask);
                body = rest;
                writer.write(&self.queue, &[]).await?;
                self.queue.clear();
            }
            // Or else it might grow to twice that again.
            self.queue.reserve_exact(body.len());
            append(&mut self.queue, body, &mut mask);
            body = &[];
        }
        writer.write(&self.queue, body).await?;
        self.reset_queue();
        Ok(())
    }

    /// Puts the writer back after what was `written`, or marks the link as dead.
    async fn put_back(&mut self, writer: Writer, written: io::Result<()>) -> io::Result<()> {
        let put = async {
            written?;
            let mut again = self.shared.put(writer)?;
            while let Some(mut writer) = again.take() {
                writer.write_rest().await?;
                again = self.shared.put(writer)?;
            }
            Ok(())
        };
        let put = put.await;
        if put.is_err() {
            self.shared.write_failed();
        }
        put
    }

    /// Makes an empty queue ready for the next batch, and gives memory back after a few small ones.
    fn reset_queue(&mut self) {
        let batch = self.queue.len();
        self.queue.clear();
        if self.queue.capacity() <= IDLE_BYTES {
            return;
        }
        self.quiet_batches = if batch <= IDLE_BYTES { self.quiet_batches + 1 } else { 0 };
        if self.quiet_batches >= QUIET_BATCHES {
            self.quiet_batches = 0;
            self.queue = Vec::new();
        }
    }

    /// Writes and flushes what is queued, then a close frame where `close` says so.
    async fn write_and_flush(&mut self, close: bool) -> io::Result<()> {
        let mut writer = std::future::poll_fn(|cx| self.shared.poll_take(cx)).await?;
        let written = async {
            self.write_with(&mut writer, &[], None).await?;
            if close {
                self.shared.close(&mut writer)?;
                writer.write_rest().await?;
            }
            writer.flush().await
        };
        let written = written.await;
        self.put_back(writer, written).await?;
        self.unflushed = false;
        Ok(())
    }
}

impl LinkTx for WebSocketLinkTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        let part = 0..body.len();
        self.send_part(head, &body, part).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        let body = &bytes[part];
        let bytes = head.len() + body.len();
        if bytes > self.payload_bytes_max {
            let bytes_max = self.payload_bytes_max;
            return Err(WebSocketSendError::PayloadTooLarge { bytes, bytes_max }.into());
        }
        self.unflushed = true;
        let mut mask = self.encoder.message(&mut self.queue, bytes)?;
        append(&mut self.queue, head, &mut mask);
        if self.queue.len() + body.len() < self.queue_bytes_max {
            append(&mut self.queue, body, &mut mask);
            return Ok(());
        }
        debug_assert_eq!(mask.is_some(), self.encoder.masks(), "each message has a mask, or none");
        self.write(body, mask).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.unflushed {
            self.write_and_flush(false).await?;
        }
        Ok(())
    }

    async fn close(mut self) -> io::Result<()> {
        self.write_and_flush(true).await?;
        if let Some(reader) = self.shared.take_reader() {
            linger(reader, Arc::clone(&self.shared), self.close_timeout);
        }
        Ok(())
    }

    fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl fmt::Debug for WebSocketLinkTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is queued is nobody's business.
        let Self { queue, payload_bytes_max, .. } = self;
        f.debug_struct("WebSocketLinkTx")
            .field("queued_bytes", &queue.len())
            .field("payload_bytes_max", payload_bytes_max)
            .finish_non_exhaustive()
    }
}

impl Drop for WebSocketLinkTx {
    fn drop(&mut self) {
        self.shared.tx_gone();
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::{Link, Peer};

    use super::*;
    use crate::link::WebSocketLink;

    #[tokio::test]
    async fn a_client_holds_no_more_than_twice_its_buffer() {
        let config = WebSocketConfig::default();
        let (io, _other) = tokio::io::duplex(1 << 20);
        let link = WebSocketLink::from_upgraded(io, Side::Client, Peer::default(), &config);
        let (mut tx, _rx) = link.split();
        for bytes in [100_000, 120_000] {
            tx.send(b"head", Bytes::from(vec![5; bytes])).await.unwrap();
            tx.flush().await.unwrap();
        }
        let held = tx.queue.capacity();
        assert!(held <= 2 * config.write_buffer_bytes, "{held}");
    }
}
