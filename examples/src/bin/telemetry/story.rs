//! The whole story: a cable with noise, a device and a gateway as processes of their own, and what
//! happens to them on the way.
//!
//! What is to happen is due when so much of the table is there, so the story is the same on a slow
//! machine, only longer. Processes are killed, not asked: nothing they might do on the way out counts.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rejoin_conformance::line::{Cable, End, Noise};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::database::Audit;
use crate::event::Event;
use crate::gateway::BATCH_TIME;
use crate::options::StoryOptions;
use crate::screen::Screen;
use crate::verdict::Verdict;

/// How long nothing may happen. Something always does: both are patient, but the harm is short.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How many lines of one of the two may wait to be read.
const LINES_WAITING: usize = 64;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The one that measures.
    Device,
    /// The one that stores.
    Gateway,
}

/// Something that happens to one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Its plug is pulled, and put back once it has noticed.
    Unplug(Who),
    /// It is killed and started again.
    Restart(Who),
}

/// What happens, in equal parts of the story.
const DEEDS: [Deed; 4] = [
    Deed::Unplug(Who::Device),
    Deed::Restart(Who::Gateway),
    Deed::Unplug(Who::Gateway),
    Deed::Restart(Who::Device),
];

/// Tells the story to its end, and prints how it went.
pub(crate) async fn run(options: &StoryOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let mut story = Story::begin(options)?;
    let told = story.tell().await;
    story.screen.finish();
    told?;
    let verdict = Verdict {
        readings: options.readings,
        audit: Audit::of(&story.database, options.readings)?,
        elapsed: started.elapsed(),
        ..story.tally
    };
    let text = if options.json { verdict.json() } else { verdict.to_string() };
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(format!("the output could not be written: {error}").into());
        }
        _ => {}
    }
    if verdict.is_good() { Ok(()) } else { Err("the table is not what was measured".into()) }
}

#[derive(Debug)]
struct Story<'a> {
    options: &'a StoryOptions,
    screen: Screen,
    database: PathBuf,
    device: Worker,
    gateway: Worker,
    rows: u64,
    delivered: bool,
    tally: Verdict,
    // Last, so that the two are gone before their ports are.
    cable: Cable,
}

impl<'a> Story<'a> {
    fn begin(options: &'a StoryOptions) -> Result<Self, Failure> {
        let cable = Cable::lay()?;
        // A character takes ten bits, with those around it.
        cable.set_rate(NonZeroU32::new(options.baud / 10));
        if options.noise > 0 {
            let byte_error_rate = 1.0 / f64::from(options.noise);
            cable.set_noise(End::Near, Noise { byte_error_rate, seed: options.seed });
            cable.set_noise(End::Far, Noise { byte_error_rate, seed: !options.seed });
        }
        let database = match &options.database {
            Some(path) if path.exists() => {
                return Err(format!("{} is there already", path.display()).into());
            }
            Some(path) => path.clone(),
            None => cable.folder().join("telemetry.sqlite"),
        };
        let start = |who| Worker::start(who, options, &cable, &database);
        let (gateway, device) = (start(Who::Gateway)?, start(Who::Device)?);
        let screen = Screen::new(options.readings, options.json);
        Ok(Self {
            options,
            screen,
            database,
            device,
            gateway,
            rows: 0,
            delivered: false,
            tally: Verdict::default(),
            cable,
        })
    }

    async fn tell(&mut self) -> Result<(), Failure> {
        for (deed, part) in DEEDS.into_iter().zip(1..) {
            let due = self.options.readings * part / (DEEDS.len() as u64 + 1);
            // Who has no link would not notice that the plug is pulled.
            while self.rows < due || !self.device.has_link || !self.gateway.has_link {
                self.hear().await?;
            }
            self.screen.log(&deed.to_string());
            self.act(deed).await?;
        }
        while !self.delivered {
            self.hear().await?;
        }
        self.device.finish().await?;
        self.gateway.finish().await
    }

    async fn act(&mut self, deed: Deed) -> Result<(), Failure> {
        match deed {
            Deed::Unplug(who) => {
                self.cable.unplug(who.end());
                while !matches!(self.hear().await?, (it, Event::Away(_)) if it == who) {}
                self.cable.plug(who.end())?;
                self.tally.unplugged += 1;
            }
            Deed::Restart(who) => {
                // The gateway has just told of a batch. Late in the next one is the worst moment: it has
                // many readings then that it has not stored, and must not have acknowledged.
                sleep(BATCH_TIME * 3 / 4).await;
                self.worker(who).kill().await?;
                let worker = Worker::start(who, self.options, &self.cable, &self.database)?;
                // What the former one has said, and nobody has read yet, goes with it.
                *self.worker(who) = worker;
                self.delivered &= who != Who::Device;
                self.tally.restarts += 1;
            }
        }
        Ok(())
    }

    /// Waits for the next thing that one of the two tells.
    async fn hear(&mut self) -> Result<(Who, Event), Failure> {
        let heard = async {
            tokio::select! {
                event = self.device.lines.recv() => (Who::Device, event),
                event = self.gateway.lines.recv() => (Who::Gateway, event),
            }
        };
        let heard = timeout(STUCK_AFTER, heard).await;
        let (who, event) = heard.map_err(|_| "neither the device nor the gateway goes on")?;
        let Some(event) = event else {
            let status = self.worker(who).process.wait().await?;
            return Err(format!("the {who} has ended by itself: {status}").into());
        };
        match &event {
            Event::Stored { rows, repeats } => {
                self.rows = *rows;
                let before = std::mem::replace(&mut self.gateway.repeats, *repeats);
                self.tally.repeats += repeats.saturating_sub(before);
            }
            Event::Session if who == Who::Device => self.tally.sessions += 1,
            Event::Link(number) if who == Who::Device && *number > 1 => self.tally.resumes += 1,
            Event::Delivered(_) => self.delivered = true,
            _ => {}
        }
        let worker = self.worker(who);
        match &event {
            Event::Link(_) => worker.has_link = true,
            Event::Away(_) | Event::Lost(_) => worker.has_link = false,
            _ => {}
        }
        self.screen.show(who, &event);
        Ok((who, event))
    }

    fn worker(&mut self, who: Who) -> &mut Worker {
        match who {
            Who::Device => &mut self.device,
            Who::Gateway => &mut self.gateway,
        }
    }
}

/// One of the two as a process.
#[derive(Debug)]
struct Worker {
    who: Who,
    process: Child,
    /// When this is closed, it stops.
    stdin: Option<ChildStdin>,
    /// What it tells.
    lines: mpsc::Receiver<Event>,
    /// Whether its session has a link, as it says.
    has_link: bool,
    /// How many readings it says to have received again.
    repeats: u64,
}

impl Worker {
    fn start(who: Who, options: &StoryOptions, cable: &Cable, database: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(who.to_string()).arg("--supervised");
        command.arg("--port").arg(cable.port(who.end()));
        command.arg("--baud").arg(options.baud.to_string());
        match who {
            Who::Gateway => command.arg("--database").arg(database),
            Who::Device => command
                .arg("--journal")
                .arg(cable.folder().join("telemetry.journal"))
                .args(["--readings", &options.readings.to_string()])
                .args(["--interval", &options.interval.to_string()]),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().expect("it is a pipe");
        let (tell, told) = mpsc::channel(LINES_WAITING);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(event) = line.parse() else { continue };
                if tell.send(event).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { who, process, stdin, lines: told, has_link: false, repeats: 0 })
    }

    /// As a power cut does it.
    async fn kill(&mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// Lets it end by itself.
    async fn finish(&mut self) -> Result<(), Failure> {
        self.stdin = None;
        let ended = timeout(STUCK_AFTER, self.process.wait()).await;
        let status = ended.map_err(|_| format!("the {} does not end", self.who))??;
        if status.success() {
            return Ok(());
        }
        Err(format!("the {} has failed: {status}", self.who).into())
    }
}

impl Who {
    fn end(self) -> End {
        match self {
            Self::Device => End::Near,
            Self::Gateway => End::Far,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Gateway => "gateway",
        })
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unplug(who) => write!(f, "--- the plug of the {who} is pulled ---"),
            Self::Restart(who) => write!(f, "--- the {who} is killed and started again ---"),
        }
    }
}
