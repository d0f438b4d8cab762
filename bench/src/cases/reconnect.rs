//! Many sessions that lose their links at the same moment, as when a server's network returns: until
//! all have resumed, and each has exchanged a message on its new link.

use std::time::Instant;

use rejoin_conformance::proxy::{Fault, FaultProxy};
use rejoin_core::{Raw, StableConduit, StableListener, StableRx, StableTx};
use rejoin_tcp::{TcpLinkListener, TcpSource};
use tokio::task::JoinSet;

use crate::Failure;
use crate::content::{Messages, stamp};
use crate::endpoints::two_workers;
use crate::measure::{Case, Effort, Goal, Round};

/// How many connect at a time, so that none has to wait for another attempt.
const CONNECT_TOGETHER: usize = 64;

const MESSAGE: Messages = Messages { count: 1, bytes: 64 };

pub(super) fn case(effort: Effort) -> Case {
    let sessions = effort.choose(2_000, 2_000, 20);
    let what = ("sessions cut at once, until all have resumed", sessions, "ms");
    let case = Case::new(what, Goal::AtMost(2_000.0), move |_| {
        two_workers()?.block_on(resumed(sessions)).map(Round::from)
    });
    Case { note: Some("ms a session"), ..case }
}

type Halves = (StableTx<Raw>, StableRx<Raw>);

async fn resumed(sessions: usize) -> Result<f64, Failure> {
    let listener = TcpLinkListener::bind("127.0.0.1:0").await?;
    let proxy = FaultProxy::start(listener.local_addr()?).await?;
    let serving = tokio::spawn(serve(StableListener::new(listener)));
    let mut clients = Vec::with_capacity(sessions);
    while clients.len() < sessions {
        let mut connecting = JoinSet::new();
        for _ in 0..CONNECT_TOGETHER.min(sessions - clients.len()) {
            let source = TcpSource::new(proxy.addr());
            connecting.spawn(async move {
                let conduit = StableConduit::<Raw>::connect(source).await?;
                exchange(conduit.split(), 0).await
            });
        }
        clients.extend(all(connecting).await?);
    }
    let began = Instant::now();
    proxy.cut(Fault::Reset).report().await;
    // No link of before is left, so that every message that is answered was on a new one.
    let mut exchanging = JoinSet::new();
    for client in clients {
        exchanging.spawn(exchange(client, 1));
    }
    let clients = all(exchanging).await?;
    let elapsed = began.elapsed();
    if clients.iter().any(|(tx, _)| tx.stats().resumes != 1) {
        return Err("a session was not resumed exactly once".into());
    }
    serving.abort();
    Ok(elapsed.as_secs_f64() * 1e3)
}

async fn all(mut tasks: JoinSet<Result<Halves, Failure>>) -> Result<Vec<Halves>, Failure> {
    let mut halves = Vec::with_capacity(tasks.len());
    while let Some(result) = tasks.join_next().await {
        halves.push(result??);
    }
    Ok(halves)
}

/// Sends one message and waits for the same to come back.
async fn exchange((tx, mut rx): Halves, number: u64) -> Result<Halves, Failure> {
    let mut message = MESSAGE.blank();
    stamp(&mut message, number);
    tx.send(&&message[..]).await?;
    let answer = rx.recv().await?.ok_or("the peer closed")?;
    MESSAGE.check(number, answer.get())?;
    Ok((tx, rx))
}

async fn serve(mut listener: StableListener<Raw>) -> Result<(), Failure> {
    let mut sessions = JoinSet::new();
    loop {
        let (tx, mut rx) = listener.accept().await?.split();
        sessions.spawn(async move {
            while let Ok(Some(message)) = rx.recv().await {
                if tx.send(message.get()).await.is_err() {
                    return;
                }
            }
        });
    }
}
