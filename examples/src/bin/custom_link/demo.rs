//! The demonstration: one session through one relay after another, each killed in the middle of the
//! conversation.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use rejoin_stream::StreamConfig;
use rejoin_tcp::{StableConduit, StableListener, Status};
use serde_json::json;

use crate::transport::{ProcessSource, RelayListener};
use crate::{Failure, Number, accept};

/// How long one step may take on the slowest machine before it counts as hanging.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// What the demonstration takes.
#[derive(Args)]
pub(crate) struct Options {
    /// How many numbers to send.
    #[arg(long, default_value_t = 20_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    numbers: u64,
    /// How many relays to kill while they are on their way.
    #[arg(long, default_value_t = 10, value_name = "N",
          value_parser = clap::value_parser!(u64).range(0..=1000))]
    kills: u64,
    /// Prints the report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What came of it.
pub(crate) struct Report {
    numbers: u64,
    answers: u64,
    wrong: u64,
    kills: u64,
    resumes: u64,
    seconds: f64,
}

impl Report {
    pub(crate) fn good(&self) -> bool {
        self.answers == self.numbers && self.wrong == 0 && self.resumes >= self.kills
    }

    pub(crate) fn json(&self) -> String {
        json!({
            "numbers": self.numbers,
            "answers": self.answers,
            "wrong": self.wrong,
            "kills": self.kills,
            "resumes": self.resumes,
            "seconds": self.seconds,
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "numbers sent      {}", self.numbers)?;
        writeln!(f, "sums received     {}, of them wrong {}", self.answers, self.wrong)?;
        writeln!(f, "relays killed     {}", self.kills)?;
        writeln!(f, "links after that  {}", self.resumes)?;
        writeln!(f, "seconds           {:.2}", self.seconds)?;
        f.write_str(if self.good() {
            "one session through all of them, and nothing was lost or came twice"
        } else {
            "the session did not come through"
        })
    }
}

pub(crate) async fn run(options: &Options) -> Result<Report, Failure> {
    let begun = Instant::now();
    let listener = RelayListener::bind(([127, 0, 0, 1], 0).into(), StreamConfig::default()).await?;
    let server = listener.local_addr()?.to_string();
    tokio::spawn(accept(StableListener::<Number>::new(listener)));

    let program = std::env::current_exe()?;
    let source = ProcessSource::new(program, ["relay", "--to", &server], StreamConfig::default());
    let (tx, mut rx) = StableConduit::<Number>::connect(source.clone()).await?.split();
    let mut status = tx.status();

    let numbers = options.numbers;
    let sender = tx.clone();
    let sending = tokio::spawn(async move {
        for value in 1..=numbers {
            sender.send(&Number { value: value.cast_signed() }).await?;
        }
        Ok::<_, Failure>(())
    });

    let kills = options.kills.min(numbers);
    let (mut answers, mut wrong, mut killed, mut sum) = (0_u64, 0_u64, 0_u64, 0_i64);
    let mut generation_killed = 0;
    while answers < numbers {
        if killed < kills && answers >= (killed + 1) * numbers / (kills + 1) {
            let live = |status: &Status| match status {
                Status::Connected { generation, .. } => *generation > generation_killed,
                status => status.is_final(),
            };
            let now = tokio::time::timeout(STEP_LIMIT, status.wait_for(live)).await??.clone();
            if let Status::Connected { generation, .. } = now {
                generation_killed = generation;
                killed += u64::from(source.kill_relays() > 0);
            }
        }
        let received = tokio::time::timeout(STEP_LIMIT, rx.recv()).await??;
        let Some(received) = received else { break };
        answers += 1;
        sum += answers.cast_signed();
        wrong += u64::from(received.value != sum);
    }
    sending.await??;
    tx.close().await?;
    let resumes = tx.stats().resumes;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Report { numbers, answers, wrong, kills: killed, resumes, seconds })
}
