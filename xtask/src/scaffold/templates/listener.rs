//! Accepts xyz links.

use std::future::{Ready, ready};
use std::io;

use rejoin_core::LinkListener;

use super::config::XyzConfig;
use super::error::unwritten;
use super::link::XyzLink;

/// Accepts links from many peers.
///
/// A medium with one peer has no listener: its acceptor's end is a source, too, whose `role` is
/// `Role::Acceptor` and which reads the peer's hello with `prepare_acceptor_attachment`.
#[derive(Debug)]
pub struct XyzLinkListener {
    config: XyzConfig,
}

impl XyzLinkListener {
    /// Listens at `address`.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let _ = address;
        unwritten::<()>(
            "XyzLinkListener::bind in src/listener.rs",
            "get ready to be dialled; whoever dials from then on is accepted in the end",
        )?;
        Ok(Self { config: XyzConfig::default() })
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: XyzConfig) -> Self {
        self.config = config;
        self
    }
}

impl LinkListener for XyzLinkListener {
    type Link = XyzLink;
    // Whatever waits for something that the peer has yet to say belongs into a future of this type.
    type Upgrade = Ready<io::Result<XyzLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        unwritten::<()>(
            "XyzLinkListener::accept in src/listener.rs",
            "wait for the next peer, and for nothing that it has yet to say",
        )?;
        Ok(ready(Ok(XyzLink::new("the peer's address", &self.config))))
    }
}
