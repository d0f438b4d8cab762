//! Links within this process, which their network cuts, freezes and refuses.

use std::fmt;
use std::sync::Arc;

use rejoin_tcp::{MemoryConfig, MemoryNetwork, Status, memory_listener};
use tokio::sync::watch;

use super::{Medium, Receivers, config, open_over};
use crate::options::Options;
use crate::run::RunError;
use crate::saboteur::Scene;
use crate::schedule::Random;

/// What happens to a link, which is frozen at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Both ends fail.
    Cut,
    /// Nobody is told; both ends have to notice.
    Freeze,
    /// Both ends fail, and so do the next two dials.
    CutAndRefuse,
    /// Both ends fail, and the next dial is not answered for a while.
    CutAndIgnore,
}

/// Each four in a row have every deed.
pub(super) fn deeds(random: &mut Random) -> impl Iterator<Item = Deed> {
    let deeds = [Deed::Cut, Deed::Freeze, Deed::CutAndRefuse, Deed::CutAndIgnore];
    random.shuffled(deeds).into_iter().cycle()
}

pub(super) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let medium = Medium::Memory(Memory { network: connector.network().clone() });
    let ends = (listener, connector.source());
    open_over(options, medium, config(), ends, Default::default()).await
}

#[derive(Debug)]
pub(crate) struct Memory {
    network: MemoryNetwork,
}

impl Memory {
    /// Lets nothing through any more.
    pub(crate) fn hold(&self) {
        self.network.freeze_links();
    }

    /// Lets everything through that was held up.
    pub(crate) fn release(&self) {
        self.network.thaw_links();
    }

    pub(crate) async fn act(&self, deed: Deed, mut status: watch::Receiver<Status>) {
        let Self { network } = self;
        match deed {
            Deed::Cut => network.cut_links(),
            Deed::Freeze => {}
            Deed::CutAndRefuse => {
                network.refuse_dials();
                network.cut_links();
                suspended(&mut status, 2).await;
            }
            Deed::CutAndIgnore => {
                network.ignore_dials();
                network.cut_links();
                suspended(&mut status, 0).await;
            }
        }
        network.answer_dials();
    }
}

/// Waits until there is no link, after so many attempts; or the end.
async fn suspended(status: &mut watch::Receiver<Status>, failed: u32) {
    let is_it = |status: &Status| match status {
        Status::Suspended { attempts, .. } => *attempts >= failed,
        status => status.is_final(),
    };
    // It fails only with the conduit.
    let _ = status.wait_for(is_it).await;
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Freeze => "frozen",
            Self::CutAndRefuse => "cut, and the next two dials refused",
            Self::CutAndIgnore => "cut, and the next dial not answered at once",
        })
    }
}
