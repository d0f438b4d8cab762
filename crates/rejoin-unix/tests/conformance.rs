//! Unix socket links pass the conformance suite, through the proxy that harms them.

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    rejoin_conformance::main(unix::Unix)
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use std::io;

    use rejoin_conformance::proxy::FaultProxy;
    use rejoin_conformance::{Capability, Feature, Fixture, LoneSource, Medium};
    use rejoin_unix::{StreamConfig, UnixConfig, UnixLinkListener, UnixSource};
    use tempfile::TempDir;

    const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
    /// What the system and the proxy hold between two sockets, with room to spare.
    const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

    pub(crate) struct Unix;

    impl Fixture for Unix {
        fn capability(&self) -> Capability {
            Capability::new("unix", PAYLOAD_BYTES_MAX, BUFFERED_BYTES_MAX)
                .without(Feature::DropIsError, "the system ends the streams of a process that dies")
                .without(Feature::Corruption, "the bytes never leave the memory of the machine")
        }

        async fn open(&self) -> io::Result<Medium> {
            let folder = TempDir::new()?;
            let (far, near) = (folder.path().join("far"), folder.path().join("near"));
            let listener = UnixLinkListener::bind(&far).await?.with_config(config());
            let proxy = FaultProxy::start_unix(&near, far)?.tear_messages();
            let dial = move || UnixSource::new(&near).with_config(config());
            Ok(Medium::listening(dial, listener).with_faults(proxy).keeping(folder))
        }

        async fn nobody(&self) -> io::Result<LoneSource> {
            let folder = TempDir::new()?;
            let source = UnixSource::new(folder.path().join("nobody"));
            Ok(LoneSource::new(source).keeping(folder))
        }

        async fn exhausted(&self) -> io::Result<LoneSource> {
            Ok(LoneSource::new(UnixSource::new("too/long/".repeat(20))))
        }
    }

    fn config() -> UnixConfig {
        let payload_bytes_max = PAYLOAD_BYTES_MAX;
        UnixConfig { stream: StreamConfig { payload_bytes_max, ..StreamConfig::default() } }
    }
}
