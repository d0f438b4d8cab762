//! TCP over the loopback interface, through the proxy.

use std::sync::Arc;

use rejoin_conformance::proxy::FaultProxy;
use rejoin_tcp::{TcpLinkListener, TcpSource};

use super::{Receivers, open_metered};
use crate::meter::Framing;
use crate::options::Options;
use crate::run::RunError;
use crate::saboteur::Scene;

pub(super) async fn open(options: &Options) -> Result<(Arc<Scene>, Receivers), RunError> {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await.map_err(RunError::Bind)?;
    let address = listener.local_addr().map_err(RunError::Bind)?;
    let proxy = FaultProxy::start(address).await.map_err(RunError::Bind)?;
    let source = TcpSource::new(proxy.addr());
    let framing = Framing::LengthPrefix;
    open_metered(options, proxy, (listener, framing), (source, framing)).await
}
