//! One transport's run: a server's process, clients' processes, the medium between them, and the
//! faults that the deck deals, until the time is over; then a last quiet time, in which everything has
//! to arrive and every session to end.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::deck::{Deck, Fault};
use super::judge::{Fate, Judge, ProcessId, Verdict};
use super::medium::{Medium, Undo};
use super::peer::OUTAGE_MAX;
use super::process::{Process, Told};
use super::report::{Command, Report};
use super::transport::Transport;
use crate::sim::rng::Rng;

/// What a run on one transport is.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) transport: Transport,
    pub(super) seed: u64,
    pub(super) time: Duration,
    /// The program that is a peer, and what it is told before the arguments of a peer.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// What has come of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) restarts: u64,
    pub(super) freezes: u64,
}

/// The processes of clients where there is a listener, and the sessions of each.
const CLIENTS: usize = 2;
const SESSIONS: u64 = 4;
/// The time between two faults is up to twice this.
const FAULT_EVERY: Duration = Duration::from_millis(350);
/// How long everything may take to end once nothing disturbs it.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// A server is not ended before its sessions have had the time to begin.
const RESTART_EVERY: Duration = Duration::from_secs(6);
/// How many reports may wait.
const TOLD_MAX: usize = 1024;

pub(super) struct Arena {
    plan: Plan,
    rng: Rng,
    deck: Deck,
    medium: Medium,
    server: Process,
    clients: Vec<Process>,
    /// The processes that may still tell something.
    telling: BTreeSet<ProcessId>,
    next_process: ProcessId,
    tell: mpsc::Sender<(ProcessId, Told)>,
    told: mpsc::Receiver<(ProcessId, Told)>,
    undos: Vec<(Instant, Ending)>,
    server_restarted: Instant,
    judge: Judge,
    outcome: Outcome,
}

/// What ends a fault that lasts.
enum Ending {
    Undo(Undo),
    Thaw(ProcessId),
}

impl Arena {
    pub(super) async fn open(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let clients = if plan.transport.has_listener() { CLIENTS } else { 1 };
        let medium = Medium::open(plan.transport, clients).await?;
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let mut rng = Rng::new(plan.seed ^ plan.transport as u64);
        let deck = Deck::new(plan.transport.has_listener());
        let mut starter = Starter { plan: &plan, tell: &tell, rng: &mut rng };
        let server = starter.server(&medium, 0)?;
        let mut processes = Vec::new();
        for client in 0..clients {
            processes.push(starter.client(&medium, client, 1 + client as u64)?);
        }
        let next_process = 1 + clients as u64;
        Ok(Self {
            rng,
            deck,
            medium,
            server,
            clients: processes,
            telling: (0..next_process).collect(),
            next_process,
            tell,
            told,
            undos: Vec::new(),
            server_restarted: Instant::now(),
            judge: Judge::default(),
            outcome: Outcome::default(),
            plan,
        })
    }

    pub(super) async fn run(mut self) -> Result<Outcome, Box<dyn Error>> {
        let end = Instant::now() + self.plan.time;
        let mut next_fault = Instant::now() + FAULT_EVERY;
        while Instant::now() < end {
            let ending = self.undos.iter().map(|(at, _)| *at).min();
            let wake = ending.map_or(next_fault, |at| at.min(next_fault)).min(end);
            if let Ok(Some(told)) = timeout_at(wake, self.told.recv()).await {
                self.note(told);
                continue;
            }
            self.end_what_is_over(Instant::now())?;
            if next_fault <= Instant::now() {
                let fault = self.deck.deal(&mut self.rng);
                self.disturb(fault, end).await?;
                next_fault += FAULT_EVERY.mul_f64(self.rng.below(200) as f64 / 100.0);
            }
        }
        self.finish().await?;
        self.outcome.verdict = self.judge.verdict();
        Ok(self.outcome)
    }

    fn note(&mut self, (process, told): (ProcessId, Told)) {
        match told {
            Told::Report(Report::Listening(address)) if process == self.server.id => {
                self.medium.server_listens(&address);
            }
            Told::Report(report) => self.judge.note(process, report),
            Told::End => {
                self.telling.remove(&process);
            }
        }
    }

    fn end_what_is_over(&mut self, now: Instant) -> Result<(), Box<dyn Error>> {
        let (over, going_on) = self.undos.drain(..).partition(|(at, _)| *at <= now);
        self.undos = going_on;
        let over: Vec<_> = over;
        for (_, ending) in over {
            match ending {
                Ending::Undo(undo) => self.medium.undo(undo)?,
                Ending::Thaw(id) => {
                    let all = self.clients.iter_mut().chain([&mut self.server]);
                    for process in all.filter(|process| process.id == id) {
                        process.thaw()?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn disturb(&mut self, fault: Fault, end: Instant) -> Result<(), Box<dyn Error>> {
        let was_done = match fault {
            Fault::Freeze => self.freeze()?,
            Fault::RestartServer => self.restart_server().await?,
            Fault::RestartClient => self.restart_client(end).await?,
            fault => match self.medium.harm(fault, &mut self.rng)? {
                Some((lasts, undo)) => {
                    let at = Instant::now() + lasts;
                    self.undos.extend(undo.map(|undo| (at, Ending::Undo(undo))));
                    true
                }
                None => false,
            },
        };
        if was_done {
            *self.outcome.faults.entry(fault.name()).or_default() += 1;
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<bool, Box<dyn Error>> {
        let index = self.rng.index(self.clients.len() + 1);
        let lasts = Duration::from_millis(100 + self.rng.below(4_000));
        let process = self.clients.get_mut(index).unwrap_or(&mut self.server);
        if process.frozen {
            return Ok(false);
        }
        process.freeze()?;
        let id = process.id;
        self.undos.push((Instant::now() + lasts, Ending::Thaw(id)));
        self.outcome.freezes += 1;
        Ok(true)
    }

    async fn restart_server(&mut self) -> Result<bool, Box<dyn Error>> {
        if self.server_restarted.elapsed() < RESTART_EVERY {
            return Ok(false);
        }
        self.server_restarted = Instant::now();
        self.medium.server_leaves();
        // The former one must be gone before it is followed: they share a path.
        self.end(self.clients.len()).await?;
        let id = self.take_id();
        let mut starter = Starter { plan: &self.plan, tell: &self.tell, rng: &mut self.rng };
        self.server = starter.server(&self.medium, id)?;
        self.outcome.restarts += 1;
        Ok(true)
    }

    async fn restart_client(&mut self, end_of_run: Instant) -> Result<bool, Box<dyn Error>> {
        // Its sessions are to expire within the time that is left for that.
        if end_of_run.saturating_duration_since(Instant::now()) < Duration::from_secs(3) {
            return Ok(false);
        }
        let index = self.rng.index(self.clients.len());
        self.end(index).await?;
        let id = self.take_id();
        let mut starter = Starter { plan: &self.plan, tell: &self.tell, rng: &mut self.rng };
        self.clients[index] = starter.client(&self.medium, index, id)?;
        self.outcome.restarts += 1;
        Ok(true)
    }

    /// Ends a client, or the server, which has the number after theirs: at once, or such that it tells
    /// before what it had.
    async fn end(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        let kills = self.rng.one_in(2);
        let process = self.clients.get_mut(index).unwrap_or(&mut self.server);
        if kills {
            process.kill()?;
        } else {
            process.thaw()?;
            process.tell(Command::Exit);
        }
        let killed = kills && !process.exact;
        let id = process.id;
        self.judge.note_fate(id, if killed { Fate::Killed } else { Fate::EndedTold });
        self.wait_for(&[id], "process that was ended", QUIET_MAX).await;
        let process = self.clients.get_mut(index).unwrap_or(&mut self.server);
        process.wait()?;
        Ok(())
    }

    fn take_id(&mut self) -> ProcessId {
        let id = self.next_process;
        self.next_process += 1;
        self.telling.insert(id);
        id
    }

    /// Ends all faults, and then all sessions.
    async fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        let forever = Instant::now() + Duration::from_secs(3600);
        self.end_what_is_over(forever)?;
        self.medium.heal()?;
        for client in &mut self.clients {
            client.tell(Command::Finish);
        }
        let clients: Vec<_> = self.clients.iter().map(|client| client.id).collect();
        self.wait_for(&clients, "clients", QUIET_MAX).await;
        self.server.tell(Command::Finish);
        // Sessions of clients that were killed have to expire first.
        let rest: Vec<_> = self.telling.iter().copied().collect();
        self.wait_for(&rest, "server", OUTAGE_MAX + QUIET_MAX).await;
        Ok(())
    }

    /// Takes what is told until these processes have said their last.
    async fn wait_for(&mut self, processes: &[ProcessId], who: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while processes.iter().any(|process| self.telling.contains(process)) {
            match timeout_at(deadline, self.told.recv()).await {
                Ok(Some(told)) => self.note(told),
                _ => {
                    let name = self.plan.transport.name();
                    return self.judge.break_off(format!("{name}: no end of the {who}"));
                }
            }
        }
    }
}

/// Starts processes.
struct Starter<'a> {
    plan: &'a Plan,
    tell: &'a mpsc::Sender<(ProcessId, Told)>,
    rng: &'a mut Rng,
}

impl Starter<'_> {
    fn server(&mut self, medium: &Medium, id: ProcessId) -> Result<Process, Box<dyn Error>> {
        self.start(id, "serve", medium.server_address(), &[])
    }

    fn client(
        &mut self,
        medium: &Medium,
        client: usize,
        id: ProcessId,
    ) -> Result<Process, Box<dyn Error>> {
        let sessions = if self.plan.transport.has_listener() { SESSIONS } else { 1 };
        let first = id << 32;
        let more = [format!("--sessions={sessions}"), format!("--first={first}")];
        self.start(id, "call", medium.client_address(client), &more)
    }

    fn start(
        &mut self,
        id: ProcessId,
        role: &str,
        address: String,
        more: &[String],
    ) -> Result<Process, Box<dyn Error>> {
        let mut arguments = self.plan.arguments.clone();
        let transport = self.plan.transport.name().to_owned();
        let seed = format!("--seed={}", self.rng.next());
        arguments.extend([role.to_owned(), transport, address, seed]);
        arguments.extend_from_slice(more);
        let exact = self.rng.one_in(2);
        Ok(Process::start(&self.plan.program, &arguments, id, exact, self.tell.clone())?)
    }
}
