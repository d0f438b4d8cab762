//! Dials xyz links.

use std::io;

use rejoin_core::{Attachment, LinkSource};

use super::config::XyzConfig;
use super::error::{XyzError, unwritten};
use super::link::XyzLink;

/// Dials one address as links.
#[derive(Clone, Debug)]
pub struct XyzSource {
    address: String,
    config: XyzConfig,
}

impl XyzSource {
    /// Dials `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), config: XyzConfig::default() }
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: XyzConfig) -> Self {
        self.config = config;
        self
    }

    /// One attempt.
    async fn dial(&self) -> io::Result<XyzLink> {
        unwritten::<()>(
            "XyzSource::dial in src/source.rs",
            "make one attempt to reach the address; who calls sees to delays and deadlines",
        )?;
        Ok(XyzLink::new(&self.address, &self.config))
    }
}

impl LinkSource for XyzSource {
    type Link = XyzLink;

    async fn next_link(&mut self) -> io::Result<Attachment<XyzLink>> {
        match self.dial().await {
            Ok(link) => Ok(Attachment::initiator(link)),
            Err(source) => {
                let address = self.address.clone();
                Err(XyzError::Connect { address, source }.into())
            }
        }
    }

    // `is_fatal` says which errors make further attempts pointless; unless written here, those of
    // the kinds `InvalidInput`, `Unsupported` and `PermissionDenied`.
}
