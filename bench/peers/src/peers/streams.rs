//! Plain TCP with a length prefix, and WebSocket over TCP: no session.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Channel;
use crate::rounds::{Contest, Failure, between};

impl<T> Channel for Framed<T, LengthDelimitedCodec>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn feed(&mut self, message: Bytes) -> Result<(), Failure> {
        Ok(SinkExt::feed(self, message).await?)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(SinkExt::<Bytes>::flush(self).await?)
    }

    async fn next(&mut self) -> Result<Bytes, Failure> {
        Ok(StreamExt::next(self).await.ok_or("the peer closed")?.map(BytesMut::freeze)?)
    }
}

impl Channel for WebSocketStream<TcpStream> {
    async fn feed(&mut self, message: Bytes) -> Result<(), Failure> {
        Ok(SinkExt::feed(self, Message::Binary(message)).await?)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(SinkExt::flush(self).await?)
    }

    async fn next(&mut self) -> Result<Bytes, Failure> {
        Ok(StreamExt::next(self).await.ok_or("the peer closed")?.map(Message::into_data)?)
    }
}

pub(super) async fn run_tcp(contest: &Contest) -> Result<f64, Failure> {
    let (client, server) = connected().await?;
    let framed = |stream| Framed::new(stream, LengthDelimitedCodec::new());
    between(contest, framed(client), framed(server)).await
}

pub(super) async fn run_websocket(contest: &Contest) -> Result<f64, Failure> {
    let (client, server) = connected().await?;
    let ((client, _), server) =
        tokio::try_join!(client_async("ws://localhost/", client), accept_async(server))?;
    between(contest, client, server).await
}

/// Two connected sockets.
pub(super) async fn connected() -> Result<(TcpStream, TcpStream), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (client, (server, _)) =
        tokio::try_join!(TcpStream::connect(listener.local_addr()?), listener.accept())?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}
