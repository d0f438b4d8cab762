//! The session layer of slozhn alone, without its RPC: frames over TCP with a length prefix.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use slozhn_frame::TransportClosed;
use slozhn_frame::codec::framed;
use slozhn_frame::connection::Config;
use slozhn_frame::proto::v1::{Frame, Message, frame};
use slozhn_session::SessionConfig;
use slozhn_session::client::{BoxFrameTransport, Factory, connect_session};
use slozhn_session::server::{ServerSessionConfig, SessionManager};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Channel;
use crate::rounds::{Contest, Failure, between};

/// Either side's end of a session.
struct Session<T>(T);

impl<T> Channel for Session<T>
where
    T: Stream<Item = Frame> + Sink<Frame, Error = TransportClosed> + Send + Unpin + 'static,
{
    async fn feed(&mut self, payload: Bytes) -> Result<(), Failure> {
        let message = Message { payload, compressed: false };
        let frame = Frame { stream_id: 1, seq: 0, kind: Some(frame::Kind::Message(message)) };
        self.0.feed(frame).await.map_err(|_| "the session has ended".into())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().await.map_err(|_| "the session has ended".into())
    }

    async fn next(&mut self) -> Result<Bytes, Failure> {
        loop {
            let frame = self.0.next().await.ok_or("the session has ended")?;
            if let Some(frame::Kind::Message(message)) = frame.kind {
                return Ok(message.payload);
            }
        }
    }
}

pub(super) async fn run(contest: &Contest) -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let dial: Factory = Arc::new(move || connect(address).boxed());
    let manager = SessionManager::new(ServerSessionConfig::default());
    let connecting = async {
        let session = connect_session(dial, Config::default(), SessionConfig::default()).await;
        Ok::<_, Failure>(session?.0)
    };
    let accepting = async {
        let (stream, _) = listener.accept().await?;
        let session = manager.accept(transport(stream)?).await?;
        Ok::<_, Failure>(session.ok_or("the session was rejected")?.0)
    };
    let (client, server) = tokio::try_join!(connecting, accepting)?;
    between(contest, Session(client), Session(server)).await
}

async fn connect(address: SocketAddr) -> Result<BoxFrameTransport, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    transport(stream).map_err(|error| error.to_string())
}

fn transport(stream: TcpStream) -> std::io::Result<BoxFrameTransport> {
    stream.set_nodelay(true)?;
    let framing = Framed::new(stream, LengthDelimitedCodec::new());
    let messages = SinkExt::<Bytes>::sink_map_err(framing, |_| TransportClosed)
        .filter_map(|message| ready(message.ok().map(BytesMut::freeze)));
    Ok(Box::pin(framed(messages)))
}
