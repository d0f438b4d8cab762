//! Starts children as links.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::sync::Arc;

use rejoin_stream::StreamConfig;
use rejoin_tcp::{Attachment, LinkSource, Peer};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::child::{Leash, Relays};
use super::link::PipeLink;

/// Gives links through children: each attempt starts a command.
///
/// A child that starts is a link, also when it then finds nobody to talk to: that shows when the
/// link ends before its handshake, which is one failed attempt like any other. A command that is not
/// there may be there again in a moment, as while it is being updated; one that must not be
/// run is fatal.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSource {
    program: OsString,
    arguments: Vec<OsString>,
    config: StreamConfig,
    relays: Relays,
}

impl ProcessSource {
    /// Runs `program` with `arguments` for each link.
    pub(crate) fn new(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        config: StreamConfig,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            config,
            relays: Relays::default(),
        }
    }

    /// Kills the children that carry a link of this source or a clone, and tells how many.
    pub(crate) fn kill_relays(&self) -> usize {
        self.relays.kill()
    }
}

impl LinkSource for ProcessSource {
    type Link = PipeLink<ChildStdout, ChildStdin>;

    async fn next_link(&mut self) -> io::Result<Attachment<Self::Link>> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the child has no pipes, though they were asked for"));
        };
        let leash = Arc::new(Leash::new(child));
        self.relays.add(&leash);
        let peer = Peer::at(self.program.to_string_lossy());
        let link = PipeLink::new(stdout, stdin, peer, &self.config).through(leash);
        Ok(Attachment::initiator(link))
    }
}
