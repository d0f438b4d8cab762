//! Who writes. The two halves of a link work without each other, but a ping is read by one and has
//! to be answered through the other's medium, also while that one is idle.
//!
//! The writer is therefore parked between them whenever nobody writes. The sending half takes it for
//! a whole batch, and cannot put it back without sending what the receiving half wants sent. The
//! receiving half takes it only for as long as one poll takes, so it never holds up the other.
//! Either does so with two short locks per batch or per ping: no lock is held while anything is
//! written, and none is taken for a single message. (A lock around the whole WebSocket, as the
//! `split` of `futures` has, costs one per message and makes each half wait for the other's system
//! calls.)

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use rejoin_core::Progress;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use crate::error::WebSocketSendError;
use crate::frame::{Encoder, Side};
use crate::frames::FrameReader;

/// What the halves of a link share.
pub(crate) struct Shared(Mutex<Slot>);

struct Slot {
    /// Absent while somebody writes, and for ever once that has failed.
    ///
    /// Invariant: while it is here, no frame is half written but those in its `rest`.
    writer: Option<Writer>,
    /// The payload of the last ping that is not answered.
    pong: Option<Vec<u8>>,
    /// The code to close with on behalf of the receiving half.
    farewell: Option<u16>,
    /// Set when a close is encoded: nothing may follow it.
    close_sent: bool,
    /// The peer has sent its close.
    close_read: bool,
    failed: bool,
    tx_gone: bool,
    /// The sending half, when it waits for the writer.
    tx_waker: Option<Waker>,
    /// What a receiving half that was dropped has left, to wait for the peer's close with.
    reader: Option<FrameReader>,
}

impl Shared {
    pub(crate) fn new(writer: Writer) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Slot {
            writer: Some(writer),
            pong: None,
            farewell: None,
            close_sent: false,
            close_read: false,
            failed: false,
            tx_gone: false,
            tx_waker: None,
            reader: None,
        })))
    }

    /// For the sending half: takes the writer.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<io::Result<Writer>> {
        let mut slot = self.lock();
        if slot.failed {
            return Poll::Ready(Err(WebSocketSendError::Failed.into()));
        }
        match slot.writer.take() {
            Some(writer) => Poll::Ready(Ok(writer)),
            None => {
                slot.tx_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// For the sending half: puts the writer back, or gives it again with more to write.
    pub(crate) fn put(&self, mut writer: Writer) -> io::Result<Option<Writer>> {
        let mut slot = self.lock();
        slot.encode_wanted(&mut writer)?;
        if writer.is_idle() {
            slot.writer = Some(writer);
            return Ok(None);
        }
        Ok(Some(writer))
    }

    /// For the receiving half: sends what it wants sent, as far as the medium takes it. Gives whether
    /// it is to be called again.
    pub(crate) fn poll_answer(&self, cx: &mut Context<'_>) -> bool {
        let mut writer = {
            let mut slot = self.lock();
            // Whoever has it sees to the rest.
            let Some(mut writer) = slot.writer.take() else { return false };
            if slot.encode_wanted(&mut writer).is_err() {
                slot.failed = true;
                return false;
            }
            writer
        };
        let (polled, mut slot) = loop {
            let polled = writer.poll_rest(cx);
            let mut slot = self.lock();
            let waits = slot.pong.is_some() && !slot.close_sent;
            // The answer that waited for the medium to take the one before.
            match polled {
                Poll::Ready(Ok(())) if waits => match slot.encode_wanted(&mut writer) {
                    Ok(()) => drop(slot),
                    Err(error) => break (Poll::Ready(Err(error)), slot),
                },
                polled => break (polled, slot),
            }
        };
        let waker = slot.tx_waker.take();
        match &polled {
            Poll::Ready(Err(_)) => slot.failed = true,
            _ => slot.writer = Some(writer),
        }
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
        polled.is_pending()
    }

    /// Wants a ping answered. Of several only the latest need be (RFC 6455, section 5.5.3).
    pub(crate) fn want_pong(&self, payload: &[u8]) {
        self.lock().pong = Some(payload.to_vec());
    }

    /// The receiving half has failed, and wants the peer told with `code`.
    pub(crate) fn fail(&self, code: Option<u16>) {
        let mut slot = self.lock();
        slot.farewell = code;
        slot.failed = true;
    }

    /// The peer has closed. The sending half may go on, and closes in its own time; where there is
    /// none, the close is answered here.
    pub(crate) fn peer_closed(&self) {
        let mut slot = self.lock();
        slot.close_read = true;
        if slot.tx_gone {
            slot.farewell = Some(NORMAL);
        }
    }

    /// Appends this side's close to what `writer` has to write, unless there was one.
    pub(crate) fn close(&self, writer: &mut Writer) -> io::Result<()> {
        let mut slot = self.lock();
        slot.farewell = slot.farewell.or(Some(NORMAL));
        slot.encode_wanted(writer)
    }

    /// The sending half is gone. A close that it owes the peer is sent if the medium takes it at
    /// once.
    pub(crate) fn tx_gone(&self) {
        let owed = {
            let mut slot = self.lock();
            slot.tx_gone = true;
            slot.reader = None;
            let owed = slot.close_read && !slot.close_sent && !slot.failed;
            if owed {
                slot.farewell = Some(NORMAL);
            }
            owed
        };
        if owed {
            self.poll_answer(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// The receiving half is gone. Gives `reader` back if the peer's close is to be waited for.
    pub(crate) fn rx_gone(&self, reader: FrameReader) -> Option<FrameReader> {
        let mut slot = self.lock();
        if slot.close_read || slot.failed {
            return None;
        }
        if slot.close_sent {
            return Some(reader);
        }
        if !slot.tx_gone {
            slot.reader = Some(reader);
        }
        None
    }

    /// What a receiving half that was dropped before this side closed has left.
    pub(crate) fn take_reader(&self) -> Option<FrameReader> {
        self.lock().reader.take()
    }

    /// Writing has failed.
    pub(crate) fn write_failed(&self) {
        self.lock().failed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The code of a close in good order.
const NORMAL: u16 = 1000;

impl Slot {
    /// Appends the control frames that are wanted to what `writer` has to write. An answer to a ping is
    /// appended only to nothing; it is still wanted otherwise.
    fn encode_wanted(&mut self, writer: &mut Writer) -> io::Result<()> {
        if self.close_sent {
            return Ok(());
        }
        // Behind one that waits for the medium, the latest is enough: a peer that pings and does not
        // read would fill the memory with answers.
        if writer.rest.is_empty()
            && let Some(payload) = self.pong.take()
        {
            writer.control(Control::Pong, &payload)?;
        }
        if let Some(code) = self.farewell.take() {
            self.close_sent = true;
            writer.control(Control::Close, &code.to_be_bytes())?;
        }
        Ok(())
    }
}

/// The medium, as far as it is written to.
pub(crate) struct Writer {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    encoder: Encoder,
    /// Control frames that are to be written before anything else, and are flushed at once.
    rest: Vec<u8>,
    unflushed: bool,
    progress: Progress,
}

impl Writer {
    pub(crate) fn new(io: Box<dyn AsyncWrite + Send + Unpin>, side: Side) -> Self {
        let encoder = Encoder::new(side);
        Self { io, encoder, rest: Vec::new(), unflushed: false, progress: Progress::default() }
    }

    /// Counts the bytes that the medium takes.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Writes `first` and then `second`, after the control frames that are due.
    pub(crate) async fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        self.write_rest().await?;
        let (mut first, mut second) = (first, second);
        while !first.is_empty() || !second.is_empty() {
            let count = if second.is_empty() {
                self.io.write(first).await?
            } else {
                self.io.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.progress.add(count);
            let of_first = count.min(first.len());
            first = &first[of_first..];
            second = &second[count - of_first..];
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.io.flush().await
    }

    /// Writes and flushes the control frames that are due.
    pub(crate) async fn write_rest(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_rest(cx)).await
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.progress.add(count);
            self.rest.drain(..count);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn control(&mut self, control: Control, payload: &[u8]) -> io::Result<()> {
        self.unflushed = true;
        self.encoder.control(&mut self.rest, control, payload)
    }

    fn is_idle(&self) -> bool {
        self.rest.is_empty() && !self.unflushed
    }
}
