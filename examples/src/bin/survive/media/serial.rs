//! A serial line between two pseudo-terminals, with a pace, noise, and plugs to pull.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rejoin_conformance::line::{Cable, End, Noise};
use rejoin_serial::{SerialConfig, SerialSource, SourceListener, StableConfig, Status};
use tokio::sync::watch;

use super::{Medium, Receivers, impatient, open_over};
use crate::options::Options;
use crate::run::RunError;
use crate::saboteur::Scene;
use crate::schedule::Random;

const BAUD_RATE: u32 = 3_000_000;

/// With a start bit and a stop bit.
const BYTES_PER_SECOND: u32 = BAUD_RATE / 10;

/// How likely a byte is harmed on its way, without any cut.
const BYTE_ERROR_RATE: f64 = 1e-5;

/// What the line is like.
pub(crate) const DESCRIPTION: &str =
    "the serial line has 3000000 baud, noise harms 1 byte in 100000; it gets fewer messages";

/// What happens to the line, on which nothing comes through any more at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A plug is pulled out, and put back once that was noticed.
    Unplug(End),
    /// It stays so until it was noticed.
    Silence,
}

/// Each three in a row have every deed.
pub(super) fn deeds(random: &mut Random) -> impl Iterator<Item = Deed> {
    let deeds = [Deed::Unplug(End::Near), Deed::Unplug(End::Far), Deed::Silence];
    random.shuffled(deeds).into_iter().cycle()
}

pub(super) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let cable = lay(options.seed).map_err(RunError::Bind)?;
    let ends = (acceptor(&cable), initiator(&cable));
    let medium = Medium::Serial(Serial { cable });
    open_over(options, medium, stable_config(), ends, Default::default()).await
}

/// A cable as the description has it.
pub(super) fn lay(seed: u64) -> io::Result<Cable> {
    let cable = Cable::lay()?;
    cable.set_rate(NonZeroU32::new(BYTES_PER_SECOND));
    for (end, seed) in [(End::Near, seed), (End::Far, !seed)] {
        cable.set_noise(end, Noise { byte_error_rate: BYTE_ERROR_RATE, seed });
    }
    Ok(cable)
}

pub(super) fn initiator(cable: &Cable) -> SerialSource {
    SerialSource::new(cable.port(End::Near)).with_config(config())
}

pub(super) fn acceptor(cable: &Cable) -> SourceListener<SerialSource> {
    let source = SerialSource::new(cable.port(End::Far)).with_config(config()).accepting();
    SourceListener::new(source).expect("it accepts")
}

fn config() -> SerialConfig {
    let mut config = SerialConfig::new(BAUD_RATE);
    config.port_wait = Duration::from_millis(500);
    config
}

/// For both conduits, on this line.
pub(super) fn stable_config() -> StableConfig {
    impatient(config().stable_config())
}

/// Lets nothing through any more, or everything again but for the noise.
pub(super) fn silence(cable: &Cable, silent: bool) {
    for end in [End::Near, End::Far] {
        cable.silence(end, silent);
    }
}

#[derive(Debug)]
pub(crate) struct Serial {
    cable: Cable,
}

impl Serial {
    /// Lets nothing through any more.
    pub(crate) fn hold(&self) {
        silence(&self.cable, true);
    }

    /// Lets everything through again; what was held up is lost.
    pub(crate) fn release(&self) {
        silence(&self.cable, false);
    }

    pub(crate) async fn act(&self, deed: Deed, link: u64, mut status: watch::Receiver<Status>) {
        if let Deed::Unplug(end) = deed {
            self.cable.unplug(end);
        }
        let is_on = |status: &Status| matches!(status, Status::Connected { generation, .. } if *generation == link);
        // It fails only with the conduit.
        let _ = status.wait_for(|status| !is_on(status)).await;
        if let Deed::Unplug(end) = deed {
            self.cable.plug(end).expect("a pseudo-terminal was just given back");
        }
        silence(&self.cable, false);
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unplug(End::Near) => "the client's plug pulled",
            Self::Unplug(End::Far) => "the server's plug pulled",
            Self::Silence => "silence",
        })
    }
}
