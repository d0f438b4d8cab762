//! Dials TCP connections as links.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use rejoin_core::{Attachment, LinkSource, Peer, is_fatal_kind};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::TcpConfig;
use crate::error::TcpError;
use crate::link::{TcpLink, prepare};

/// How many addresses of one name are tried in one attempt.
const ADDRESSES_PER_NAME_MAX: usize = 16;

/// Dials TCP connections as links, to one address or to several that lead to the same peer.
///
/// An attempt tries the addresses in the order given, but begins with the one that worked last, or
/// behind it when its link turned out to lead nowhere.
/// Names are resolved anew each time, and up to 16 addresses of each are tried. An attempt that is
/// dropped is taken as one that waited in vain: the next one goes on behind the address where it
/// was dropped, so a deadline shorter than all the time-outs together still reaches every address.
///
/// ```
/// use std::time::Duration;
///
/// use rejoin_tcp::{TcpConfig, TcpSource};
///
/// let mut config = TcpConfig::default();
/// config.connect_timeout = Duration::from_secs(3);
/// let source = TcpSource::new("gateway.example:7000") // a name, resolved anew for each attempt
///     .or("192.0.2.7:7000") // the same peer by another way
///     .with_config(config);
/// ```
///
/// Errors are [`TcpError`]s inside an [`io::Error`]. Fatal are those that are not
/// [transient](TcpError::is_transient).
#[derive(Debug)]
pub struct TcpSource {
    addresses: Vec<String>,
    config: TcpConfig,
    worked: Option<Worked>,
    /// Where the next attempt begins if the present one is dropped.
    resume: Option<Resume>,
    /// What to go back to if the link given last turns out to lead nowhere.
    given: Option<Given>,
    /// Where connections come from, if the system is not to choose.
    local: Option<IpAddr>,
}

/// How things were when a link was given.
#[derive(Clone, Copy, Debug)]
struct Given {
    worked_before: Option<Worked>,
    /// Where the attempt would have gone on.
    behind: Option<Resume>,
}

/// What the last link was made with.
#[derive(Clone, Copy, Debug)]
struct Worked {
    /// The index of the address given.
    index: usize,
    address: SocketAddr,
}

/// A place in the order of an attempt.
#[derive(Clone, Copy, Debug)]
struct Resume {
    /// How many of the addresses given are left for the end.
    skip: usize,
    /// Where to begin among what the next one resolves to.
    address: Option<SocketAddr>,
}

impl TcpSource {
    /// Dials `address`: a [`SocketAddr`], or `host:port` where the host is a name, an IPv4 address
    /// or an IPv6 address in brackets.
    ///
    /// A text that is no address shows as a fatal error of the first attempt.
    pub fn new(address: impl fmt::Display) -> Self {
        Self {
            addresses: vec![address.to_string()],
            config: TcpConfig::default(),
            worked: None,
            resume: None,
            given: None,
            local: None,
        }
    }

    /// Adds another address of the same peer, tried when those before it fail.
    #[must_use]
    pub fn or(mut self, address: impl fmt::Display) -> Self {
        self.addresses.push(address.to_string());
        self
    }

    /// Dials from this address of this machine, and so by the interface that has it; the system
    /// chooses the port. Peers are then reached at addresses of the same family only.
    ///
    /// While no interface has the address, attempts fail, but not fatally.
    #[must_use]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local = Some(address);
        self
    }

    /// Changes the options of the links to come.
    #[must_use]
    pub fn with_config(mut self, config: TcpConfig) -> Self {
        self.config = config;
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn config(&self) -> &TcpConfig {
        &self.config
    }

    /// The indices of the addresses in the order of an attempt.
    fn order(&self) -> Vec<usize> {
        let first = self.worked.map_or(0, |worked| worked.index);
        let others = (0..self.addresses.len()).filter(|index| *index != first);
        std::iter::once(first).chain(others).collect()
    }

    /// What the address given at `index` stands for now, in the order in which to try it.
    async fn resolve(&self, index: usize) -> Result<Vec<SocketAddr>, TcpError> {
        let address = &self.addresses[index];
        check_syntax(address)?;
        let failed = |source| TcpError::Resolve { address: address.clone(), source };
        let resolved = match timeout(self.config.connect_timeout, lookup_host(address)).await {
            Ok(resolved) => resolved.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let fits = |to: &SocketAddr| self.local.is_none_or(|from| from.is_ipv4() == to.is_ipv4());
        let resolved = resolved.filter(fits);
        let mut resolved: Vec<_> = resolved.take(ADDRESSES_PER_NAME_MAX).collect();
        if resolved.is_empty() {
            if self.local.is_none() {
                return Err(failed(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
            }
            let reason = "it has no address of the family of the local address";
            if address.parse::<SocketAddr>().is_ok() {
                return Err(TcpError::InvalidAddress { address: address.clone(), reason });
            }
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, reason)));
        }
        // `false` comes first, and the sort keeps the order of the others.
        resolved.sort_by_key(|address| self.worked.is_none_or(|worked| worked.address != *address));
        Ok(resolved)
    }

    async fn connect(&self, address: SocketAddr) -> Result<(TcpStream, Peer), TcpError> {
        let failed = |source| TcpError::Connect { address: address.to_string(), source };
        let limit = self.config.connect_timeout;
        let Ok(stream) = timeout(limit, open(self.local, address)).await else {
            return Err(TcpError::ConnectTimeout { address: address.to_string(), timeout: limit });
        };
        let stream = stream.map_err(failed)?;
        if is_connected_to_itself(&stream) {
            let kind = io::ErrorKind::ConnectionRefused;
            return Err(failed(io::Error::new(kind, "the socket was connected to itself")));
        }
        let peer = prepare(&stream, &self.config).map_err(failed)?;
        Ok((stream, peer))
    }

    /// Tries one address after another until one gives a connection of which `upgrade` makes a link.
    pub(crate) async fn dial<L, F>(
        &mut self,
        upgrade: impl Fn(TcpStream, Peer) -> F,
    ) -> io::Result<L>
    where
        F: Future<Output = Result<L, TcpError>>,
    {
        self.given = None;
        let begin = self.resume.take().unwrap_or(Resume { skip: 0, address: None });
        let order = self.order();
        let mut attempts = Vec::new();
        // All of them, also after a dropped attempt: whether an error is fatal depends on them all.
        for passed in (begin.skip..order.len()).chain(0..begin.skip) {
            let index = order[passed];
            let next =
                (passed + 1 < order.len()).then_some(Resume { skip: passed + 1, address: None });
            self.resume = next;
            let resolved = match self.resolve(index).await {
                Ok(resolved) => resolved,
                Err(error) => {
                    attempts.push(error);
                    continue;
                }
            };
            let first = if passed == begin.skip { begin.address } else { None };
            let from = resolved.iter().position(|address| Some(*address) == first).unwrap_or(0);
            for (at, address) in resolved.iter().copied().enumerate().skip(from) {
                self.resume = match resolved.get(at + 1) {
                    Some(behind) => Some(Resume { skip: passed, address: Some(*behind) }),
                    None => next,
                };
                let link = match self.connect(address).await {
                    Ok((stream, peer)) => upgrade(stream, peer).await,
                    Err(error) => Err(error),
                };
                match link {
                    Ok(link) => {
                        let worked_before = self.worked.replace(Worked { index, address });
                        self.given = Some(Given { worked_before, behind: self.resume.take() });
                        return Ok(link);
                    }
                    Err(error) => attempts.push(error),
                }
            }
        }
        self.resume = None;
        match <[TcpError; 1]>::try_from(attempts) {
            Ok([only]) => Err(only.into()),
            Err(attempts) => Err(TcpError::AllFailed { attempts }.into()),
        }
    }
}

impl LinkSource for TcpSource {
    type Link = TcpLink;

    async fn next_link(&mut self) -> io::Result<Attachment<TcpLink>> {
        let config = self.config.clone();
        let upgrade = |stream, peer| ready(Ok(TcpLink::new(stream, peer, &config)));
        Ok(Attachment::initiator(self.dial(upgrade).await?))
    }

    fn is_fatal(&self, error: &io::Error) -> bool {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TcpError>()) {
            Some(error) => !error.is_transient(),
            None => is_fatal_kind(error),
        }
    }

    /// The next attempt begins behind the address that gave the link.
    fn link_failed(&mut self, _: &io::Error) {
        if let Some(given) = self.given.take() {
            self.worked = given.worked_before;
            self.resume = given.behind;
        }
    }
}

/// Connects to `address`, from the local address where one was chosen.
async fn open(local: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let (socket, local) = match (local, address) {
        (None, _) => return TcpStream::connect(address).await,
        (Some(IpAddr::V6(local)), SocketAddr::V6(to)) => {
            // An address that is good on one link only is that of the interface to the peer's.
            let local = SocketAddrV6::new(local, 0, 0, to.scope_id());
            (TcpSocket::new_v6()?, SocketAddr::V6(local))
        }
        (Some(local), SocketAddr::V4(_)) => (TcpSocket::new_v4()?, SocketAddr::new(local, 0)),
        (Some(local), SocketAddr::V6(_)) => (TcpSocket::new_v6()?, SocketAddr::new(local, 0)),
    };
    socket.bind(local)?;
    socket.connect(address).await
}

/// Tells a text that can never be an address from a name that is not known now.
fn check_syntax(address: &str) -> Result<(), TcpError> {
    let invalid = |reason| {
        Err(TcpError::InvalidAddress { address: address.escape_debug().collect(), reason })
    };
    let (host, port) = match address.parse::<SocketAddr>() {
        Ok(parsed) => (String::new(), parsed.port()),
        Err(_) => {
            let Some((host, port)) = address.rsplit_once(':') else {
                return invalid("there is no port in it");
            };
            let Ok(port) = port.parse() else { return invalid("the port is not a number") };
            if host.is_empty() {
                return invalid("there is no host in it");
            }
            (host.to_owned(), port)
        }
    };
    if port == 0 {
        return invalid("port 0 cannot be dialled");
    }
    if host.contains(|c: char| c.is_control() || c.is_whitespace() || "[]:/@".contains(c)) {
        return invalid("the host is not a name");
    }
    Ok(())
}

/// Whether the system joined the socket to itself. It does so when a port of its range for
/// outgoing connections is dialled on this machine, nobody listens there, and the socket happens
/// to get that very port: a redial of a stopped local server finds this sooner or later.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, valid: bool) {
        assert_eq!(check_syntax(address).is_ok(), valid, "{address:?}");
    }

    #[test]
    fn syntax_is_checked_before_anything_is_asked() {
        check("127.0.0.1:80", true);
        check("[::1]:80", true);
        check("some-host.example:65535", true);
        for address in
            ["", "host", "host:", ":80", "host:65536", "host:http", "host:0", "127.0.0.1:0"]
        {
            check(address, false);
        }
        for address in ["::1:80", "[::1:80", "[host]:80", "a b:80", "a\0:80", "http://host:80"] {
            check(address, false);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_connected_to_itself_is_noticed() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        assert!(is_connected_to_itself(&socket.connect(own).await.unwrap()));
    }

    #[tokio::test]
    async fn an_attempt_after_a_dropped_one_tries_every_address() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut source = TcpSource::new(socket.local_addr().unwrap()).or("nonsense");
        source.resume = Some(Resume { skip: 1, address: None });
        let error = source.next_link().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(!source.is_fatal(&error), "the address that was passed over may work");
    }

    #[tokio::test]
    async fn a_dropped_attempt_is_gone_on_with_behind_its_address() {
        // Each attempt is dropped while the first of its names is looked up on another thread.
        let mut source = TcpSource::new("a.invalid:1").or("b.invalid:1").or("c.invalid:1");
        let mut begun = Vec::new();
        for _ in 0..4 {
            begun.push(source.resume.map_or(0, |resume| resume.skip));
            let mut attempt = Box::pin(source.next_link());
            let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(attempt.as_mut().poll(cx)));
            assert!(poll.await.is_pending());
            drop(attempt);
        }
        assert_eq!(begun, [0, 1, 2, 0]);
    }
}
