//! A stable conduit over TCP, with its default settings.

use bytes::Bytes;
use rejoin_tcp::{
    Raw, StableConduit, StableListener, StableRx, StableTx, TcpLinkListener, TcpSource,
};

use super::Channel;
use crate::rounds::{Contest, Failure, between};

struct Halves(StableTx<Raw>, StableRx<Raw>);

impl Channel for Halves {
    async fn feed(&mut self, message: Bytes) -> Result<(), Failure> {
        self.0.send(&&message[..]).await?;
        Ok(())
    }

    /// Nothing: a conduit writes by itself.
    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Bytes, Failure> {
        let message = self.1.recv().await?.ok_or("the peer closed")?;
        // The others give bytes that one may keep, too.
        Ok(message.get().to_vec().into())
    }
}

pub(super) async fn run(contest: &Contest) -> Result<f64, Failure> {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
    let source = TcpSource::new(listener.local_addr()?);
    let mut listener = StableListener::<Raw>::new(listener);
    let (client, server) = tokio::join!(StableConduit::<Raw>::connect(source), listener.accept());
    let ((client_tx, client_rx), (server_tx, server_rx)) = (client?.split(), server?.split());
    between(contest, Halves(client_tx, client_rx), Halves(server_tx, server_rx)).await
}
