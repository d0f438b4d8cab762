//! Listeners of any kind as one type, so that the trials are compiled once and not again for each
//! transport. `rejoin-core` does the same for sources.

use std::future::Future;
use std::io;
use std::pin::Pin;

use rejoin_core::{Attachment, BoxLink, DynLinkSource, Link, LinkListener, LinkSource};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way of an accepted peer to a link of any kind.
pub(crate) type AnyUpgrade = BoxFuture<'static, io::Result<BoxLink>>;

/// A listener of any kind.
pub(crate) struct AnyListener(Box<dyn DynListener>);

pub(crate) fn erase_listener(listener: impl LinkListener) -> AnyListener {
    AnyListener(Box::new(listener))
}

impl LinkListener for AnyListener {
    type Link = BoxLink;
    type Upgrade = AnyUpgrade;

    async fn accept(&mut self) -> io::Result<AnyUpgrade> {
        self.0.accept().await
    }
}

trait DynListener: Send {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<AnyUpgrade>>;
}

impl<L: LinkListener> DynListener for L {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<AnyUpgrade>> {
        Box::pin(async {
            let upgrade = LinkListener::accept(self).await?;
            Ok(Box::pin(async { box_link(upgrade.await?).await }) as AnyUpgrade)
        })
    }
}

/// The link behind pointers, as an erased source gives it.
pub(crate) async fn box_link<L: Link>(link: L) -> io::Result<BoxLink> {
    Ok(Single(Some(link)).next_link_dyn().await?.into_link())
}

/// Gives one link that is there already.
struct Single<L>(Option<L>);

impl<L: Link> LinkSource for Single<L> {
    type Link = L;

    async fn next_link(&mut self) -> io::Result<Attachment<L>> {
        self.0.take().map(Attachment::initiator).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}
