//! Two minutes of real faults: sessions between separate processes, over every transport at once,
//! while links are cut, stalled, slowed down and damaged, and processes frozen and ended.

#![cfg(unix)]

use std::time::Duration;

use rejoin_tests::chaos::{Options, Transport, run};

const TIME: Duration = Duration::from_secs(120);
const SEED: u64 = 1;

#[test]
fn nothing_is_lost_repeated_or_out_of_order_whatever_happens_to_links_and_processes() {
    let summary = run(&Options {
        transports: Transport::ALL.to_vec(),
        time: TIME,
        seed: SEED,
        program: env!("CARGO_BIN_EXE_chaos").into(),
        arguments: vec!["peer".into()],
    })
    .unwrap();
    println!("{summary}");
    assert!(summary.is_good(), "{summary}");
    // The test is worth as much as what was done and what came through meanwhile.
    let kinds = summary.faults.len();
    assert_eq!(kinds, 23, "{:?}", summary.faults.keys());
    assert!(summary.restarts >= 8 && summary.freezes >= 8, "{summary}");
    assert!(summary.resumes >= 100 && summary.messages >= 20_000, "{summary}");
    assert!(summary.sessions_lost > 0 && summary.handed_back > 0, "{summary}");
}
