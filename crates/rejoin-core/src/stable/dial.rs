//! Makes links for the driver: one attempt at a time, each under its deadlines.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, timeout};

use crate::link::{Link, LinkRx, LinkTx, Peer};
use crate::on_call::OnCall;
use crate::protocol::{ClientHello, HELLO_LEN, ResumeKey, Role, ServerHello};
use crate::source::{Attachment, LinkSource};
use crate::stable::backoff::Backoff;
use crate::stable::config::StableConfig;
use crate::stable::error::DialHandshakeError;

/// A fresh link, with the peer's side of the handshake on it.
pub(super) struct NewLink<L: Link> {
    pub(super) tx: L::Tx,
    pub(super) rx: L::Rx,
    pub(super) peer: Peer,
    pub(super) hello: PeerHello,
}

/// What the peer said first.
pub(super) enum PeerHello {
    /// The answer to our hello.
    Server(ServerHello),
    /// A hello that we are to answer, with this key where that is decided already.
    Client(ClientHello, Option<ResumeKey>),
}

/// An attempt that gave no link.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) error: io::Error,
    pub(super) fatal: bool,
    /// It was to give a better link than the one in use.
    pub(super) better: bool,
}

/// What the driver wants of the dialler now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// A link, as there is none; or, for an acceptor, whoever calls.
    Link,
    /// Another link in place of one that works.
    Replacement,
    /// At most a better link, where one is being looked for.
    Nothing,
}

/// What an attempt asks the source for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Any,
    Better,
}

/// How an attempt ended.
enum Ended<L: Link> {
    Link(NewLink<L>),
    Failed(AttemptError),
    /// It was not wanted any more.
    GivenUp,
}

type Attempt<S> = Pin<Box<dyn Future<Output = (S, Ended<<S as LinkSource>::Link>)> + Send>>;

/// An attempt under way.
struct Trying<S: LinkSource> {
    attempt: OnCall<Attempt<S>>,
    goal: Goal,
    /// Gives the attempt up when dropped, unless it has come to the handshake: by then the peer may
    /// have moved over to the new link.
    keep: Option<oneshot::Sender<()>>,
    shaking_hands: Arc<AtomicBool>,
}

/// Owns the link source, and makes one attempt after another while it is asked to.
pub(super) struct Dialer<S: LinkSource> {
    state: State<S>,
    role: Role,
    config: Arc<StableConfig>,
    backoff: Backoff,
    /// The peer has asked not to be called before this, if it does not answer.
    not_before: Option<Instant>,
    /// However long the pause would be, the next attempt is made then.
    not_after: Option<Instant>,
}

enum State<S: LinkSource> {
    Resting(S),
    Waiting(S, Pin<Box<Sleep>>),
    Trying(Trying<S>),
    /// The source has failed for good.
    Exhausted,
}

impl<S: LinkSource> Dialer<S> {
    pub(super) fn new(source: S, config: Arc<StableConfig>) -> Self {
        let role = source.role();
        Self {
            state: State::Resting(source),
            role,
            config,
            backoff: Backoff::default(),
            not_before: None,
            not_after: None,
        }
    }

    /// Goes on with the current attempt, or waits for or begins the next one where one is wanted.
    /// Pending, too, when the source is exhausted.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        want: Want,
        hello: impl Fn() -> ClientHello,
        random: impl Fn() -> u32,
    ) -> Poll<Result<NewLink<S::Link>, AttemptError>> {
        loop {
            match &mut self.state {
                State::Resting(_) if want != Want::Nothing => self.rest_over(want, &random),
                State::Waiting(_, delay) if want != Want::Nothing => {
                    if delay.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let State::Waiting(source, _) = self.take_state() else {
                        unreachable!("just matched")
                    };
                    if want == Want::Link && self.role == Role::Initiator {
                        self.backoff.attempt();
                    }
                    self.begin(source, Goal::Any, hello());
                }
                State::Trying(trying) => {
                    match (trying.goal, want) {
                        // Without a link, any will do, and a better one is no more likely.
                        (Goal::Better, Want::Link) | (Goal::Any, Want::Nothing) => {
                            trying.keep = None;
                        }
                        _ => {}
                    }
                    let Poll::Ready((source, ended)) = trying.attempt.poll(cx) else {
                        return Poll::Pending;
                    };
                    self.state = match &ended {
                        Ended::Failed(error) if error.fatal => State::Exhausted,
                        _ => State::Resting(source),
                    };
                    match ended {
                        Ended::Link(link) => return Poll::Ready(Ok(link)),
                        Ended::Failed(error) => return Poll::Ready(Err(error)),
                        Ended::GivenUp => {}
                    }
                }
                _ => return Poll::Pending,
            }
        }
    }

    /// Begins to look for a better link than the one in use, unless an attempt is under way or the
    /// peer has asked not to be called now.
    pub(super) fn seek_better(&mut self, hello: ClientHello) {
        if self.not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        match self.take_state() {
            State::Resting(source) | State::Waiting(source, _) => {
                self.begin(source, Goal::Better, hello);
            }
            other => self.state = other,
        }
    }

    /// How long the link given last is to be in use before a better one is looked for.
    pub(super) fn better_after(&self) -> Option<Duration> {
        match &self.state {
            State::Resting(source) | State::Waiting(source, _) if self.role == Role::Initiator => {
                source.better_after()
            }
            _ => None,
        }
    }

    /// Whether an attempt is under way.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying(_))
    }

    /// Whether an attempt has come so far that the peer may have moved over to its link.
    pub(super) fn is_shaking_hands(&self) -> bool {
        match &self.state {
            State::Trying(trying) => trying.shaking_hands.load(Ordering::Relaxed),
            _ => false,
        }
    }

    /// Makes the next attempt at once.
    pub(super) fn hurry(&mut self) {
        self.backoff = Backoff::default();
        self.not_before = None;
        if matches!(self.state, State::Waiting(..))
            && let State::Waiting(source, _) = self.take_state()
        {
            self.state = State::Resting(source);
        }
    }

    /// After an attempt that fails, makes no further one before `at`.
    pub(super) fn postpone(&mut self, at: Instant) {
        self.not_before = Some(at);
    }

    /// From now on, never pauses beyond `at`, where that is yet to come.
    pub(super) fn pause_until(&mut self, at: Option<Instant>) {
        self.not_after = at;
    }

    /// The outage is over: the next attempt is the first of another one.
    pub(super) fn settle(&mut self) {
        self.backoff = Backoff::default();
    }

    /// How many attempts were made in this outage.
    pub(super) fn attempts(&self) -> u32 {
        self.backoff.attempts()
    }

    /// When the next attempt is made, if the dialler waits for that.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(_, delay) => Some(delay.deadline()),
            _ => None,
        }
    }

    fn rest_over(&mut self, want: Want, random: impl Fn() -> u32) {
        let State::Resting(source) = self.take_state() else { return };
        let now = Instant::now();
        // An acceptor waits to be called, and who replaces a link that works has the peer: there is
        // nothing to back off from.
        let at = if self.role == Role::Acceptor || want == Want::Replacement {
            now
        } else {
            let delay = self.backoff.delay(&self.config.redial, random());
            // A peer that is going away may still take its sessions back: only when it did not is it
            // left alone for as long as it asked.
            let asked = self.not_before.filter(|_| self.backoff.attempts() > 0);
            let at = (now + delay).max(asked.unwrap_or(now));
            self.not_after.map_or(at, |latest| at.min(latest.max(now)))
        };
        self.state = State::Waiting(source, Box::pin(tokio::time::sleep_until(at)));
    }

    fn begin(&mut self, source: S, goal: Goal, hello: ClientHello) {
        let config = Arc::clone(&self.config);
        let shaking_hands = Arc::new(AtomicBool::new(false));
        let (keep, given_up) = oneshot::channel();
        let attempt: Attempt<S> = match self.role {
            Role::Initiator => {
                let shaking_hands = Arc::clone(&shaking_hands);
                Box::pin(attempt(source, goal, hello, config, given_up, shaking_hands))
            }
            Role::Acceptor => Box::pin(await_peer(source)),
        };
        let attempt = OnCall::new(attempt);
        self.state = State::Trying(Trying { attempt, goal, keep: Some(keep), shaking_hands });
    }

    fn take_state(&mut self) -> State<S> {
        std::mem::replace(&mut self.state, State::Exhausted)
    }
}

/// Dials and shakes hands.
async fn attempt<S: LinkSource>(
    mut source: S,
    goal: Goal,
    hello: ClientHello,
    config: Arc<StableConfig>,
    given_up: oneshot::Receiver<()>,
    shaking_hands: Arc<AtomicBool>,
) -> (S, Ended<S::Link>) {
    let dial = async {
        match goal {
            Goal::Any => source.next_link().await,
            Goal::Better => source.next_better_link().await,
        }
    };
    let dialled = tokio::select! {
        biased;
        _ = given_up => None,
        dialled = timeout(config.redial.attempt_deadline, dial) => Some(dialled),
    };
    let result = match dialled {
        None => return (source, Ended::GivenUp),
        Some(Err(_)) => Err(timed_out("no link within the deadline for an attempt")),
        Some(Ok(Err(error))) => Err(error),
        Some(Ok(Ok(Attachment { client_hello: Some(_), .. }))) => Err(wrong_role()),
        Some(Ok(Ok(Attachment { link, .. }))) => {
            shaking_hands.store(true, Ordering::Relaxed);
            let shaken = shake_hands(link, hello, config.handshake_deadline).await;
            let shaken = shaken.map_err(io::Error::from);
            match &shaken {
                Err(error) => source.link_failed(error),
                Ok(NewLink {
                    hello: PeerHello::Server(ServerHello::Rejected { reason, .. }),
                    ..
                }) => {
                    source.link_failed(&io::Error::other(reason.to_string()));
                }
                Ok(_) => {}
            }
            shaken
        }
    };
    let ended = match result {
        Ok(link) => Ended::Link(link),
        Err(error) => {
            let better = goal == Goal::Better;
            // That there is no better link does not take away the one in use.
            let fatal = !better && source.is_fatal(&error);
            Ended::Failed(AttemptError { error, fatal, better })
        }
    };
    (source, ended)
}

async fn shake_hands<L: Link>(
    link: L,
    hello: ClientHello,
    deadline: Duration,
) -> Result<NewLink<L>, DialHandshakeError> {
    let peer = link.peer();
    let Ok(exchanged) = timeout(deadline, exchange_hellos(link, hello)).await else {
        return Err(DialHandshakeError::NoAnswer { peer, deadline });
    };
    match exchanged {
        Ok(Some((tx, rx, answer))) => {
            Ok(NewLink { tx, rx, peer, hello: PeerHello::Server(answer) })
        }
        Ok(None) => Err(DialHandshakeError::Closed { peer }),
        // Also what a link says of a payload that is longer than any hello.
        Err(source) if source.kind() == io::ErrorKind::InvalidData => {
            Err(DialHandshakeError::NotThisProtocol { peer, source })
        }
        Err(source) => Err(DialHandshakeError::LinkFailed { peer, source }),
    }
}

/// `None` when the peer closes the link instead of answering.
async fn exchange_hellos<L: Link>(
    link: L,
    hello: ClientHello,
) -> io::Result<Option<(L::Tx, L::Rx, ServerHello)>> {
    let (mut tx, mut rx) = link.split();
    tx.send(&[], Bytes::copy_from_slice(&hello.encode())).await?;
    tx.flush().await?;
    rx.limit_payloads(Some(HELLO_LEN));
    let Some(payload) = rx.recv().await? else { return Ok(None) };
    let answer = ServerHello::decode(&payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    rx.limit_payloads(None);
    Ok(Some((tx, rx, answer)))
}

async fn await_peer<S: LinkSource>(mut source: S) -> (S, Ended<S::Link>) {
    let result = source.next_link().await.and_then(|attachment| {
        let Attachment { link, client_hello, key } = attachment;
        let hello = client_hello.ok_or_else(wrong_role)?;
        let peer = link.peer();
        let (tx, rx) = link.split();
        Ok(NewLink { tx, rx, peer, hello: PeerHello::Client(hello, key) })
    });
    let ended = match result {
        Ok(link) => Ended::Link(link),
        Err(error) => {
            let fatal = source.is_fatal(&error);
            Ended::Failed(AttemptError { error, fatal, better: false })
        }
    };
    (source, ended)
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

fn wrong_role() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the link source gave an attachment for another role than it declares",
    )
}
