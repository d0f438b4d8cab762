//! Everything at once: random traffic and random faults, then an end to the faults. A seed is a
//! whole run; one that fails is named in the panic's output, and `REJOIN_SIM_SEED=n` runs it alone.
//! `REJOIN_SIM_SEEDS=n` runs that many seeds instead of the usual number.

mod rng;
mod world;

use rejoin_core::protocol::{Ending, Profile};

use crate::pair::{MILLISECOND, SECOND};
use crate::sim::rng::Rng;
use crate::sim::world::World;
use crate::wire::End;

const SEEDS_DEFAULT: u64 = 1500;

/// What a run has seen, so that the simulation can be shown to reach its corners.
#[derive(Default, Debug)]
struct Coverage {
    resumes: u64,
    items_replayed: u64,
    wraps: u64,
    closed_under_faults: u64,
    base: u64,
    dead_peers: u64,
    blocked_by_window: u64,
    last_words_lost: u64,
}

#[test]
fn everything_arrives_once_and_in_order_whatever_the_links_do() {
    let env = |name| std::env::var(name).ok().map(|it| it.parse().expect("a number"));
    let mut coverage = Coverage::default();
    if let Some(seed) = env("REJOIN_SIM_SEED") {
        return run(seed, &mut coverage);
    }
    for seed in 0..env("REJOIN_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT) {
        let naming = NameOnPanic(seed);
        run(seed, &mut coverage);
        drop(naming);
    }
    let Coverage { resumes, items_replayed, wraps, closed_under_faults, base, dead_peers, .. } =
        coverage;
    for reached in [resumes, items_replayed, wraps, closed_under_faults, base, dead_peers] {
        assert!(reached > 10, "the simulation does not reach its corners: {coverage:?}");
    }
    assert!(coverage.last_words_lost < coverage.resumes / 20, "{coverage:?}");
    assert!(coverage.blocked_by_window > 10, "no window was ever closed: {coverage:?}");
}

struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: REJOIN_SIM_SEED={}", self.0);
        }
    }
}

fn run(seed: u64, coverage: &mut Coverage) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, &mut rng);
    for end in 0..world.pair.sides.len() {
        world.pair.sides[end].reads = false;
    }
    let steps = 20 + rng.below(100);
    // Some runs close while the faults go on.
    let close_from = if rng.one_in(3) { steps / 2 } else { steps };
    for step in 0..steps {
        act(&mut world, &mut rng, step >= close_from);
        for side in &mut world.pair.sides {
            side.reads = false;
        }
        world.pair.drive();
        world.check();
        coverage.blocked_by_window += u64::from(is_blocked(&mut world));
    }
    let closed_early = world.pair.sides.iter().any(|it| it.ending() == Some(&Ending::Closed));
    coverage.closed_under_faults += u64::from(closed_early);
    heal(&mut world);
    settle(&mut world);
    let closing = world.apps.iter().any(|app| app.closed);
    if !closing {
        world.check_quiet();
    }
    finish(&mut world, &mut rng);
    tally(&mut world, coverage);
}

/// One thing that an application, the network or time does.
fn act(world: &mut World, rng: &mut Rng, may_close: bool) {
    let end = usize::from(rng.one_in(2));
    let now = world.pair.now;
    match rng.below(32) {
        0..8 => {
            let count = 1 + rng.below(6);
            world.send(end, count);
        }
        8..13 => {
            let count = 1 + rng.below(6);
            world.read(end, count);
        }
        13..19 => {
            let time = MILLISECOND * u32::try_from(rng.below(120)).expect("small");
            world.pair.run_for(time);
        }
        19 => {
            let time = SECOND * u32::try_from(rng.below(60)).expect("small");
            world.pair.run_for(time);
        }
        20 => world.pair.sleep_for(SECOND * 40),
        21 => world.pair.lose_server_hellos = u32::try_from(rng.below(4)).expect("small"),
        22 => world.pair.delay = MILLISECOND * u32::try_from(rng.below(300)).expect("small"),
        23 => world.pair.offline = !world.pair.offline,
        24 if world.is_met() => {
            let side = world.pair.side(end);
            side.writes = !side.writes;
        }
        25 if world.is_met() => world.pair.side(end).session.set_ack_wanted(rng.one_in(2)),
        26 if may_close && !world.is_base() => world.close(end),
        27 if !world.pair.sides[0].session.is_ended() => {
            // The initiator has lost its link; the acceptor has not noticed.
            drop_initiators_link(world);
            world.pair.dial();
        }
        28 => echo_hello(world),
        24..=28 => {}
        _ if world.pair.wires.is_empty() => {}
        29 => world.pair.wire().cut(now),
        30 => world.pair.wire().freeze(),
        _ => {
            // What is on its way in one direction is lost, and then the link with it.
            let wire = world.pair.wire();
            wire.lose(end);
            wire.deaf[end] = true;
            if rng.one_in(2) {
                wire.close(end, now);
                let links: Vec<_> = wire.ends.into();
                if let (0, End::Down) = (end, links[0]) {
                    drop_initiators_link(world);
                }
            }
        }
    }
}

/// The initiator's end was closed under its session.
fn drop_initiators_link(world: &mut World) {
    let now = world.pair.now;
    let session = &mut world.pair.sides[0].session;
    if let Some(link) = session.link() {
        session.handle_link_down(now, link);
    }
    world.pair.abandon_attempt();
}

/// The hello of the latest link arrives a second time, on a link that nobody holds.
fn echo_hello(world: &mut World) {
    if let Some(hello) = world.pair.latest_hello.clone() {
        world.pair.arrive(hello);
    }
}

fn is_blocked(world: &mut World) -> bool {
    world.is_met()
        && (0..2).any(|end| {
            let session = &world.pair.side(end).session;
            let log = session.log();
            session.profile() == Some(Profile::Extended)
                && session.link().is_some()
                && log.written() < log.appended()
        })
}

/// The faults stop.
fn heal(world: &mut World) {
    world.pair.offline = false;
    world.pair.lose_server_hellos = 0;
    world.pair.delay = MILLISECOND;
    world.pair.capacity = 100;
    for side in &mut world.pair.sides {
        side.writes = true;
        side.session.set_ack_wanted(true);
    }
    if world.is_base() {
        // A base peer cannot be asked whether it is still there; the transport's own means of
        // telling a dead link take the place of pings.
        let now = world.pair.now;
        world.pair.wires.iter_mut().for_each(|wire| wire.cut(now));
    }
}

/// Both applications read until nothing more comes.
fn settle(world: &mut World) {
    // A window of one byte lets one item through at a time.
    for turn in 0..500 {
        world.read(0, 100);
        world.read(1, 100);
        world.pair.run_for(2 * SECOND);
        world.check();
        if turn > 30 && world.is_quiet() {
            return;
        }
    }
}

/// Both sides close, in any order and with faults in between.
fn finish(world: &mut World, rng: &mut Rng) {
    let order = rng.pick(&[[0, 1], [1, 0]]);
    for end in order {
        world.close(end);
        match rng.below(6) {
            // A base peer is not told of a close: to call again after one is to be refused.
            _ if world.is_base() => {}
            0 => {}
            1 => world.pair.cut(),
            2 => world.pair.wire().freeze(),
            3 => world.pair.lose_server_hellos = 2,
            4 => {
                world.pair.drive();
                let end = usize::from(rng.one_in(2));
                let now = world.pair.now;
                world.pair.wire().lose(end);
                world.pair.wire().cut(now);
            }
            _ => world.pair.run_for(SECOND),
        }
    }
    settle(world);
    // What is left is a side whose peer ended without being able to say so.
    world.pair.run_for(2000 * SECOND);
    world.check();
    let closed = [world.has_closed(0), world.has_closed(1)];
    let ended = (0..2).all(|end| world.pair.side(end).session.is_ended());
    assert!(ended && closed != [false; 2], "not over: {closed:?}");
}

fn tally(world: &mut World, coverage: &mut Coverage) {
    let sent = world.apps.iter().map(|app| app.sent).max().unwrap_or(0);
    coverage.wraps += u64::from(world::crosses_wrap(world.first, sent));
    coverage.base += u64::from(world.is_base());
    for end in 0..2 {
        coverage.last_words_lost += u64::from(!world.has_closed(end));
        let side = world.pair.side(end);
        let counters = side.session.counters();
        coverage.resumes += counters.resumes;
        coverage.items_replayed += counters.items_replayed;
        coverage.dead_peers += side
            .drops()
            .iter()
            .filter(|cause| **cause == rejoin_core::protocol::DropCause::PeerDead)
            .count() as u64;
    }
}
