//! One link after another on a serial port that stays open.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rejoin_core::protocol::Role;
use rejoin_core::{
    Attachment, Link, LinkSource, Peer, SplitLink, is_fatal_kind, prepare_acceptor_attachment,
};
use rejoin_stream::{CobsLine, LineStats, LineStatsHandle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use crate::config::SerialConfig;
use crate::error::SerialError;
use crate::link::SerialLink;
use crate::port::{OpenPort, PortName};
use crate::usb::Devices;

/// How often a port that is not there is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Gives links on a serial port, in either role.
///
/// The port is opened for the first link and stays open: noise costs a link, never the port. When
/// the port goes, its link dies, and the source waits until the port is there again. One that is
/// named by its USB ids may come back under another path.
///
/// One end of a line has to be the initiator, the other [the acceptor](Self::accepting). Either may
/// be restarted at any time. The acceptor is silent until it hears something of its peer.
///
/// Errors are [`SerialError`]s inside an [`io::Error`], and
/// [`CobsError`](rejoin_stream::CobsError)s of the line.
#[derive(Debug)]
pub struct SerialSource {
    port: PortName,
    devices: Devices,
    config: SerialConfig,
    role: Role,
    line: Option<CobsLine>,
    /// An attempt to open the port whose caller has gone.
    opening: Option<JoinHandle<Result<OpenPort, SerialError>>>,
    stats: SerialStatsHandle,
}

/// What has happened on a source's port so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SerialStats {
    /// How often the port was opened.
    pub opened: u64,
    /// What happened on the line.
    pub line: LineStats,
}

/// Tells the numbers of a source that is out of reach. Clones tell of the same one.
#[derive(Clone, Debug, Default)]
pub struct SerialStatsHandle {
    opened: Arc<AtomicU64>,
    line: LineStatsHandle,
}

impl SerialStatsHandle {
    /// The numbers now.
    #[must_use]
    pub fn get(&self) -> SerialStats {
        SerialStats { opened: self.opened.load(Ordering::Relaxed), line: self.line.get() }
    }
}

impl SerialSource {
    /// A source of links on `port`, a path or a [`UsbPort`](crate::UsbPort), on which this end
    /// calls.
    #[must_use]
    pub fn new(port: impl Into<PortName>) -> Self {
        Self {
            port: port.into(),
            devices: Devices::default(),
            config: SerialConfig::default(),
            role: Role::Initiator,
            line: None,
            opening: None,
            stats: SerialStatsHandle::default(),
        }
    }

    /// Makes this end the acceptor, which waits to be called.
    #[must_use]
    pub fn accepting(mut self) -> Self {
        self.role = Role::Acceptor;
        self
    }

    /// Changes the options. To be called before the first link.
    #[must_use]
    pub fn with_config(mut self, config: SerialConfig) -> Self {
        self.config = config;
        self
    }

    /// Looks for the ports of USB devices in other folders than `/sys` and `/dev`, as they are
    /// mounted in a container. Of no effect but on Linux.
    #[must_use]
    pub fn with_device_folders(
        mut self,
        sysfs: impl Into<PathBuf>,
        devices: impl Into<PathBuf>,
    ) -> Self {
        self.devices = Devices::new(sysfs.into(), devices.into());
        self
    }

    /// A handle to the numbers, for when the source is out of reach.
    #[must_use]
    pub fn stats_handle(&self) -> SerialStatsHandle {
        self.stats.clone()
    }

    /// The line on the open port; opens the port if need be, and waits for it for a while.
    async fn line(&mut self) -> Result<&mut CobsLine, SerialError> {
        if self.line.as_ref().is_some_and(|line| line.is_lost().is_some()) {
            self.line = None;
        }
        if self.line.is_none() {
            self.config.validate()?;
            let give_up_at = Instant::now() + self.config.port_wait;
            let mut port = loop {
                match self.open().await {
                    Ok(port) => break port,
                    Err(error) if self.is_final(&error) || Instant::now() >= give_up_at => {
                        return Err(error);
                    }
                    Err(error) => debug!(%error, "the port is waited for"),
                }
                sleep(LOOK_INTERVAL).await;
            };
            port.set_control_lines(&self.config).await;
            self.stats.opened.fetch_add(1, Ordering::Relaxed);
            info!(port = %port.path.display(), "port open");
            let peer = Peer::at(port.path.display());
            let stats = self.stats.line.clone();
            self.line = Some(CobsLine::over(port, self.role, peer, &self.config.line(), stats));
        }
        Ok(self.line.as_mut().expect("there is one, or there was an error"))
    }

    /// Opens the port, beside the runtime's threads: the system may take its time.
    async fn open(&mut self) -> Result<OpenPort, SerialError> {
        let opening = self.opening.get_or_insert_with(|| {
            let (port, devices) = (self.port.clone(), self.devices.clone());
            let config = self.config.clone();
            tokio::task::spawn_blocking(move || port.open(&devices, &config))
        });
        let opened = opening.await;
        self.opening = None;
        opened.unwrap_or_else(|error| Err(SerialError::List { source: io::Error::other(error) }))
    }

    fn is_final(&self, error: &SerialError) -> bool {
        let was_open = self.stats.opened.load(Ordering::Relaxed) > 0;
        // A name may be of another device the next time that the USB device is looked for.
        let may_be_another = matches!(self.port, PortName::Usb(_)) && error.is_no_terminal();
        let may_heal = error.is_transient() || may_be_another || (was_open && error.is_denied());
        !may_heal
    }
}

impl LinkSource for SerialSource {
    type Link = SerialLink;

    async fn next_link(&mut self) -> io::Result<Attachment<SerialLink>> {
        let (role, hello_deadline) = (self.role, self.config.hello_deadline());
        let line = self.line().await?;
        loop {
            let link = line.open().await?;
            if role == Role::Initiator {
                let peer = link.peer();
                let (tx, rx) = link.split();
                return Ok(Attachment::initiator(SplitLink::new(tx, rx, peer)));
            }
            match timeout(hello_deadline, prepare_acceptor_attachment(link)).await {
                Ok(Ok(attachment)) => return Ok(attachment),
                Ok(Err(error)) => debug!(%error, "a caller did not get to its hello"),
                Err(_) => debug!("a caller did not say hello in time"),
            }
        }
    }

    fn role(&self) -> Role {
        self.role
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<SerialError>()) {
            Some(error) => self.is_final(error),
            None => is_fatal_kind(error),
        }
    }
}
