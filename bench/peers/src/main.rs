//! `cargo xtask bench --peers`: one-way and ping-pong of a conduit, and of what one could use in its
//! place, in the same run. What each of them guarantees is printed with the figures, because they are
//! not the same thing: most do less, and are faster for it.
//!
//! Apart from `rejoin-bench`, and from the project's workspace, because of what the peers bring along.

mod peers;
mod rounds;

use std::process::ExitCode;

use clap::Parser;
use rounds::{Contest, Failure, Messages};

/// Measures what one could use instead of a conduit.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench --peers")]
struct Args {
    /// Three short rounds instead of five long ones.
    #[arg(long)]
    quick: bool,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Some hundred messages: to see that all works.
    #[arg(long, hide = true)]
    tiny: bool,
}

impl Args {
    fn contests(&self) -> Vec<Contest> {
        let count = |full: u64| match (self.tiny, self.quick) {
            (true, _) => full.min(200),
            (false, true) => full / 10,
            (false, false) => full,
        };
        let rounds = match (self.tiny, self.quick) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 5,
        };
        let one_way = |full, bytes| {
            let messages = Messages { count: count(full), bytes };
            Contest { name: "one-way", unit: "messages/s", messages, rounds }
        };
        let messages = Messages { count: count(20_000), bytes: 64 };
        vec![
            one_way(1_000_000, 64),
            one_way(300_000, 1 << 10),
            one_way(10_000, 64 << 10),
            Contest { name: "ping-pong", unit: "µs, p50", messages, rounds },
        ]
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{cores} cores, load averages {}", load.trim());
    let mut lines = Vec::new();
    for contest in args.contests() {
        eprintln!("measuring {}, {} bytes", contest.name, contest.messages.bytes);
        let figures = rounds::measure(&contest)?;
        let (_, ours) = figures[0];
        println!("\n{}, {} bytes, {}", contest.name, contest.messages.bytes, contest.unit);
        for (peer, figure) in &figures {
            println!("  {:24} {figure:>12.1}   rejoin ÷ this {:.3}", peer.name(), ours / figure);
            lines.push(serde_json::json!({
                "case": format!("{}, {}", contest.name, peer.name()),
                "size": contest.messages.bytes,
                "ours": ours,
                "baseline": figure,
                "ratio": ours / figure,
                "unit": contest.unit,
            }));
        }
    }
    println!("\nWhat each guarantees, and what not:");
    for peer in peers::ALL {
        println!("  {:24} {}", peer.name(), peer.guarantees());
    }
    if args.json {
        println!("{}", serde_json::Value::Array(lines));
    }
    Ok(())
}
