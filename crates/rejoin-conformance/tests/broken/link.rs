//! A link that is broken in one way.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rejoin_core::{Link, LinkRx, LinkTx, MemoryRx, MemoryTx, Peer, Progress, SplitLink};
use tokio::sync::Mutex;

use crate::fault::Fault;
use crate::source::Shared;

/// The payload, counted from 0 with the hello, that faults of one payload are about.
const CHOSEN: u64 = 4;

pub(crate) type BrokenLink = SplitLink<BrokenTx, BrokenRx>;

/// What the two halves of a link have in common.
#[derive(Default)]
pub(crate) struct Both {
    lock: Mutex<()>,
    peer_closed: AtomicBool,
}

/// The link with its fault.
pub(crate) fn broken(
    link: impl Link<Tx = MemoryTx, Rx = MemoryRx>,
    fault: Fault,
    shared: &Arc<Shared>,
) -> BrokenLink {
    let peer = match fault {
        Fault::MisleadingPeer => Peer::at("127.0.0.1\nroot logged in"),
        _ => link.peer(),
    };
    let (tx, rx) = link.split();
    let both = Arc::new(Both::default());
    let tx = BrokenTx {
        inner: Some(tx),
        fault,
        both: Arc::clone(&both),
        shared: Arc::clone(shared),
        sent: 0,
        held: None,
        queue: Vec::new(),
        dead: false,
        sending: false,
        progress: Progress::default(),
    };
    let rx = BrokenRx {
        inner: Some(rx),
        fault,
        both,
        shared: Arc::clone(shared),
        last: Bytes::new(),
        received: 0,
        ended: false,
        limit: None,
        too_long: false,
        ahead: VecDeque::new(),
    };
    SplitLink::new(tx, rx, peer)
}

/// The sending half of a [`BrokenLink`].
pub(crate) struct BrokenTx {
    inner: Option<MemoryTx>,
    fault: Fault,
    both: Arc<Both>,
    shared: Arc<Shared>,
    sent: u64,
    held: Option<Bytes>,
    queue: Vec<Bytes>,
    dead: bool,
    sending: bool,
    progress: Progress,
}

impl BrokenTx {
    async fn put(&mut self, payload: Bytes) -> io::Result<()> {
        let inner = self.inner.as_mut().expect("not closed");
        let _one_at_a_time = match self.fault {
            Fault::OneDirectionAtATime | Fault::StuckDirectionBlocksTheOther => {
                Some(self.both.lock.lock().await)
            }
            _ => None,
        };
        let sent = inner.send(b"", payload).await;
        if self.fault == Fault::StuckDirectionBlocksTheOther {
            inner.flush().await?;
        }
        match self.fault {
            Fault::SwallowsSendErrors => Ok(()),
            _ => sent,
        }
    }

    async fn put_chosen(&mut self, payload: Bytes) -> io::Result<()> {
        match self.fault {
            Fault::DropsOne => Ok(()),
            Fault::Duplicates => {
                self.put(payload.clone()).await?;
                self.put(payload).await
            }
            Fault::Reorders | Fault::Merges => {
                self.held = Some(payload);
                Ok(())
            }
            Fault::FlipsABit => {
                let mut damaged = payload.to_vec();
                damaged.last_mut().into_iter().for_each(|byte| *byte ^= 1);
                self.put(damaged.into()).await
            }
            _ => self.put(payload).await,
        }
    }

    fn too_long(&self) -> io::Error {
        let kind = match self.fault {
            Fault::RefusesAsSomethingElse => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, "too long")
    }
}

impl LinkTx for BrokenTx {
    async fn send(&mut self, head: &[u8], body: Bytes) -> io::Result<()> {
        if self.dead {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let max = self.inner.as_ref().expect("not closed").payload_bytes_max();
        let mut payload: Bytes = match self.fault {
            Fault::SwallowsHead => body,
            Fault::HeadBehindBody => [&body[..], head].concat().into(),
            _ => [head, &body[..]].concat().into(),
        };
        if payload.len() > max {
            match self.fault {
                Fault::WritesBeforeRefusing => self.put(payload.slice(..100)).await?,
                Fault::TruncatesWhatIsTooLong => return self.put(payload.slice(..max)).await,
                Fault::DiesOfARefusal => self.dead = true,
                // Filling, of which the peer's half makes no payload.
                Fault::WritesFillingBeforeRefusing => self.progress.add(100),
                _ => {}
            }
            return Err(self.too_long());
        }
        let chosen = self.sent == CHOSEN;
        self.sent += 1;
        match self.fault {
            Fault::HangsAtTheMaximum if payload.len() == max => pending().await,
            Fault::BlocksItsThread if chosen => loop {
                std::thread::park();
            },
            Fault::RefusesTheMaximum if payload.len() == max => return Err(self.too_long()),
            Fault::SwallowsEmpty if payload.is_empty() => return Ok(()),
            Fault::Truncates if payload.len() > 1500 => payload.truncate(1500),
            Fault::Splits if payload.len() > 1500 => {
                let front = payload.split_to(1000);
                self.put(front).await?;
            }
            Fault::CloseForgetsTheQueue => {
                self.queue.push(payload);
                return Ok(());
            }
            Fault::NeverWaits => {
                self.shared.hoard.lock().unwrap().push(payload.clone());
                if self.sent > 8 {
                    return Ok(());
                }
            }
            _ => {}
        }
        if let Some(held) = self.held.take() {
            if self.fault == Fault::Merges {
                return self.put([&held[..], &payload[..]].concat().into()).await;
            }
            self.put(payload).await?;
            return self.put(held).await;
        }
        self.sending = true;
        let sent = if chosen { self.put_chosen(payload).await } else { self.put(payload).await };
        self.sending = false;
        sent
    }

    async fn send_part(
        &mut self,
        head: &[u8],
        bytes: &Bytes,
        part: Range<usize>,
    ) -> io::Result<()> {
        let max = self.payload_bytes_max();
        let is_over = head.len() + part.len() > max;
        match self.fault {
            Fault::PartBeginsAtTheFront => self.send(head, bytes.slice(..part.len())).await,
            Fault::PartLosesItsHead => self.send(b"", bytes.slice(part)).await,
            Fault::PartOvertakes if !is_over && part.is_empty() => {
                self.held = Some([head, &bytes[part]].concat().into());
                Ok(())
            }
            Fault::PartCountsAsTheWhole if head.len() + bytes.len() > max => Err(self.too_long()),
            Fault::PartIsOfAnyLength if is_over => {
                let most = part.start + max.saturating_sub(head.len());
                self.send(&head[..head.len().min(max)], bytes.slice(part.start..most)).await
            }
            Fault::PartIsRefusedAsSomethingElse if is_over => {
                Err(io::ErrorKind::InvalidData.into())
            }
            _ => self.send(head, bytes.slice(part)).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        for payload in std::mem::take(&mut self.queue) {
            self.put(payload).await?;
        }
        if let Some(held) = self.held.take() {
            self.put(held).await?;
        }
        self.sending = true;
        let inner = self.inner.as_mut().expect("not closed");
        let flushed = match self.fault {
            Fault::FlushDoesNothing if self.sent > CHOSEN => Ok(()),
            Fault::FlushSendsSomething => {
                inner.send(b"", Bytes::new()).await?;
                inner.flush().await
            }
            Fault::SwallowsSendErrors => {
                let _ = inner.flush().await;
                Ok(())
            }
            _ => inner.flush().await,
        };
        self.sending = false;
        flushed
    }

    async fn close(mut self) -> io::Result<()> {
        if self.fault != Fault::CloseForgetsTheQueue {
            self.flush().await?;
        }
        let inner = self.inner.take().expect("not closed");
        match self.fault {
            Fault::SwallowsClose => {
                self.shared.keep(inner);
                Ok(())
            }
            Fault::CloseHangsAfterThePeers if self.both.peer_closed.load(Ordering::SeqCst) => {
                pending().await
            }
            _ => inner.close().await,
        }
    }

    fn payload_bytes_max(&self) -> usize {
        let max = self.inner.as_ref().expect("not closed").payload_bytes_max();
        max + usize::from(self.fault == Fault::OverstatesTheMaximum)
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Drop for BrokenTx {
    fn drop(&mut self) {
        if self.sending && self.fault == Fault::FailsAfterADroppedSend {
            self.shared.spoilt.store(true, Ordering::SeqCst);
        }
        let Some(inner) = self.inner.take() else { return };
        match self.fault {
            Fault::DropIsNotSeen => self.shared.keep(inner),
            Fault::GivesTheDeadLinkAgain => self.shared.recycled.lock().unwrap().0 = Some(inner),
            _ => {}
        }
    }
}

/// The receiving half of a [`BrokenLink`].
pub(crate) struct BrokenRx {
    inner: Option<MemoryRx>,
    fault: Fault,
    both: Arc<Both>,
    shared: Arc<Shared>,
    last: Bytes,
    received: u64,
    ended: bool,
    limit: Option<usize>,
    /// A payload was longer than the limit.
    too_long: bool,
    /// What runs have left.
    ahead: VecDeque<Received>,
}

type Received = io::Result<Option<Bytes>>;

impl BrokenRx {
    async fn next(&mut self) -> Received {
        match self.ahead.pop_front() {
            Some(received) => received,
            None => self.inner.as_mut().expect("lives").recv().await,
        }
    }

    /// What is there already.
    fn next_now(&mut self) -> Option<Received> {
        match pin!(self.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(received) => Some(received),
            Poll::Pending => None,
        }
    }

    fn is_too_long(&self, payload: &Bytes) -> bool {
        self.limit.is_some_and(|limit| payload.len() > limit)
    }
}

impl LinkRx for BrokenRx {
    async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        if self.too_long {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let both = Arc::clone(&self.both);
        let _one_at_a_time = match self.fault {
            Fault::OneDirectionAtATime => Some(both.lock.lock().await),
            Fault::StuckDirectionBlocksTheOther => {
                drop(both.lock.lock().await);
                None
            }
            _ => None,
        };
        let received = self.next().await;
        match (&received, self.fault) {
            (Ok(None), _) => self.both.peer_closed.store(true, Ordering::SeqCst),
            (Ok(Some(payload)), _) if self.is_too_long(payload) => {
                self.too_long = true;
                return Err(io::ErrorKind::InvalidData.into());
            }
            (Ok(Some(payload)), fault) => {
                self.received += 1;
                let old = std::mem::replace(&mut self.last, payload.clone());
                if fault == Fault::GivesOldBytes && self.received == 20 {
                    return Ok(Some(old));
                }
            }
            _ => {}
        }
        let again = std::mem::replace(&mut self.ended, !matches!(received, Ok(Some(_))));
        match (received, self.fault) {
            (Ok(None), Fault::DeliversAfterClose) if again => Ok(Some(self.last.clone())),
            (Err(_), Fault::DeliversAfterError) if again => Ok(Some(self.last.clone())),
            (Ok(None), Fault::ErrorInsteadOfNone) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Err(_), Fault::NoneInsteadOfError) => Ok(None),
            (received, _) => received,
        }
    }

    fn recv_parts(&mut self, mut take: impl FnMut(Range<usize>) -> bool) -> Bytes {
        let stuck_together =
            matches!(self.fault, Fault::OneDirectionAtATime | Fault::StuckDirectionBlocksTheOther);
        let gives_late = self.fault == Fault::RunComesAfterAnError;
        if stuck_together || self.ended || (self.too_long && !gives_late) {
            return Bytes::new();
        }
        let (mut run, mut left, mut again) = (Vec::new(), VecDeque::new(), None);
        while let Some(received) = self.next_now() {
            let payload = match received {
                Ok(Some(payload)) => payload,
                Err(_) if self.fault == Fault::RunSwallowsTheError => continue,
                end => {
                    left.push_back(end);
                    break;
                }
            };
            if self.is_too_long(&payload) && self.fault != Fault::RunIgnoresTheLimit {
                if self.fault != Fault::RunSwallowsTheError {
                    left.push_back(Ok(Some(payload)));
                    break;
                }
                continue;
            }
            let shift = usize::from(self.fault == Fault::RunIsPartedWrongly && !run.is_empty());
            let start = run.len() - shift;
            if take(start..start + payload.len()) {
                run.extend_from_slice(&payload);
                again = Some(payload);
                continue;
            }
            match self.fault {
                Fault::RunLosesWhatIsLeft => break,
                Fault::RunGoesOnPastWhatIsLeft if left.is_empty() => {
                    left.push_back(Ok(Some(payload)));
                }
                _ => {
                    left.push_back(Ok(Some(payload)));
                    break;
                }
            }
        }
        // In front of what was left before.
        left.append(&mut self.ahead);
        self.ahead = left;
        if let Some(payload) = again.filter(|_| self.fault == Fault::RunGivesOneAgain) {
            self.ahead.push_front(Ok(Some(payload)));
        }
        run.into()
    }

    fn limit_payloads(&mut self, bytes_max: Option<usize>) {
        match (self.fault, bytes_max) {
            (Fault::LimitSticks, None) | (Fault::LimitIsIgnored, _) => {}
            (Fault::LimitIsOneTooLow, _) => self.limit = bytes_max.map(|limit| limit - 1),
            _ => self.limit = bytes_max,
        }
    }
}

impl Drop for BrokenRx {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        match self.fault {
            Fault::DropIsNotSeen => self.shared.keep(inner),
            Fault::GivesTheDeadLinkAgain => self.shared.recycled.lock().unwrap().1 = Some(inner),
            _ => {}
        }
    }
}
