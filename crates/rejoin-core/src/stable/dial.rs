//! Makes links for the driver: one attempt at a time, each under its deadlines.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, timeout};

use crate::link::{Link, LinkRx, LinkTx, Peer};
use crate::protocol::{ClientHello, HELLO_LEN, ResumeKey, Role, ServerHello};
use crate::source::{Attachment, LinkSource};
use crate::stable::backoff::Backoff;
use crate::stable::config::StableConfig;

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
}

type Attempt<S> = Pin<
    Box<dyn Future<Output = (S, Result<NewLink<<S as LinkSource>::Link>, AttemptError>)> + Send>,
>;

/// Owns the link source, and makes one attempt after another while it is asked to.
pub(super) struct Dialer<S: LinkSource> {
    state: State<S>,
    role: Role,
    config: Arc<StableConfig>,
    backoff: Backoff,
    /// The peer has asked not to be called before this.
    not_before: Option<Instant>,
}

enum State<S: LinkSource> {
    Resting(S),
    Waiting(S, Pin<Box<Sleep>>),
    Trying(Attempt<S>),
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
        }
    }

    /// Goes on with the current attempt, or waits for or begins the next one. Pending, too, when
    /// the source is exhausted.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        hello: impl FnOnce() -> ClientHello,
        random: impl FnOnce() -> u32,
    ) -> Poll<Result<NewLink<S::Link>, AttemptError>> {
        if matches!(self.state, State::Resting(_)) {
            self.rest_over(random);
        }
        if let State::Waiting(_, delay) = &mut self.state {
            if delay.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let State::Waiting(source, _) = self.take_state() else { unreachable!("just matched") };
            self.begin(source, hello());
        }
        let State::Trying(attempt) = &mut self.state else { return Poll::Pending };
        let Poll::Ready((source, result)) = attempt.as_mut().poll(cx) else { return Poll::Pending };
        self.state = match &result {
            Err(error) if error.fatal => State::Exhausted,
            _ => State::Resting(source),
        };
        Poll::Ready(result)
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

    /// Makes no attempt before `at`.
    pub(super) fn postpone(&mut self, at: Instant) {
        self.not_before = Some(at);
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

    fn rest_over(&mut self, random: impl FnOnce() -> u32) {
        let State::Resting(source) = self.take_state() else { return };
        // An acceptor waits to be called; there is nothing to back off from.
        let delay = match self.role {
            Role::Initiator => self.backoff.delay(&self.config.redial, random()),
            Role::Acceptor => std::time::Duration::ZERO,
        };
        let at = (Instant::now() + delay).max(self.not_before.unwrap_or_else(Instant::now));
        self.state = State::Waiting(source, Box::pin(tokio::time::sleep_until(at)));
    }

    fn begin(&mut self, source: S, hello: ClientHello) {
        let config = Arc::clone(&self.config);
        self.state = State::Trying(match self.role {
            Role::Initiator => {
                self.backoff.attempt();
                Box::pin(attempt(source, hello, config))
            }
            Role::Acceptor => Box::pin(await_peer(source)),
        });
    }

    fn take_state(&mut self) -> State<S> {
        std::mem::replace(&mut self.state, State::Exhausted)
    }
}

/// Dials and shakes hands.
async fn attempt<S: LinkSource>(
    mut source: S,
    hello: ClientHello,
    config: Arc<StableConfig>,
) -> (S, Result<NewLink<S::Link>, AttemptError>) {
    let dialled = timeout(config.redial.attempt_deadline, source.next_link()).await;
    let result = match dialled {
        Err(_) => Err(timed_out("no link within the deadline for an attempt")),
        Ok(Err(error)) => Err(error),
        Ok(Ok(Attachment { client_hello: Some(_), .. })) => Err(wrong_role()),
        Ok(Ok(Attachment { link, .. })) => {
            match timeout(config.handshake_deadline, shake_hands(link, hello)).await {
                Err(_) => Err(timed_out("no answer to the hello within the deadline")),
                Ok(shaken) => shaken,
            }
        }
    };
    let result = result.map_err(|error| AttemptError { fatal: source.is_fatal(&error), error });
    (source, result)
}

async fn shake_hands<L: Link>(link: L, hello: ClientHello) -> io::Result<NewLink<L>> {
    let peer = link.peer();
    let (mut tx, mut rx) = link.split();
    tx.send(&[], Bytes::copy_from_slice(&hello.encode())).await?;
    tx.flush().await?;
    rx.limit_payloads(Some(HELLO_LEN));
    let Some(payload) = rx.recv().await? else {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer closed the link during the handshake",
        ));
    };
    let answer = ServerHello::decode(&payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    rx.limit_payloads(None);
    Ok(NewLink { tx, rx, peer, hello: PeerHello::Server(answer) })
}

async fn await_peer<S: LinkSource>(mut source: S) -> (S, Result<NewLink<S::Link>, AttemptError>) {
    let result = source.next_link().await.and_then(|attachment| {
        let Attachment { link, client_hello, key } = attachment;
        let hello = client_hello.ok_or_else(wrong_role)?;
        let peer = link.peer();
        let (tx, rx) = link.split();
        Ok(NewLink { tx, rx, peer, hello: PeerHello::Client(hello, key) })
    });
    let result = result.map_err(|error| AttemptError { fatal: source.is_fatal(&error), error });
    (source, result)
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
