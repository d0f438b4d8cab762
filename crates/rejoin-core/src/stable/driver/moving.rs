//! Moving to a new link while the old one works: because the application wants it, or because the
//! source hopes for a better one. How a link is made and taken into use is not decided here.

use std::time::Instant;

use crate::source::LinkSource;
use crate::stable::driver::Driver;

impl<S: LinkSource> Driver<S> {
    /// Whether somebody still waits for a new link in place of one that works.
    pub(super) fn is_migrating(&mut self) -> bool {
        self.migrations.retain(|migration| !migration.is_closed());
        !self.migrations.is_empty()
    }

    pub(super) fn migrated(&mut self, error: Option<&std::io::Error>) {
        for migration in self.migrations.drain(..) {
            // An error means that nobody waits any more.
            let _ = migration.send(match error {
                None => Ok(()),
                Some(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
            });
        }
    }

    /// Looks for a better link once the one in use has worked for as long as its source says.
    pub(super) fn schedule_better(&mut self, now: Instant) {
        self.better_at = self.dialer.better_after().and_then(|after| now.checked_add(after));
    }

    pub(super) fn seek_better(&mut self, now: Instant) {
        self.schedule_better(now);
        self.dialer.seek_better(self.session.client_hello());
    }
}
