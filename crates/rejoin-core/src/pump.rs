//! Moves payloads between a link's halves and the driver, in batches.
//!
//! Each half of a link runs in one future that lives as long as the link, so that no transport
//! operation is ever dropped half-way while its link goes on. The driver polls both futures itself,
//! inside its own task; the pipes between them therefore need no wakers: after the driver has
//! changed a pipe, it polls the future at its other end.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::handover::Runs;
use crate::link::{LinkRx, LinkTx, Progress};
use crate::on_call::OnCall;
use crate::protocol::{Payload, Transmits, item_cost};

/// The most payloads that cross at a time.
const BATCH_PAYLOADS: usize = 1024;
/// A batch is not added to once it has this many bytes.
const BATCH_BYTES: usize = 256 * 1024;

type LinkFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The receiving half of a link at work.
pub(crate) struct Reader {
    future: OnCall<LinkFuture>,
    pipe: Arc<Incoming>,
    progress: Progress,
}

struct Incoming {
    batch: Mutex<Runs>,
    /// A batch is not added to once it has this many bytes.
    batch_bytes: AtomicUsize,
    /// Where the link's progress was when the last payload was complete.
    complete: AtomicU64,
    /// Give memory back at the next opportunity.
    trim: AtomicBool,
    /// The batch was full: there may be more at hand, for which nobody wakes the driver.
    paused: AtomicBool,
}

impl Incoming {
    /// Puts `batch` down, and leaves it empty.
    fn put(&self, batch: &mut Runs) {
        std::mem::swap(&mut *self.batch.lock().unwrap_or_else(PoisonError::into_inner), batch);
    }
}

impl Reader {
    pub(crate) fn new(rx: impl LinkRx) -> Self {
        let progress = rx.progress();
        let pipe = Arc::new(Incoming {
            batch: Mutex::default(),
            batch_bytes: AtomicUsize::new(BATCH_BYTES),
            complete: AtomicU64::new(progress.get()),
            trim: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        });
        let future: LinkFuture = Box::pin(read(rx, Arc::clone(&pipe), progress.clone()));
        let future = OnCall::new(future);
        Self { future, pipe, progress }
    }

    /// How many bytes have come, where the link can tell.
    #[inline]
    pub(crate) fn progress(&self) -> u64 {
        self.progress.get()
    }

    /// About how many bytes have come of a payload that is not complete yet.
    #[inline]
    pub(crate) fn partial(&self) -> u64 {
        self.progress.get().saturating_sub(self.pipe.complete.load(Ordering::Relaxed))
    }

    /// From now on, takes nothing more in one batch once it has this many bytes; for a caller whose
    /// own bound is narrower than a batch. Each payload counts as [`item_cost`] says.
    pub(crate) fn limit(&self, batch_bytes: u64) {
        let batch_bytes = usize::try_from(batch_bytes).unwrap_or(usize::MAX).min(BATCH_BYTES);
        self.pipe.batch_bytes.store(batch_bytes, Ordering::Relaxed);
    }

    /// Gives memory back that was needed for a large batch.
    pub(crate) fn trim(&mut self) {
        self.pipe.trim.store(true, Ordering::Relaxed);
        self.future.call();
    }

    /// Whether [`poll`](Self::poll) has anything to do.
    #[inline]
    pub(crate) fn is_called(&self) -> bool {
        self.future.was_called()
    }

    /// Takes what has arrived into `payloads`, which must be empty. Ready when the link has ended,
    /// with everything that arrived before in `payloads`; pending otherwise, with a wake-up to come
    /// only when `payloads` stays empty.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>, payloads: &mut Runs) -> Poll<io::Result<()>> {
        if self.future.is_called(cx) { self.poll_called(cx, payloads) } else { Poll::Pending }
    }

    #[inline]
    fn poll_called(&mut self, cx: &Context<'_>, payloads: &mut Runs) -> Poll<io::Result<()>> {
        let ended = self.future.poll(cx);
        self.pipe.put(payloads);
        if self.pipe.paused.load(Ordering::Relaxed) {
            self.future.call();
        }
        ended
    }
}

/// Reads until the link ends, putting a batch down whenever the link has no more at hand.
async fn read(mut rx: impl LinkRx, pipe: Arc<Incoming>, progress: Progress) -> io::Result<()> {
    let mut batch = Runs::default();
    loop {
        let mut bytes = 0;
        let has_room = |bytes| bytes < pipe.batch_bytes.load(Ordering::Relaxed) as u64;
        while batch.len() < BATCH_PAYLOADS && has_room(bytes) {
            let received = {
                let mut receiving = pin!(rx.recv());
                poll_fn(|cx| {
                    let polled = receiving.as_mut().poll(cx);
                    if polled.is_pending() {
                        if !batch.is_empty() {
                            pipe.put(&mut batch);
                            bytes = 0;
                        } else if pipe.trim.swap(false, Ordering::Relaxed) {
                            batch = Runs::default();
                        }
                    }
                    polled
                })
                .await
            };
            match received {
                Ok(Some(payload)) => {
                    bytes += item_cost(payload.len());
                    batch.push(payload);
                    // What came with it.
                    let run = rx.recv_parts(|part| {
                        let takes = batch.len() < BATCH_PAYLOADS && has_room(bytes);
                        if takes {
                            bytes += item_cost(part.len());
                            batch.push_part(part);
                        }
                        takes
                    });
                    batch.push_run(run);
                    pipe.complete.store(progress.get(), Ordering::Relaxed);
                }
                Ok(None) => {
                    pipe.put(&mut batch);
                    return Ok(());
                }
                Err(error) => {
                    pipe.put(&mut batch);
                    return Err(error);
                }
            }
        }
        pipe.put(&mut batch);
        pause(&pipe.paused).await;
    }
}

/// Gives way to the driver once; it polls again without a wake-up.
async fn pause(paused: &AtomicBool) {
    poll_fn(|_| {
        let was_paused = paused.fetch_not(Ordering::Relaxed);
        if was_paused { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The sending half of a link at work.
pub(crate) struct Writer {
    future: LinkFuture,
    pipe: Arc<Outgoing>,
    /// How many bytes the link has taken, where it can tell.
    bytes: Progress,
    /// The next batch, while it is filled; empty in between, kept for its memory.
    batch: Box<Transmits>,
    /// Whether there is memory to give back.
    trim: bool,
}

/// A batch is there only while the writer is not idle.
struct Outgoing {
    batch: Mutex<Box<Transmits>>,
    /// Whether everything is written and flushed.
    idle: AtomicBool,
    /// Close the link once everything is written.
    closing: AtomicBool,
    /// Give memory back when there is nothing to write.
    trim: AtomicBool,
    /// How many payloads the link has taken.
    payloads: AtomicU64,
}

impl Outgoing {
    #[inline]
    fn batch(&self) -> MutexGuard<'_, Box<Transmits>> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    pub(crate) fn new(tx: impl LinkTx) -> Self {
        let pipe = Arc::new(Outgoing {
            batch: Mutex::default(),
            idle: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            trim: AtomicBool::new(false),
            payloads: AtomicU64::new(0),
        });
        let bytes = tx.progress();
        let future = Box::pin(write(tx, Arc::clone(&pipe)));
        Self { future, pipe, bytes, batch: Box::default(), trim: false }
    }

    /// Whether the writer takes a batch now.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.pipe.idle.load(Ordering::Relaxed)
    }

    /// Has `fill` fill a batch, and hands it to an idle writer; gives whether there was anything.
    #[inline]
    pub(crate) fn fill(&mut self, fill: impl FnOnce(&mut Transmits)) -> bool {
        fill(&mut self.batch);
        if self.batch.is_empty() {
            return false;
        }
        let mut given = self.pipe.batch();
        debug_assert!(given.is_empty(), "a busy writer is not filled");
        std::mem::swap(&mut *given, &mut self.batch);
        self.pipe.idle.store(false, Ordering::Relaxed);
        true
    }

    /// Gives memory back that was needed for a large batch.
    pub(crate) fn trim(&mut self) {
        *self.batch = Transmits::default();
        self.pipe.trim.store(true, Ordering::Relaxed);
        self.trim = true;
    }

    /// Changes whenever the medium takes something. That the link takes a payload counts only where
    /// it cannot tell more: it may just put it into a buffer.
    pub(crate) fn progress(&self) -> u64 {
        match self.bytes.get() {
            0 => self.pipe.payloads.load(Ordering::Relaxed),
            bytes => bytes,
        }
    }

    /// Whether [`poll`](Self::poll) has anything to do.
    #[inline]
    pub(crate) fn is_at_work(&self) -> bool {
        !self.is_idle() || self.trim
    }

    /// Goes on writing. Ready only when the link is dead.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.trim = false;
        self.future.as_mut().poll(cx)
    }

    /// Writes what was handed over, then closes the link.
    pub(crate) async fn close(self) -> io::Result<()> {
        self.pipe.closing.store(true, Ordering::Relaxed);
        self.future.await
    }
}

async fn write(mut tx: impl LinkTx, pipe: Arc<Outgoing>) -> io::Result<()> {
    let mut batch = Box::<Transmits>::default();
    let mut taken = 0;
    loop {
        poll_fn(|_| {
            if pipe.idle.load(Ordering::Relaxed) && !pipe.closing.load(Ordering::Relaxed) {
                if pipe.trim.swap(false, Ordering::Relaxed) {
                    (*batch, **pipe.batch()) = (Transmits::default(), Transmits::default());
                }
                return Poll::Pending;
            }
            std::mem::swap(&mut *pipe.batch(), &mut batch);
            Poll::Ready(())
        })
        .await;
        let mut payloads = batch.payloads();
        while let Some(Payload { head, bytes, part }) = payloads.next() {
            tx.send_part(head.as_bytes(), bytes, part).await?;
            // Nobody else counts, so nothing more costly than a store is needed.
            taken += 1;
            pipe.payloads.store(taken, Ordering::Relaxed);
        }
        batch.clear();
        // Nothing is given to a writer that is to close.
        if pipe.closing.load(Ordering::Relaxed) {
            return tx.close().await;
        }
        tx.flush().await?;
        pipe.idle.store(true, Ordering::Relaxed);
    }
}
