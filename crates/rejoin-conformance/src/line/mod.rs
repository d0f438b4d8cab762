//! A serial cable without a device: two pseudo-terminals, and between them what real cables do to
//! what they carry. It keeps a line's pace, flips, loses and inserts bytes, breaks, falls silent,
//! and is pulled out and plugged in again, also under another name.
//!
//! Whoever opens the paths of its two ends finds serial ports there, as far as a pseudo-terminal is
//! one: baud rates are taken and have no effect, and there are no modem lines. Unlike a real port,
//! an end that nobody reads holds the cable up instead of losing bytes.
//!
//! Nothing happens by itself but the noise that was asked for, and that follows from its seed.
//!
//! ```
//! use rejoin_conformance::line::{Cable, Damage, End};
//! # use std::io::{Read, Write};
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let cable = Cable::lay()?;
//! let (near, far) = (cable.port(End::Near), cable.port(End::Far));
//! cable.damage(End::Far, 1, Damage::Insert(b"not ".to_vec()));
//! # let heard = tokio::task::spawn_blocking(move || {
//! let mut near = std::fs::OpenOptions::new().write(true).open(near)?;
//! let mut far = std::fs::File::open(far)?;
//! near.write_all(b" what was said")?;
//! let mut heard = [0; 18];
//! far.read_exact(&mut heard)?;
//! # std::io::Result::Ok(heard)
//! # });
//! # let heard = heard.await.unwrap()?;
//! assert_eq!(&heard, b" not what was said");
//! # Ok(())
//! # }
//! ```

mod carry;
mod noise;
mod plug;

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::task::JoinSet;

use carry::Direction;
pub use noise::{Damage, Noise};
use plug::Plug;

/// One end of a cable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The one.
    Near,
    /// The other.
    Far,
}

impl End {
    fn index(self) -> usize {
        match self {
            Self::Near => 0,
            Self::Far => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// A cable between two pseudo-terminals. Dropping it pulls it out of both.
#[derive(Debug)]
pub struct Cable {
    folder: Folder,
    ends: [watch::Sender<Option<Arc<Plug>>>; 2],
    /// What comes towards each end.
    toward: [Arc<Direction>; 2],
    /// Carry until they are dropped.
    _carriers: JoinSet<()>,
}

impl Cable {
    /// A cable that is plugged in at both ends, without noise, and as fast as the machine.
    ///
    /// # Errors
    ///
    /// When the system gives no more pseudo-terminals.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn lay() -> io::Result<Self> {
        let folder = Folder::new()?;
        let ends = [watch::Sender::new(None), watch::Sender::new(None)];
        let toward = [Arc::<Direction>::default(), Arc::<Direction>::default()];
        let mut carriers = JoinSet::new();
        for to in [End::Near, End::Far] {
            let from = ends[1 - to.index()].subscribe();
            let direction = Arc::clone(&toward[to.index()]);
            carriers.spawn(carry::carry(from, ends[to.index()].subscribe(), direction));
        }
        let cable = Self { folder, ends, toward, _carriers: carriers };
        cable.plug(End::Near)?;
        cable.plug(End::Far)?;
        Ok(cable)
    }

    /// The path of the port at `end`. It is there while the end is plugged in.
    #[must_use]
    pub fn port(&self, end: End) -> PathBuf {
        self.folder.0.join(end.name())
    }

    /// Where the path of the port leads to at present.
    #[must_use]
    pub fn device(&self, end: End) -> Option<PathBuf> {
        self.ends[end.index()].borrow().as_ref().map(|plug| plug.path().to_owned())
    }

    /// Limits what the cable carries in either direction; `None` takes the limit away.
    pub fn set_rate(&self, bytes_per_second: Option<NonZeroU32>) {
        for direction in &self.toward {
            direction.set_rate(bytes_per_second);
        }
    }

    /// Makes noise in what goes towards `end`, from now on.
    pub fn set_noise(&self, end: End, noise: Noise) {
        self.toward[end.index()].set_noise(noise);
    }

    /// Damages what goes towards `end`, once `after` more bytes went there unharmed.
    pub fn damage(&self, end: End, after: u64, damage: Damage) {
        self.toward[end.index()].damage(after, damage);
    }

    /// Puts bytes on the line that nobody sent: a boot loader, a burst of noise.
    pub fn inject(&self, end: End, bytes: &[u8]) {
        self.toward[end.index()].inject(bytes);
    }

    /// From now on nothing arrives at `end`, and nobody is told. `false` ends that; what was lost
    /// stays lost.
    pub fn silence(&self, end: End, silent: bool) {
        self.toward[end.index()].silence(silent);
    }

    /// Ends all noise, silence and damage that has not been done yet. The rate stays.
    pub fn mend(&self) {
        for direction in &self.toward {
            direction.mend();
        }
    }

    /// How many bytes have arrived at `end` so far.
    #[must_use]
    pub fn carried(&self, end: End) -> u64 {
        self.toward[end.index()].carried()
    }

    /// Pulls `end` out: the port and its path are gone.
    pub fn unplug(&self, end: End) {
        // The number of the terminal may be given to somebody else at once.
        let _ = std::fs::remove_file(self.port(end));
        self.ends[end.index()].send_replace(None);
    }

    /// Plugs `end` in, as a new port at the same path.
    ///
    /// # Errors
    ///
    /// When the system gives no more pseudo-terminals.
    pub fn plug(&self, end: End) -> io::Result<()> {
        self.unplug(end);
        let plug = Plug::new()?;
        std::os::unix::fs::symlink(plug.path(), self.port(end))?;
        self.ends[end.index()].send_replace(Some(Arc::new(plug)));
        Ok(())
    }

    /// A folder that goes with the cable, for what a test needs besides.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }
}

/// A temporary folder, removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rejoin-line-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One of an earlier process with this number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
