//! Changes kept inputs at random and runs them, on any compiler. It knows nothing of coverage, so it
//! finds less than libFuzzer in the same time; `cargo xtask fuzz` uses it where that is not there.
//!
//! Prints one line of JSON. An input that fails is left in a file, and the seed makes the run again.

use std::alloc::System;
use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use rejoin_tests::fuzz::{ALLOCATOR, Guard, target};
use stats_alloc::StatsAlloc;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = ALLOCATOR;

/// Runs random changes of kept inputs.
#[derive(Debug, Parser)]
struct Options {
    /// What to run.
    #[arg(long)]
    target: String,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first random number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder with one corpus for each target.
    #[arg(long, default_value = "tests/fuzz/corpus")]
    corpora: PathBuf,
    /// Where an input goes that fails.
    #[arg(long, default_value = "tests/fuzz/artifacts")]
    artifacts: PathBuf,
}

const INPUT_BYTES_MAX: usize = 4096;

/// An input that takes longer than this hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// Numbers at the edges of the encodings: of varints, lengths and positions.
const WORDS: [&[u8]; 14] = [
    &[0x7f],
    &[0x80, 0x01],
    &[0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x10],
    &[0x80, 0x80, 0x80, 0x80, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0, 0x80],
    b"ROCH",
    b"ROSH",
    &[0x7d, 0x11, 0x13, 0],
];

type Running = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let guard = Guard::new(target(&options.target));
    let corpus = read(&options.corpora.join(&options.target))?;
    let artifacts = options.artifacts.join(&options.target);
    let running = Running::default();
    watch(Arc::clone(&running), artifacts.clone());

    let mut random = Random(options.seed.max(1));
    let start = Instant::now();
    let mut executions = 0_u64;
    let mut failures = 0;
    guard.run(&[]);
    while start.elapsed() < Duration::from_secs(options.seconds) {
        let input = random.changed(&corpus);
        *running.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), input.clone()));
        executions += 1;
        if catch_unwind(AssertUnwindSafe(|| guard.run(&input))).is_err() {
            failures += 1;
            eprintln!("seed {}: {}", options.seed, keep(&artifacts, &input)?.display());
            break;
        }
    }
    println!(
        "{{\"engine\":\"mutations\",\"target\":\"{}\",\"executions\":{executions},\
         \"seconds\":{},\"failures\":{failures}}}",
        options.target,
        start.elapsed().as_secs()
    );
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends the program when one input takes too long.
fn watch(running: Running, artifacts: PathBuf) {
    std::thread::spawn(move || {
        loop {
            std::thread::park_timeout(HANGS_AFTER / 10);
            let running = running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, input)) = &*running
                && since.elapsed() > HANGS_AFTER
            {
                let kept = keep(&artifacts, input);
                eprintln!("hangs: {kept:?}");
                std::process::exit(1);
            }
        }
    });
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|it| it.path())).collect::<Result<_, _>>()?;
    files.sort();
    let inputs: Vec<_> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
    if inputs.is_empty() { Err("the corpus is empty".into()) } else { Ok(inputs) }
}

/// Writes an input to a file that is named after what is in it.
fn keep(folder: &Path, input: &[u8]) -> std::io::Result<PathBuf> {
    let name = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    fs::create_dir_all(folder)?;
    let file = folder.join(format!("mutate-{name:016x}"));
    fs::write(&file, input)?;
    Ok(file)
}

/// Xorshift: what it gives need not be good, only different.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or_default()
    }

    fn changed(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let byte = self.next().to_le_bytes()[0];
        let kind = self.below(9);
        match (kind, input.get_mut(at)) {
            (0, Some(present)) => *present ^= 1 << (byte % 8),
            (1, Some(present)) => *present = byte,
            (2, Some(present)) => *present = present.wrapping_add(byte % 9).wrapping_sub(4),
            (3, _) => input.truncate(at),
            (4, _) => input.insert(at, byte),
            (5, _) => {
                let to = (at + self.below(16)).min(input.len());
                input.drain(at..to);
            }
            (6, _) => {
                let word = WORDS[self.below(WORDS.len())];
                let over =
                    if byte.is_multiple_of(2) { word.len().min(input.len() - at) } else { 0 };
                input.splice(at..at + over, word.iter().copied());
            }
            (7, _) => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let to = (at + self.below(64)).min(input.len());
                let again = input[at..to].to_vec();
                input.splice(at..at, again);
            }
        }
    }
}
