//! The protocol under everything that links do, as a part of every test run; `cargo xtask sim` runs
//! more seeds of the same.

use rejoin_tests::sim::{Batch, Stats, run_seeds};

const SEEDS: u64 = 2000;

// CLOSE-3, KEY-2, KEY-5, SEQ-2, SEQ-3, TAKE-1, TAKE-2, WIN-1, REPLAY-4, END-1
#[test]
fn everything_arrives_once_and_in_order_whatever_the_links_do() {
    let all = Batch { first: 0, count: SEEDS, threads: 2, failures_max: 1, shrink: true };
    let (stats, failures) = run_seeds(all);
    for failure in &failures {
        eprintln!("{failure}");
    }
    assert!(failures.is_empty(), "`cargo xtask sim --seed N` runs one of them again");
    check_coverage(&stats);
}

/// A simulation that has stopped reaching its corners finds nothing there.
fn check_coverage(stats: &Stats) {
    for (name, reached, at_least) in [
        ("seeds", stats.seeds, SEEDS),
        ("sessions", stats.sessions, 2 * SEEDS),
        ("messages", stats.messages, 15 * SEEDS),
        ("link failures", stats.link_failures, 5 * SEEDS),
        ("resumes", stats.resumes, 3 * SEEDS),
        ("replayed", stats.replayed, SEEDS),
        ("duplicates", stats.duplicates, 100),
        ("batches of items", stats.runs, 2 * SEEDS),
        ("stale inputs", stats.stale, 50),
        ("lost replies", stats.replies_lost, SEEDS / 2),
        ("echoes", stats.echoes, SEEDS / 2),
        ("dead peers", stats.dead_peers, SEEDS / 4),
        ("gaps", stats.gaps, 50),
        ("blocked", stats.blocked, SEEDS),
        ("wraps", stats.wraps, 100),
        ("base profile", stats.base, 100),
        ("closed under faults", stats.closed_under_faults, 50),
        ("expired", stats.expired, 100),
    ] {
        assert!(reached >= at_least, "only {reached} {name}: {stats:#?}");
    }
    // Each is excused; that there are few says that the excuses are not handed out freely.
    assert!(stats.last_words_lost < stats.sessions / 20, "{stats:#?}");
}

#[test]
fn a_seed_is_a_whole_run() {
    for first in [3, 77, 1 << 40] {
        let batch = Batch { first, count: 20, threads: 1, failures_max: 1, shrink: false };
        let [first, second] = [0; 2].map(|_| run_seeds(batch).0);
        assert_eq!(first, second);
    }
}
