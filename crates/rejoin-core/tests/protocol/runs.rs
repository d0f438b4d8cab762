//! Items that lie side by side go out as runs: a session that fills batches says byte for byte what
//! one says that is polled payload by payload, and is in the same state afterwards.

use rejoin_core::protocol::{
    AckState, Control, Ending, Event, LossReason, Payload, Position, Profile, Session,
    SessionConfig, Settings, Transmits,
};

use crate::pair::{batch, config};
use crate::solo::{Solo, ack, packet_ack, settings};

/// What the next payload is, from a session that is asked for one at a time.
fn poll(solo: &mut Solo) -> Option<Vec<u8>> {
    let transmit = solo.session.poll_transmit(solo.now)?;
    Some([transmit.head.as_bytes(), &transmit.body].concat())
}

fn payloads(batch: &Transmits) -> Vec<Vec<u8>> {
    let (mut payloads, mut whole) = (batch.payloads(), Vec::new());
    while let Some(Payload { head, bytes, part }) = payloads.next() {
        whole.push([head.as_bytes(), &bytes[part]].concat());
    }
    whole
}

/// Everything that a session knows, its counters and limits included.
fn state(session: &Session) -> String {
    format!("{session:?}")
}

/// Fills `batch`, and compares it with what the same session gives one by one; gives how many
/// payloads there were.
#[track_caller]
fn fill(solo: &mut Solo, batch: &mut Transmits) -> usize {
    let mut twin = solo.clone();
    let more = solo.session.fill(solo.now, batch);
    let filled = payloads(batch);
    for payload in &filled {
        assert_eq!(poll(&mut twin).as_ref(), Some(payload));
    }
    assert_eq!(more, batch.is_full(), "a batch that is full says so");
    if !more {
        assert_eq!(poll(&mut twin), None, "what has room takes everything");
    }
    assert_eq!(state(&solo.session), state(&twin.session));
    assert_eq!(batch.is_empty(), filled.is_empty());
    batch.clear();
    assert!(batch.is_empty() && payloads(batch).is_empty());
    filled.len()
}

/// The same numbers for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(end)).expect("below a u32")
    }

    fn pick(&mut self, values: &[u32]) -> u32 {
        values[self.below(u32::try_from(values.len()).expect("a few")) as usize]
    }
}

/// The corners of runs, and how often they were reached.
#[derive(Debug, Default)]
struct Reached {
    payloads: usize,
    full: usize,
    windows: usize,
    rewinds: usize,
    acks: usize,
    too_large: usize,
}

/// One session under everything that moves the cursors of its log, filled now and then.
fn one_life(seed: u64, reached: &mut Reached) {
    let random = &mut Random(seed);
    let item_max = random.pick(&[0, 1, 40, 300]);
    let mut transmits = Transmits::at_most(random.pick(&[1, 2, 3, 7, 1000]) as usize);
    let mut solo = Solo::acceptor(config(), Profile::Extended);
    let (mut limit, mut came) = (u64::from(random.below(2000)), 0);
    // What the peer takes, mostly whatever there is.
    let takes = random.pick(&[1000, 1000, 1000, item_max]).saturating_sub(random.below(2));
    let settings = |limit, last: Option<u32>| {
        let state = AckState { ack: last.map(packet_ack), limit };
        Control::Settings(Settings { state, item_bytes_max: takes, send_log_bytes: 1000 })
    };
    solo.feed(0, settings(limit, None)).expect("settings are welcome");
    for _ in 0..random.below(60) {
        let log = solo.session.log();
        let [acked, written] = [log.acked(), log.written()].map(|at| Position::new(at).seq().0);
        match random.below(8) {
            0..3 => {
                let count = 1 + random.below(9);
                let items: Vec<_> = (0..count)
                    .map(|n| vec![n.to_le_bytes()[0]; random.below(item_max + 1) as usize])
                    .collect();
                solo.session.append(&mut batch(items.iter().map(Vec::as_slice)));
            }
            3 if written > acked => {
                limit += u64::from(random.below(600));
                let last = acked + random.below(written - acked);
                solo.feed(came, ack(last, limit)).expect("acknowledges what was written");
            }
            4 => {
                solo.item(came, None, b"from the peer").expect("the next item");
                came += 1;
                reached.acks += 1;
            }
            5 if random.below(3) == 0 => {
                // The link dies; the peer has some of what was written.
                let count = acked + random.below(written - acked + 1);
                reached.rewinds += usize::from(count < written);
                let last = count.checked_sub(1);
                solo.resume(last).expect("the peer has what it says");
                solo.feed(came, settings(limit, last)).expect("settings are welcome");
            }
            _ => {
                reached.payloads += fill(&mut solo, &mut transmits);
                let log = solo.session.log();
                let stands = log.written() < log.appended() && !solo.session.is_ended();
                reached.full += usize::from(stands && log.cost_written() < limit);
                reached.windows += usize::from(stands && log.cost_written() >= limit);
            }
        }
        if solo.session.is_ended() {
            reached.too_large += 1;
            return;
        }
    }
}

// WIN-1, REPLAY-2
#[test]
fn batches_say_what_single_payloads_say() {
    let mut reached = Reached::default();
    for seed in 0..600 {
        one_life(seed, &mut reached);
    }
    let Reached { payloads, full, windows, rewinds, acks, too_large } = reached;
    assert!(payloads > 8000 && full > 2000 && windows > 1000, "{reached:?}");
    assert!(rewinds > 250 && acks > 1000 && too_large > 100, "{reached:?}");
}

// WIN-1
#[test]
fn a_run_ends_where_the_window_does() {
    let mut solo = Solo::ready(config());
    solo.session.append(&mut batch([[0; 968].as_slice(); 15]));
    let mut all = Transmits::default();
    assert_eq!(fill(&mut solo, &mut all), 10, "items of a cost of 1000, and a limit of 10 000");
    solo.feed(0, ack(9, 12_001)).unwrap();
    assert_eq!(fill(&mut solo, &mut all), 3, "the last one may begin below the limit");
}

#[test]
fn an_item_that_is_too_large_leaves_those_before_it_to_the_link() {
    let mut solo = Solo::ready(config());
    solo.session.append(&mut batch([&[0; 1000][..], &[1; 1001], &[2; 7]]));
    assert_eq!(fill(&mut solo, &mut Transmits::default()), 1);
    let (position, bytes, bytes_max) = (Position::new(1), 1001, 1000);
    let ended = Ending::Lost(LossReason::ItemTooLarge { position, bytes, bytes_max });
    assert_eq!(solo.events().last(), Some(&Event::Ended(ended)));
    let left = solo.session.take_unacknowledged();
    assert_eq!(left.iter().map(|(_, item)| item.len()).collect::<Vec<_>>(), [1000, 1001, 7]);
}

// REPLAY-1, REPLAY-2
#[test]
fn a_replay_begins_within_a_run_and_acknowledges_what_came_since() {
    let mut solo = Solo::ready(config());
    solo.session.append(&mut batch([b"zero".as_slice(), b"one", b"", b"three"]));
    assert_eq!(fill(&mut solo, &mut Transmits::default()), 4);
    solo.item(0, None, b"from the peer").unwrap();
    solo.resume(Some(0)).unwrap();
    solo.feed(0, settings(Some(0), 10_000)).unwrap();
    let mut all = Transmits::default();
    assert!(!solo.session.fill(solo.now, &mut all));
    let frames = payloads(&all);
    // Number, tag of data with an acknowledgement, what is acknowledged, item.
    assert_eq!(frames[1..], [&b"\x01\x01\x00one"[..], b"\x02\x01\x00", b"\x03\x01\x00three"]);
}

#[test]
fn a_batch_has_a_bound_in_bytes() {
    let mut solo =
        Solo::acceptor(SessionConfig { item_bytes_max: 1 << 20, ..config() }, Profile::Extended);
    let state = AckState { ack: None, limit: u64::MAX };
    let settings = Settings { state, item_bytes_max: u32::MAX, send_log_bytes: 1000 };
    solo.feed(0, Control::Settings(settings)).unwrap();
    fill(&mut solo, &mut Transmits::default());
    solo.session.append(&mut batch([&[0; 100 << 10][..]; 5]));
    let mut transmits = Transmits::default();
    assert_eq!(fill(&mut solo, &mut transmits), 3, "the third goes past 256 KiB");
    assert_eq!(fill(&mut solo, &mut transmits), 2);
}
