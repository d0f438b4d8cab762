//! Moving to a new link while the old one works: because the application wants it, or because the
//! source hopes for a better one. How a link is made and taken into use is not decided here.

use std::io;
use std::time::{Duration, Instant};

use crate::protocol::Role;
use crate::source::LinkSource;
use crate::stable::driver::Driver;

/// How soon to look for a better link where another attempt is under way when it is time to.
const BETTER_RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl<S: LinkSource> Driver<S> {
    /// Whether somebody still waits for a new link in place of one that works.
    pub(super) fn is_migrating(&mut self) -> bool {
        self.migrations.retain(|migration| !migration.is_closed());
        !self.migrations.is_empty()
    }

    /// Answers those who ask for what cannot be: a call from the side that is called, or one more link
    /// of a source that has failed for good.
    pub(super) fn refuse_migrations(&mut self) {
        if self.migrations.is_empty() {
            return;
        }
        if self.role == Role::Acceptor {
            self.migrated(Some(&io::ErrorKind::Unsupported.into()));
        } else if let Some(error) = &self.source_failed {
            let error = io::Error::other(error.clone());
            self.migrated(Some(&error));
        }
    }

    pub(super) fn migrated(&mut self, error: Option<&io::Error>) {
        for migration in self.migrations.drain(..) {
            // An error means that nobody waits any more.
            let _ = migration.send(match error {
                None => Ok(()),
                Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }

    /// Looks for a better link once the one in use has worked for as long as its source says.
    pub(super) fn schedule_better(&mut self, now: Instant) {
        self.better_at = self.dialer.better_after().and_then(|after| now.checked_add(after));
    }

    pub(super) fn seek_better(&mut self, now: Instant) {
        if self.dialer.is_trying() {
            // The source cannot even be asked when to look. What it is asked for now may fail.
            self.better_at = now.checked_add(BETTER_RETRY_INTERVAL);
            return;
        }
        self.schedule_better(now);
        self.dialer.seek_better(self.session.client_hello());
    }
}
