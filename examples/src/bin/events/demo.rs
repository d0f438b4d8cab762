//! The demonstration: a server, brisk clients, a slow one, one whose connection is cut again and
//! again, and at the end a drain.

use std::fmt;
use std::time::Duration;

use clap::Args;
use rejoin_conformance::proxy::{Direction, Fault, FaultProxy};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::server::{self, Served, Server};
use crate::watch::{self, Seen};
use crate::{Event, Failure};

/// How many clients have nothing to suffer.
const BRISK: usize = 4;
/// How long the slow client takes for an event; several happen meanwhile.
const SLOW: Duration = Duration::from_millis(5);
const EVENTS_PER_SECOND: u32 = 500;
/// How many bytes pass between a cut and the next; a connection has its handshakes behind it then.
const BYTES_BETWEEN_CUTS: u64 = 4000;

/// What the demonstration takes.
#[derive(Args)]
pub(crate) struct Options {
    /// After how many events the server is told to stop.
    #[arg(long, default_value_t = 1500, value_name = "N",
          value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    events: u64,
    /// How often the connection of one client is cut.
    #[arg(long, default_value_t = 5, value_name = "N",
          value_parser = clap::value_parser!(u64).range(0..=1000))]
    cuts: u64,
    /// Prints the report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What came of it.
pub(crate) struct Report {
    served: Served,
    cuts: u64,
    clients: Vec<(&'static str, Seen)>,
}

impl Report {
    /// Whether everybody can account for every event, the slow one has missed some, and all heard the
    /// goodbye. On a machine that stands still for a second, others are told of missing some, too.
    pub(crate) fn good(&self) -> bool {
        self.served.drained.unfinished.is_empty()
            && self.clients.iter().all(|(kind, seen)| {
                seen.told_goodbye
                    && seen.wrong == 0
                    && (*kind != "slow" || seen.skipped > 0)
                    && (*kind != "cut" || seen.resumes >= self.cuts)
            })
    }

    pub(crate) fn json(&self) -> String {
        let clients = self.clients.iter().map(|(kind, seen)| {
            json!({
                "kind": kind,
                "received": seen.received,
                "skipped": seen.skipped,
                "wrong": seen.wrong,
                "resumes": seen.resumes,
                "goodbye": seen.told_goodbye,
            })
        });
        json!({
            "events": self.served.events,
            "cuts": self.cuts,
            "unfinished": self.served.drained.unfinished.len(),
            "clients": clients.collect::<Vec<_>>(),
            "good": self.good(),
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.served)?;
        writeln!(f, "client  received  told of missing  wrong  resumes  goodbye")?;
        for (kind, seen) in &self.clients {
            let Seen { received, skipped, wrong, resumes, told_goodbye, .. } = seen;
            let goodbye = if *told_goodbye { "yes" } else { "no" };
            writeln!(
                f,
                "{kind:6}  {received:>8}  {skipped:>15}  {wrong:>5}  {resumes:>7}  {goodbye:>7}"
            )?;
        }
        f.write_str(if self.good() {
            "every client can account for every event"
        } else {
            "a client cannot account for every event"
        })
    }
}

pub(crate) async fn run(options: &Options) -> Result<Report, Failure> {
    let server = Server::start(&server::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        rate: EVENTS_PER_SECOND,
        clients_max: 100,
        drain_limit: 30,
    })
    .await?;
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { _ = stopped.await }));

    let proxy = FaultProxy::start(address).await?;
    // One for each of the connections to come.
    let cut = |_| proxy.cut_next(Direction::ToClient, BYTES_BETWEEN_CUTS, Fault::Reset);
    let cuts: Vec<_> = (0..options.cuts).map(cut).collect();
    let mut clients = Vec::new();
    for _ in 0..BRISK {
        clients.push(("brisk", tokio::spawn(quietly(address.to_string(), Duration::ZERO))));
    }
    clients.push(("slow", tokio::spawn(quietly(address.to_string(), SLOW))));
    clients.push(("cut", tokio::spawn(quietly(proxy.addr().to_string(), Duration::ZERO))));

    // A client that tells how far the events have come.
    let (progress, mut numbers) = mpsc::channel(1);
    let last = options.events;
    let clock = tokio::spawn(async move {
        let url = format!("ws://{address}/events");
        let tell = |event: &Event| {
            if let Event::Happened { number, .. } = event
                && *number + 1 >= last
            {
                let _ = progress.try_send(());
            }
            Ok(())
        };
        watch::follow(&url, Duration::ZERO, tell).await
    });
    for cut in cuts {
        cut.report().await;
    }
    numbers.recv().await;
    // Ignored only where the server has ended with an error, which shows below.
    let _ = stop.send(());
    let served = serving.await??;
    clients.push(("brisk", clock));
    let mut seen = Vec::new();
    for (kind, client) in clients {
        seen.push((kind, client.await??));
    }
    Ok(Report { served, cuts: options.cuts, clients: seen })
}

async fn quietly(address: String, slow: Duration) -> Result<Seen, Failure> {
    watch::follow(&format!("ws://{address}/events"), slow, |_| Ok(())).await
}
