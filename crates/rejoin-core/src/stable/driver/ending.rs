//! How a session ends: those who have closed are told when there is nothing more to do, and a session
//! that was closed in good order gets its last words out.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tracing::info;

use crate::protocol::{Ending, LossReason};
use crate::source::LinkSource;
use crate::stable::driver::Driver;
use crate::stable::error::ConnectError;
use crate::stable::registrar;
use crate::stable::status::Status;

/// The last act of a session that was closed.
pub(super) struct Parting {
    link_closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: Option<registrar::Parting>,
}

impl<S: LinkSource> Driver<S> {
    /// Tells those who have closed that the peer knows, once that is all.
    pub(super) fn answer_closes(&mut self) {
        if self.close_confirmed && !self.session.owes_last_word() {
            let closes = self.closes;
            self.shared
                .receipts
                .send_if_modified(|now| std::mem::replace(&mut now.closes, closes) != closes);
        }
    }

    pub(super) fn finish(&mut self, now: Instant, ending: Ending) {
        self.publish(now);
        let link = self.link.take();
        match (ending, link) {
            // A process may end as soon as it hears that the session is over: not before the peer can
            // hear of it, too.
            (Ending::Closed, Some(link)) => {
                let link_closed = Box::pin(link.part());
                self.parting = Some(Parting { link_closed, _counted: self.registrar.part() });
            }
            (Ending::Closed, None) => self.tell_end(None),
            (Ending::Lost(reason), link) => {
                if let Some(link) = link {
                    link.close_in_background();
                }
                self.tell_end(Some(reason));
            }
        }
    }

    /// Waits until the last words are written.
    pub(super) fn poll_parting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(parting) = &mut self.parting {
            ready!(parting.link_closed.as_mut().poll(cx));
            self.tell_end(None);
            self.parting = None;
        }
        Poll::Ready(())
    }

    /// Tells everybody how the session has ended.
    pub(super) fn tell_end(&mut self, lost: Option<LossReason>) {
        info!(lost = lost.as_ref().map(tracing::field::display), "session over");
        if self.close_confirmed {
            // Whoever has closed has been promised no more.
            self.shared.receipts.send_modify(|it| it.closes = u64::MAX);
        }
        self.shared.end(lost.clone(), &mut self.session, &self.ages);
        self.meter.turn(|| self.shared.stats());
        self.meter.ended(lost.is_some());
        self.registrar.remove(lost.is_none());
        if let Some(reason) = &lost {
            self.report_opened(Err(ConnectError::Refused(reason.clone())));
        }
        self.shared.status.send_replace(match lost {
            None => Status::Closed { by_peer: self.closed_by_peer.take() },
            Some(reason) => Status::Lost(reason),
        });
    }
}
