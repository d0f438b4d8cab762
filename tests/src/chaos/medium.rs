//! What is between the peers of one transport, with all that can be done to it: proxies, one for each
//! client's process, or a cable. It decides what a fault looks like, not when it comes.

use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use rejoin_conformance::line::{Cable, Damage, End, Noise};
use rejoin_conformance::proxy::{Admission, Direction, Fault as ProxyFault, FaultProxy, Shape};

use super::deck::Fault;
use super::transport::Transport;
use crate::sim::rng::Rng;

/// The medium of one transport.
#[derive(Debug)]
pub(super) enum Medium {
    /// Connections, each client's process through a proxy of its own.
    Proxies {
        proxies: Vec<Proxy>,
        /// Where the server of Unix sockets listens.
        socket: Option<PathBuf>,
        _folder: Option<tempfile::TempDir>,
    },
    Cable(Cable),
}

#[derive(Debug)]
pub(super) struct Proxy {
    proxy: FaultProxy,
    /// Where its clients call.
    address: String,
    shape: Shape,
    /// There is nobody to forward to.
    is_down: bool,
}

/// What ends a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    fault: Fault,
    proxy: usize,
}

impl Medium {
    /// Where the server is to listen.
    pub(super) fn server_address(&self) -> String {
        match self {
            Self::Proxies { socket: Some(path), .. } => path.display().to_string(),
            Self::Proxies { socket: None, .. } => "127.0.0.1:0".into(),
            Self::Cable(cable) => cable.port(End::Far).display().to_string(),
        }
    }

    /// A medium to the server that listens at `server`, for so many clients.
    pub(super) async fn open(
        transport: Transport,
        clients: usize,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut proxies = Vec::new();
        match transport {
            Transport::Serial => Ok(Self::Cable(Cable::lay()?)),
            Transport::Tcp | Transport::Websocket => {
                for _ in 0..clients {
                    // Nobody is there before the server has told its address.
                    let proxy = FaultProxy::start(([127, 0, 0, 1], 1).into()).await?;
                    let address = proxy.addr().to_string();
                    proxies.push(Proxy { proxy, address, shape: Shape::default(), is_down: true });
                }
                Ok(Self::Proxies { proxies, socket: None, _folder: None })
            }
            Transport::Unix => {
                let folder = tempfile::tempdir()?;
                let socket = folder.path().join("server");
                for client in 0..clients {
                    let at = folder.path().join(format!("proxy-{client}"));
                    let proxy = FaultProxy::start_unix(&at, &socket)?;
                    let address = at.display().to_string();
                    proxies.push(Proxy { proxy, address, shape: Shape::default(), is_down: true });
                }
                Ok(Self::Proxies { proxies, socket: Some(socket), _folder: Some(folder) })
            }
        }
    }

    /// Where a client calls.
    pub(super) fn client_address(&self, client: usize) -> String {
        match self {
            Self::Proxies { proxies, .. } => proxies[client].address.clone(),
            Self::Cable(cable) => cable.port(End::Near).display().to_string(),
        }
    }

    /// The server is about to end: its address may soon be somebody else's.
    pub(super) fn server_leaves(&mut self) {
        if let Self::Proxies { proxies, .. } = self {
            for proxy in proxies {
                proxy.is_down = true;
                proxy.admit_again();
            }
        }
    }

    /// The server listens at `address` from now on.
    pub(super) fn server_listens(&mut self, address: &str) {
        let Self::Proxies { proxies, .. } = self else { return };
        for proxy in proxies {
            if let Ok(address) = address.parse() {
                proxy.proxy.redirect(address);
            }
            proxy.is_down = false;
            proxy.admit_again();
        }
    }

    /// Does `fault`, which is one of the medium's, and says for how long, and what undoes it. `None`
    /// where there was nothing to do it to.
    pub(super) fn harm(
        &mut self,
        fault: Fault,
        rng: &mut Rng,
    ) -> io::Result<Option<(Duration, Option<Undo>)>> {
        match self {
            Self::Proxies { proxies, .. } => {
                let index = rng.index(proxies.len());
                Ok(proxies[index]
                    .harm(fault, rng)
                    .map(|time| (time, (!time.is_zero()).then_some(Undo { fault, proxy: index }))))
            }
            Self::Cable(cable) => {
                let time = harm_cable(cable, fault, rng)?;
                Ok(Some((time, (!time.is_zero()).then_some(Undo { fault, proxy: 0 }))))
            }
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) -> io::Result<()> {
        match self {
            Self::Proxies { proxies, .. } => {
                proxies[undo.proxy].undo(undo.fault);
                Ok(())
            }
            Self::Cable(cable) => undo_cable(cable, undo.fault),
        }
    }

    /// Ends all that goes on.
    pub(super) fn heal(&mut self) -> io::Result<()> {
        match self {
            Self::Proxies { proxies, .. } => {
                for proxy in proxies {
                    proxy.shape = Shape::default();
                    proxy.proxy.shape(proxy.shape);
                    proxy.proxy.disarm();
                    proxy.proxy.release();
                    proxy.admit_again();
                }
                Ok(())
            }
            Self::Cable(cable) => {
                cable.mend();
                cable.set_rate(None);
                for end in [End::Near, End::Far] {
                    cable.set_noise(end, Noise::default());
                    if cable.device(end).is_none() {
                        cable.plug(end)?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn millis(rng: &mut Rng, min: u64, max: u64) -> Duration {
    Duration::from_millis(min + rng.below(max - min))
}

fn direction(rng: &mut Rng) -> Direction {
    rng.pick(&[Direction::ToServer, Direction::ToClient])
}

impl Proxy {
    fn harm(&mut self, fault: Fault, rng: &mut Rng) -> Option<Duration> {
        let is_live = self.proxy.stats().live > 0;
        let mut lasts = Duration::ZERO;
        match fault {
            Fault::Refuse | Fault::Hold => {
                lasts = millis(rng, 100, 1_500);
                let hold = fault == Fault::Hold;
                self.proxy.admit(if hold { Admission::Hold } else { Admission::Refuse });
                // So that there are new connections.
                drop(self.proxy.cut(ProxyFault::Reset));
            }
            Fault::CutHandshake => {
                let (direction, bytes) = (direction(rng), rng.below(120));
                let fault = rng.pick(&[ProxyFault::Reset, ProxyFault::Fin]);
                drop(self.proxy.cut_next(direction, bytes, fault));
                drop(self.proxy.cut(ProxyFault::Reset));
            }
            Fault::Delay => {
                lasts = millis(rng, 500, 4_000);
                self.shape.latency = millis(rng, 1, 150);
            }
            Fault::Split => {
                lasts = millis(rng, 500, 2_000);
                let bytes = usize::try_from(rng.below(40)).unwrap_or(0);
                self.shape.write_bytes_max = Some(NonZeroUsize::MIN.saturating_add(bytes));
            }
            Fault::Coalesce => {
                lasts = millis(rng, 500, 4_000);
                self.shape.coalesce = millis(rng, 5, 150);
            }
            Fault::Bandwidth => {
                lasts = millis(rng, 500, 4_000);
                let rate = u32::try_from(rng.below(100_000)).unwrap_or(0);
                self.shape.bytes_per_second = NonZeroU32::new(5_000 + rate);
            }
            _ if !is_live => return None,
            Fault::Cut => drop(self.proxy.cut(ProxyFault::Fin)),
            Fault::Reset => drop(self.proxy.cut(ProxyFault::Reset)),
            Fault::HalfClose => drop(self.proxy.cut(ProxyFault::HalfClose(direction(rng)))),
            Fault::Stall => {
                let lasting = Some(millis(rng, 100, 3_000));
                drop(self.proxy.cut(ProxyFault::Silence { lasting }));
            }
            // Until the peers give up, or another fault.
            Fault::BlackHole => drop(self.proxy.cut(ProxyFault::Silence { lasting: None })),
            Fault::CutInside => {
                let fault = rng.pick(&[ProxyFault::Reset, ProxyFault::Fin]);
                drop(self.proxy.cut_after(direction(rng), rng.below(5_000), fault));
            }
            _ => return None,
        }
        self.proxy.shape(self.shape);
        Some(lasts)
    }

    fn admit_again(&self) {
        let down = self.is_down;
        self.proxy.admit(if down { Admission::Refuse } else { Admission::Forward });
    }

    fn undo(&mut self, fault: Fault) {
        match fault {
            Fault::Refuse | Fault::Hold => self.admit_again(),
            Fault::Delay => self.shape.latency = Duration::ZERO,
            Fault::Split => self.shape.write_bytes_max = None,
            Fault::Coalesce => self.shape.coalesce = Duration::ZERO,
            Fault::Bandwidth => self.shape.bytes_per_second = None,
            _ => {}
        }
        self.proxy.shape(self.shape);
    }
}

fn harm_cable(cable: &Cable, fault: Fault, rng: &mut Rng) -> io::Result<Duration> {
    let end = rng.pick(&[End::Near, End::Far]);
    let after = rng.below(2_000);
    match fault {
        Fault::Replug => cable.plug(end)?,
        Fault::Unplug => {
            cable.unplug(end);
            return Ok(millis(rng, 100, 3_000));
        }
        Fault::Stall | Fault::BlackHole => {
            let both = fault == Fault::BlackHole;
            for silent in [End::Near, End::Far] {
                if both || silent == end {
                    cable.silence(silent, true);
                }
            }
            return Ok(if both { millis(rng, 2_000, 4_000) } else { millis(rng, 100, 2_000) });
        }
        Fault::Flip => cable.damage(end, after, Damage::Flip(1 << rng.below(8))),
        Fault::Lose => cable.damage(end, after, Damage::Lose(1 + rng.below(100))),
        Fault::Insert => {
            let bytes = (0..=rng.below(50)).map(|_| rng.next().to_le_bytes()[0]).collect();
            cable.damage(end, after, Damage::Insert(bytes));
        }
        Fault::Break => cable.damage(end, after, Damage::Break),
        Fault::Noise => {
            let byte_error_rate = rng.pick(&[1e-5, 1e-4, 5e-4]);
            cable.set_noise(end, Noise { byte_error_rate, seed: rng.next() });
            return Ok(millis(rng, 500, 4_000));
        }
        Fault::Bandwidth => {
            let rate = u32::try_from(rng.below(100_000)).unwrap_or(0);
            cable.set_rate(NonZeroU32::new(10_000 + rate));
            return Ok(millis(rng, 500, 4_000));
        }
        _ => {}
    }
    Ok(Duration::ZERO)
}

fn undo_cable(cable: &Cable, fault: Fault) -> io::Result<()> {
    for end in [End::Near, End::Far] {
        match fault {
            Fault::Stall | Fault::BlackHole => cable.silence(end, false),
            Fault::Noise => cable.set_noise(end, Noise::default()),
            Fault::Bandwidth => cable.set_rate(None),
            Fault::Unplug if cable.device(end).is_none() => cable.plug(end)?,
            _ => {}
        }
    }
    Ok(())
}
