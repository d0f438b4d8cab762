//! Serial ports pass the conformance suite, on a cable of pseudo-terminals.

use std::process::ExitCode;

#[cfg(not(unix))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}

#[cfg(unix)]
fn main() -> ExitCode {
    rejoin_conformance::main(serial::Serial)
}

#[cfg(unix)]
mod serial {
    use std::io;
    use std::sync::Arc;

    use rejoin_conformance::line::{Cable, Damage, End};
    use rejoin_conformance::{Capability, Faults, Feature, Fixture, LoneSource, Medium, Sever};
    use rejoin_serial::{DataBits, SerialConfig, SerialSource};

    const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
    /// What the line, the system and the cable hold, with room to spare.
    const BUFFERED_BYTES_MAX: usize = 1024 * 1024;

    pub(crate) struct Serial;

    impl Fixture for Serial {
        fn capability(&self) -> Capability {
            Capability::new("serial", PAYLOAD_BYTES_MAX, BUFFERED_BYTES_MAX)
                .with_load_bytes(512 * 1024)
                .without(Feature::Listener, "a cable has one peer")
                .without(Feature::ManyLinks, "a cable carries one link at a time")
                .without(Feature::GracefulEnd, "a cable has no end of its own")
                .without(Feature::CutAfterBytes, "a cable does not know where a link begins")
                .without(Feature::Refusal, "nobody on a cable says that nobody is there")
                .without(Feature::EarlyLimit, "a frame has no length in front")
        }

        async fn open(&self) -> io::Result<Medium> {
            let cable = Arc::new(Cable::lay()?);
            let source = |end| SerialSource::new(cable.port(end)).with_config(config());
            let (near, far) = (source(End::Near), source(End::Far).accepting());
            Ok(Medium::point_to_point(near, far).with_faults(CableFaults(cable)))
        }

        async fn exhausted(&self) -> io::Result<LoneSource> {
            let mut config = SerialConfig::default();
            config.data_bits = DataBits::Seven;
            Ok(LoneSource::new(SerialSource::new("any port").with_config(config)))
        }
    }

    fn config() -> SerialConfig {
        // Pseudo-terminals are as fast as the machine.
        let mut config = SerialConfig::new(12_000_000);
        config.payload_bytes_max = PAYLOAD_BYTES_MAX;
        config
    }

    struct CableFaults(Arc<Cable>);

    impl Faults for CableFaults {
        async fn sever(&mut self, how: Sever) -> io::Result<()> {
            for end in [End::Near, End::Far] {
                match how {
                    Sever::Abrupt => self.0.plug(end)?,
                    Sever::HalfOpen => self.0.silence(end, true),
                    Sever::Corrupted => {
                        self.0.damage(end, 3, Damage::Flip(0x10));
                        self.0.damage(end, 200, Damage::Lose(2));
                        self.0.damage(end, 500, Damage::Insert(vec![0x33]));
                    }
                    _ => return Err(io::ErrorKind::Unsupported.into()),
                }
            }
            Ok(())
        }

        async fn restore(&mut self) -> io::Result<()> {
            self.0.mend();
            Ok(())
        }
    }
}
