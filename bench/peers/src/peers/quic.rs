//! One stream both ways of a QUIC connection, with a length prefix.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::PrivatePkcs8KeyDer;
use quinn::{ClientConfig, Endpoint, ServerConfig};
use tokio::io::join;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Channel;
use crate::rounds::{Contest, Failure, between};

pub(super) async fn run(contest: &Contest) -> Result<f64, Failure> {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone())?;
    let chain = vec![certificate.cert.der().clone()];
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Endpoint::server(ServerConfig::with_single_cert(chain, key.into())?, loopback)?;
    let mut client = Endpoint::client(loopback)?;
    client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);

    let connecting = client.connect(server.local_addr()?, "localhost")?;
    let accepting = async {
        let incoming = server.accept().await.ok_or("the endpoint is closed")?;
        Ok::<_, Failure>(incoming.await?)
    };
    let connecting = async { Ok::<_, Failure>(connecting.await?) };
    let (near, far) = tokio::try_join!(connecting, accepting)?;

    let (send, recv) = near.open_bi().await?;
    let mut client = Framed::new(join(recv, send), LengthDelimitedCodec::new());
    // The other end learns of a stream by what is sent on it.
    Channel::feed(&mut client, "hello".into()).await?;
    Channel::flush(&mut client).await?;
    let (send, recv) = far.accept_bi().await?;
    let mut server = Framed::new(join(recv, send), LengthDelimitedCodec::new());
    Channel::next(&mut server).await?;
    between(contest, client, server).await
}
