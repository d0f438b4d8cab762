//! What is done to a medium that has no proxy, step by step, each while messages are on their way.
//!
//! A step begins as a cut does: nothing gets through any more. Then both sides send, and what they
//! send cannot be acknowledged. Then the deed is done, and the session has to go on over a later link.
//! Where the session is to migrate, nothing is held up: it only has to have messages of both
//! directions unacknowledged when it is told to.

use std::fmt;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::lane::Lane;
use crate::media::{Deed, Medium};
use crate::options::Options;
use crate::saboteur::{Progress, Scene, connected, is_connected, open_to, received};
use crate::schedule::Random;

/// How many messages each step has at least.
const MESSAGES_MIN: u64 = 2;

/// One deed, and when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    deed: Deed,
    /// Once this many messages were received by either side, …
    after_messages: u64,
    /// … and while those up to here are sent.
    next: u64,
}

/// The steps of a run with these options, in order; none where there is a proxy for all.
pub(crate) fn steps(options: &Options) -> Vec<Step> {
    let deeds = Deed::all(options, &mut Random(options.seed));
    // What is behind the last step counts as one more.
    let weights: Vec<_> = deeds.iter().map(Deed::weight).chain([1]).collect();
    let weight_sum: u64 = weights.iter().sum();
    let divisible = options.messages.saturating_sub(MESSAGES_MIN * weights.len() as u64);
    let mut weight = 0;
    let ends = weights.iter().enumerate().map(|(index, part)| {
        weight += part;
        MESSAGES_MIN * (index as u64 + 1) + divisible * weight / weight_sum
    });
    let ends: Vec<_> = ends.collect();
    let step = |(deed, ends): (Deed, &[u64])| Step { deed, after_messages: ends[0], next: ends[1] };
    deeds.into_iter().zip(ends.windows(2)).map(step).collect()
}

/// Does all steps; whatever happens, the senders may go on to the end afterwards.
pub(crate) async fn do_all(
    scene: &Scene,
    steps: &[Step],
    messages: u64,
    progress: &watch::Sender<Progress>,
    log: impl Fn(&str),
) {
    for (index, step) in steps.iter().enumerate() {
        open_to(scene, step.after_messages);
        for lane in scene.lanes() {
            received(lane, step.after_messages).await;
        }
        // Half of the messages, then half of what is left each time.
        let mut open = step.after_messages;
        while open < step.next {
            open += (step.next - open).div_ceil(2);
            let proven = attempt(scene, step, open).await;
            progress.send_modify(|progress| match proven {
                true => progress.cuts += 1,
                false => progress.missed += 1,
            });
            if proven {
                log(&format!("cut {}: {step}", index + 1));
                break;
            }
            log(&format!("missed {}: {step}", index + 1));
        }
    }
    open_to(scene, messages);
}

/// Does the deed once, and waits until the conduits have another link. Gives whether it was done
/// while messages were on their way in both directions.
async fn attempt(scene: &Scene, step: &Step, open: u64) -> bool {
    let mut status = scene.client().status();
    let Some(link) = connected(&mut status, 0).await else { return false };
    hold(scene, step.deed);
    let begun = scene.lanes().map(|lane| lane.begun.load(Ordering::SeqCst));
    open_to(scene, open);
    for (lane, begun) in scene.lanes().into_iter().zip(begun) {
        lane.accepted.wait_for(begun + 1, || lane.is_in_flight(begun)).await;
    }
    let in_flight = scene.lanes().into_iter().all(Lane::is_unacknowledged);
    if !(in_flight && is_connected(&status.borrow(), link)) {
        release(scene, step.deed);
        return false;
    }
    match (&scene.medium, step.deed) {
        (Medium::Memory(memory), Deed::Memory(deed)) => {
            memory.act(deed, status.clone()).await;
        }
        #[cfg(unix)]
        (Medium::Serial(line), Deed::Serial(deed)) => {
            line.act(deed, link, status.clone()).await;
        }
        #[cfg(unix)]
        (Medium::Roam(roam), Deed::Roam(deed)) => {
            let client = scene.client();
            let moves = roam.act(deed, || client.migrate()).await;
            let arrived = moves && at(&mut status, link, deed.target()).await;
            roam.settle(deed, arrived);
            return arrived;
        }
        _ => return false,
    }
    connected(&mut status, link).await.is_some()
}

fn hold(scene: &Scene, deed: Deed) {
    match (&scene.medium, deed) {
        (Medium::Memory(memory), _) => memory.hold(),
        #[cfg(unix)]
        (Medium::Serial(line), _) => line.hold(),
        #[cfg(unix)]
        (Medium::Roam(roam), Deed::Roam(deed)) => roam.hold(deed),
        _ => {}
    }
}

fn release(scene: &Scene, deed: Deed) {
    match (&scene.medium, deed) {
        (Medium::Memory(memory), _) => memory.release(),
        #[cfg(unix)]
        (Medium::Serial(line), _) => line.release(),
        #[cfg(unix)]
        (Medium::Roam(roam), Deed::Roam(deed)) => roam.release(deed),
        _ => {}
    }
}

/// Waits until the conduit has a later link, whose peer is `place`; gives whether it got there.
#[cfg(unix)]
async fn at(status: &mut watch::Receiver<rejoin_tcp::Status>, link: u64, place: &str) -> bool {
    use rejoin_tcp::Status;

    let is_there = |status: &Status| match status {
        Status::Connected { generation, peer, .. } => {
            *generation > link && peer.address() == Some(place)
        }
        status => status.is_final(),
    };
    status.wait_for(is_there).await.is_ok_and(|status| !status.is_final())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after message {}: {}", self.after_messages, self.deed)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn of(arguments: &str) -> Vec<Step> {
        let words = std::iter::once("survive").chain(arguments.split_whitespace());
        steps(&Options::try_parse_from(words).unwrap())
    }

    #[test]
    fn every_step_has_messages_before_it_and_during_it() {
        for transport in ["memory", "serial", "roam"] {
            if cfg!(not(unix)) && transport != "memory" {
                continue;
            }
            for rest in ["", "--messages 160 --cuts 40", "--messages 4 --cuts 1", "--cuts 0"] {
                let mut position = 1;
                for step in of(&format!("--transport {transport} {rest}")) {
                    assert!(position <= step.after_messages, "{transport} {rest}: {step:?}");
                    assert!(step.after_messages + 1 < step.next, "{transport} {rest}: {step:?}");
                    position = step.next;
                }
            }
        }
    }

    #[test]
    fn a_proxy_has_no_steps() {
        assert_eq!(of("--transport tcp"), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_roaming_session_takes_every_way_for_either_reason_and_comes_back() {
        let steps = of("--transport roam --cuts 8");
        let ways: Vec<_> = steps.iter().map(ToString::to_string).collect();
        for way in ["serial to tcp", "tcp to websocket", "websocket to unix", "unix to serial"] {
            let taken: Vec<_> = ways.iter().filter(|it| it.contains(way)).collect();
            let migrations = taken.iter().filter(|it| it.contains("by migration")).count();
            assert_eq!((taken.len(), migrations), (2, 1), "{ways:?}");
        }
        let ends_at = |it: &&String| it.contains("to serial");
        assert!(ways.last().as_ref().is_some_and(ends_at), "{ways:?}");
    }
}
