//! The proxy as the faults of a medium, for fixtures of transports over streams.

use std::io;

use super::{Direction, Fault, FaultProxy};
use crate::fixture::{Faults, Sever, Toward};

/// Ends connections in order with a FIN, kills them with a reset, and silences them.
impl Faults for FaultProxy {
    async fn sever(&mut self, how: Sever) -> io::Result<()> {
        let fault = match how {
            Sever::Graceful => Fault::Fin,
            Sever::Abrupt => Fault::Reset,
            Sever::HalfOpen => Fault::Silence { lasting: None },
            // The network below takes care that no byte is damaged.
            Sever::Corrupted => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.cut(fault).report().await;
        Ok(())
    }

    async fn sever_next_after(&mut self, toward: Toward, bytes: u64) -> io::Result<()> {
        let direction = match toward {
            Toward::Acceptor => Direction::ToServer,
            Toward::Initiator => Direction::ToClient,
        };
        // Happens whether or not anybody asks about it.
        drop(self.cut_next(direction, bytes, Fault::Reset));
        Ok(())
    }

    async fn restore(&mut self) -> io::Result<()> {
        self.release();
        Ok(())
    }
}
