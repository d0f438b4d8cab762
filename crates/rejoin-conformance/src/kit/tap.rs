//! A source put around an initiator's, whose links die on command: at an exact frame, in either
//! direction, or at once, or by falling silent. It needs nothing of the medium, so what it does can
//! be done over every transport.

use std::any::Any;
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rejoin_core::protocol::Role;
use rejoin_core::{
    Attachment, BoxLinkRx, BoxLinkTx, DynLinkSource, Link, LinkRx, LinkSource, LinkTx, Progress,
    SplitLink,
};
use tokio::sync::watch;

use crate::fixture::Toward;

/// When a link dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) toward: Toward,
    /// The first frame in that direction that does not get through; the hellos are frames 0.
    pub(crate) frame: u64,
    /// Whether what was sent before reaches the medium in any case.
    pub(crate) flush: bool,
}

/// Cuts at each of the first `frames` frames in either direction, hellos included, one link each.
pub(crate) fn every_frame(frames: u64) -> VecDeque<Cut> {
    let each = |frame| {
        [Toward::Acceptor, Toward::Initiator].map(|toward| Cut {
            toward,
            frame,
            flush: frame % 2 == 0,
        })
    };
    (0..frames).flat_map(each).collect()
}

/// What the tap's source, its links and whoever holds it have in common.
#[derive(Clone)]
pub(crate) struct Tap(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Cuts that are still to be made.
    left: watch::Sender<usize>,
    /// Whether links may be made.
    open: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    schedule: VecDeque<Cut>,
    line: Option<Arc<Line>>,
    /// Halves of silent links, which their peers must not see dropped.
    kept: Vec<Box<dyn Any + Send>>,
}

/// One link.
struct Line {
    fate: watch::Sender<Fate>,
    cut: Mutex<Option<Cut>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Alive,
    Mute,
    Dead,
}

impl Tap {
    /// A tap around `source`, and the source to use in its place. The first links die as
    /// `schedule` says, one after the other; later ones live.
    pub(crate) fn around(
        source: Box<dyn DynLinkSource>,
        schedule: VecDeque<Cut>,
    ) -> (Self, TapSource) {
        let left = watch::Sender::new(schedule.len());
        let state = Mutex::new(State { schedule, ..State::default() });
        let tap = Self(Arc::new(Shared { state, left, open: watch::Sender::new(true) }));
        (tap.clone(), TapSource { inner: source, tap })
    }

    /// Whether all cuts of the schedule were made.
    pub(crate) fn is_done(&self) -> bool {
        *self.0.left.borrow() == 0
    }

    /// Kills the present link, which its own end sees at once.
    pub(crate) fn kill(&self) {
        self.decide(Fate::Dead);
    }

    /// Silences the present link: neither end sees anything, and nothing gets through.
    pub(crate) fn mute(&self) {
        self.decide(Fate::Mute);
    }

    /// From now on, no link is made.
    pub(crate) fn shut(&self) {
        self.0.open.send_replace(false);
    }

    /// Links are made again.
    pub(crate) fn open(&self) {
        self.0.open.send_replace(true);
    }

    fn decide(&self, fate: Fate) {
        if let Some(line) = &self.lock().line {
            line.fate.send_replace(fate);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_line(&self) -> Arc<Line> {
        let mut state = self.lock();
        let cut = state.schedule.pop_front();
        // A link that died of something else has missed its cut.
        self.0.left.send_replace(state.schedule.len() + usize::from(cut.is_some()));
        let line = Line { fate: watch::Sender::new(Fate::Alive), cut: Mutex::new(cut) };
        Arc::clone(state.line.insert(Arc::new(line)))
    }
}

/// The source that a [`Tap`] is put on.
pub(crate) struct TapSource {
    inner: Box<dyn DynLinkSource>,
    tap: Tap,
}

impl LinkSource for TapSource {
    type Link = SplitLink<TapTx, TapRx>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        let mut open = self.tap.0.open.subscribe();
        if open.wait_for(|open| *open).await.is_err() {
            return pending().await;
        }
        let attachment = LinkSource::next_link(&mut self.inner).await?;
        let line = self.tap.next_line();
        Ok(attachment.map_link(|link| {
            let peer = link.peer();
            let (tx, rx) = link.split();
            let ends = |toward| Ends { line: Arc::clone(&line), tap: self.tap.clone(), toward };
            SplitLink::new(
                TapTx { inner: Some(tx), ends: ends(Toward::Acceptor), frames: 0 },
                TapRx { inner: Some(rx), ends: ends(Toward::Initiator), frames: 0 },
                peer,
            )
        }))
    }

    fn role(&self) -> Role {
        LinkSource::role(&self.inner)
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        LinkSource::is_fatal(&self.inner, error)
    }

    fn link_failed(&mut self, error: &io::Error) {
        LinkSource::link_failed(&mut self.inner, error);
    }
}

/// What a half knows of its link.
struct Ends {
    line: Arc<Line>,
    tap: Tap,
    toward: Toward,
}

impl Ends {
    fn fate(&self) -> Fate {
        *self.line.fate.borrow()
    }

    /// Whether frame `frame` of this half's direction is the one to cut at.
    fn due(&self, frame: u64) -> Option<Cut> {
        let cut = *self.line.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.filter(|cut| cut.toward == self.toward && cut.frame == frame)
    }

    fn cut(&self) -> io::Error {
        *self.line.cut.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.line.fate.send_replace(Fate::Dead);
        self.tap.0.left.send_modify(|left| *left = left.saturating_sub(1));
        dead()
    }

    /// Keeps what must not be seen to go.
    fn keep(&self, half: impl Any + Send) {
        if self.fate() == Fate::Mute {
            self.tap.lock().kept.push(Box::new(half));
        }
    }
}

/// The sending half of a link that can be cut.
pub(crate) struct TapTx {
    inner: Option<BoxLinkTx>,
    ends: Ends,
    frames: u64,
}

impl TapTx {
    /// Does `act` with the half underneath for as long as the link is whole.
    async fn whole(
        &mut self,
        act: impl AsyncFnOnce(&mut BoxLinkTx) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut fate = self.ends.line.fate.subscribe();
        let inner = self.inner.as_mut().ok_or_else(dead)?;
        let changed = tokio::select! {
            biased;
            fate = async { fate.wait_for(|fate| *fate != Fate::Alive).await.map(|fate| *fate) } => fate,
            done = act(inner) => return done,
        };
        match changed {
            Ok(Fate::Mute) => Ok(()),
            _ => {
                self.inner = None;
                Err(dead())
            }
        }
    }

    /// Counts a frame, and cuts where it is the one to cut at.
    async fn count(&mut self) -> io::Result<()> {
        if let Some(cut) = self.ends.due(self.frames) {
            if cut.flush {
                self.whole(async |inner| inner.flush().await).await?;
            }
            self.inner = None;
            return Err(self.ends.cut());
        }
        self.frames += 1;
        Ok(())
    }
}

impl LinkTx for TapTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        self.count().await?;
        self.whole(async |inner| inner.send(head, body).await).await
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        self.count().await?;
        self.whole(async |inner| inner.send_part(head, bytes, part).await).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.whole(async |inner| inner.flush().await).await
    }

    async fn close(mut self) -> io::Result<()> {
        match (self.ends.fate(), self.inner.take()) {
            (Fate::Alive, Some(inner)) => inner.close().await,
            (Fate::Mute, Some(inner)) => {
                self.ends.keep(inner);
                Ok(())
            }
            _ => Err(dead()),
        }
    }

    fn payload_bytes_max(&self) -> usize {
        self.inner.as_ref().map_or(0, LinkTx::payload_bytes_max)
    }

    fn progress(&self) -> Progress {
        self.inner.as_ref().map(LinkTx::progress).unwrap_or_default()
    }
}

impl Drop for TapTx {
    fn drop(&mut self) {
        self.inner.take().into_iter().for_each(|inner| self.ends.keep(inner));
    }
}

/// The receiving half of a link that can be cut.
pub(crate) struct TapRx {
    inner: Option<BoxLinkRx>,
    ends: Ends,
    frames: u64,
}

impl LinkRx for TapRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        let mut fate = self.ends.line.fate.subscribe();
        let inner = self.inner.as_mut().ok_or_else(dead)?;
        let received = tokio::select! {
            biased;
            _ = fate.wait_for(|fate| *fate != Fate::Alive) => None,
            received = inner.recv() => Some(received),
        };
        let Some(received) = received else {
            // The sender is part of the link, which this half holds.
            let _ = fate.wait_for(|fate| *fate == Fate::Dead).await;
            self.inner = None;
            return Err(dead());
        };
        if matches!(received, Ok(Some(_))) {
            if self.ends.due(self.frames).is_some() {
                self.inner = None;
                return Err(self.ends.cut());
            }
            self.frames += 1;
        }
        received
    }

    fn recv_parts(&mut self, mut take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        let Self { inner, ends, frames } = self;
        let Some(inner) = inner.as_mut().filter(|_| ends.fate() == Fate::Alive) else {
            return Bytes::new();
        };
        inner.recv_parts(|part| {
            let takes = ends.due(*frames).is_none() && take(part);
            *frames += u64::from(takes);
            takes
        })
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        if let Some(inner) = &mut self.inner {
            inner.limit_payloads(bytes_max);
        }
    }

    fn progress(&self) -> Progress {
        self.inner.as_ref().map(LinkRx::progress).unwrap_or_default()
    }
}

impl Drop for TapRx {
    fn drop(&mut self) {
        self.inner.take().into_iter().for_each(|inner| self.ends.keep(inner));
    }
}

fn dead() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the link was cut by the suite")
}
