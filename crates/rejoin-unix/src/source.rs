//! Dials Unix sockets as links.

use std::io;

use rejoin_core::{Attachment, LinkSource, is_fatal_kind};
use tokio::net::UnixStream;

use crate::address::UnixAddress;
use crate::config::UnixConfig;
use crate::error::UnixError;
use crate::link::UnixLink;

/// Dials a Unix socket as links.
///
/// An attempt never takes long: where nobody listens, or the queue of those who wait to be accepted
/// is full, it fails at once. Errors are [`UnixError`]s inside an [`io::Error`]. Fatal are those that
/// are not [transient](UnixError::is_transient): addresses that are none.
#[derive(Clone, Debug)]
pub struct UnixSource {
    address: UnixAddress,
    config: UnixConfig,
}

impl UnixSource {
    /// Dials `address`: a path, or an abstract name as `@name`.
    ///
    /// One that the system has no room for shows as a fatal error of the first attempt.
    pub fn new(address: impl Into<UnixAddress>) -> Self {
        Self { address: address.into(), config: UnixConfig::default() }
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: UnixConfig) -> Self {
        self.config = config;
        self
    }
}

impl LinkSource for UnixSource {
    type Link = UnixLink;

    async fn next_link(&mut self) -> io::Result<Attachment<UnixLink>> {
        let path = self.address.to_system()?;
        let address = self.address.to_string();
        let link = match UnixStream::connect(path).await {
            Ok(stream) => UnixLink::new(stream, Some(address.clone()), &self.config),
            Err(error) => Err(error),
        };
        match link {
            Ok(link) => Ok(Attachment::initiator(link)),
            Err(source) => Err(UnixError::Connect { address, source }.into()),
        }
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<UnixError>()) {
            Some(error) => !error.is_transient(),
            None => is_fatal_kind(error),
        }
    }
}
