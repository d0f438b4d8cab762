//! Unix sockets in a temporary folder, through the proxy. They have no resets: a cut that is one
//! for TCP ends the stream of a peer that has read everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use rejoin_conformance::proxy::FaultProxy;
use rejoin_unix::{UnixLinkListener, UnixSource};

use super::{Receivers, open_metered};
use crate::meter::Framing;
use crate::options::Options;
use crate::run::RunError;
use crate::saboteur::Scene;

pub(super) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let folder = Folder::new().map_err(RunError::Bind)?;
    let [upstream, at] = ["server", "proxy"].map(|name| folder.0.join(name));
    let listener = UnixLinkListener::bind(upstream.as_path()).await.map_err(RunError::Bind)?;
    let proxy = FaultProxy::start_unix(&at, &upstream).map_err(RunError::Bind)?;
    let source = UnixSource::new(at.as_path());
    let framing = Framing::LengthPrefix;
    let (mut scene, receivers) =
        open_metered(options, proxy, (listener, framing), (source, framing)).await?;
    Arc::get_mut(&mut scene).expect("nobody else has it yet")._folder = Some(folder);
    Ok((scene, receivers))
}

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rejoin-survive-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One of an earlier process with this number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
