//! Every order in which senders, one that holds on to room, those who give up, and the driver can
//! come to a small outbox: no wake-up is lost.
//!
//! All that an outbox does it does under its one lock, and wakers run after that, so the orders of
//! whole calls are all that threads could make of it, with wake-ups that arrive at any later time;
//! whoever was woken is polled at any later time here. A model checker for threads, such as loom,
//! would try the same orders again for each access to the lock. What is not shown is that the lock
//! is one; `outbox_tests.rs` has a test with threads.

use std::collections::HashSet;

use super::tests::{ByHand, COST, Count, ITEM, bytes};
use super::*;
use crate::handover::room::Claim;
use std::sync::Arc;
use std::task::Poll;

/// What one step is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// A sender asks for room, or comes because it was woken.
    Come(usize),
    /// A sender stops waiting.
    GiveUp(usize),
    /// A sender uses the room that it has claimed.
    Use(usize),
    /// The driver goes on by one call.
    Drive,
    /// There is a link for the driver.
    Link,
    /// The peer acknowledges all that was taken.
    Ack,
}

/// How the senders of a story send.
#[derive(Clone, Copy, Debug)]
struct Sender {
    claims: bool,
    items: u8,
    gives_up: bool,
}

enum Phase<'a> {
    Idle,
    Appending(ByHand<'a, Result<Position, Refusal>>),
    Claiming(ByHand<'a, Result<Claim<'a>, Refusal>>),
    Holding(Claim<'a>),
}

/// The driver's place in its turn; see `Driver::turn`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Requests,
    Items,
    Publish,
    Sleep,
    Asleep,
}

struct Story<'a> {
    outbox: &'a Outbox,
    senders: &'a [Sender],
    phases: Vec<Phase<'a>>,
    left: Vec<u8>,
    /// The senders that wait, in the order in which they came.
    queue: Vec<usize>,
    at: At,
    driver: Arc<Count>,
    linked: bool,
    taken: u64,
    acked: u64,
    released: u64,
}

impl<'a> Story<'a> {
    fn new(outbox: &'a Outbox, senders: &'a [Sender]) -> Self {
        Self {
            outbox,
            senders,
            phases: senders.iter().map(|_| Phase::Idle).collect(),
            left: senders.iter().map(|sender| sender.items).collect(),
            queue: Vec::new(),
            at: At::Requests,
            driver: Arc::default(),
            linked: false,
            taken: 0,
            acked: 0,
            released: 0,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, phase) in self.phases.iter().enumerate() {
            let waits = match phase {
                Phase::Idle => {
                    if self.left[index] > 0 {
                        steps.push(Step::Come(index));
                    }
                    continue;
                }
                Phase::Holding(_) => {
                    steps.extend([Step::Use(index), Step::GiveUp(index)]);
                    continue;
                }
                Phase::Appending(waits) => waits.is_woken(),
                Phase::Claiming(waits) => waits.is_woken(),
            };
            if waits {
                steps.push(Step::Come(index));
            }
            if self.senders[index].gives_up {
                steps.push(Step::GiveUp(index));
            }
        }
        if self.at != At::Asleep || self.driver.is_woken() {
            steps.push(Step::Drive);
        }
        if !self.linked {
            steps.push(Step::Link);
        }
        if self.acked < self.taken {
            steps.push(Step::Ack);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Come(index) => self.come(index),
            Step::GiveUp(index) => {
                self.queue.retain(|waits| *waits != index);
                self.left[index] -= 1;
                self.phases[index] = Phase::Idle;
            }
            Step::Use(index) => {
                let phase = std::mem::replace(&mut self.phases[index], Phase::Idle);
                let Phase::Holding(claim) = phase else { panic!("it holds a claim") };
                claim.append(bytes(ITEM)).unwrap();
                self.left[index] -= 1;
            }
            Step::Drive => self.drive(),
            Step::Link => {
                self.linked = true;
                self.driver.wake_by_hand();
            }
            Step::Ack => {
                self.acked = self.taken;
                self.driver.wake_by_hand();
            }
        }
    }

    fn come(&mut self, index: usize) {
        let phase = std::mem::replace(&mut self.phases[index], Phase::Idle);
        let outbox = self.outbox;
        let phase = match phase {
            Phase::Idle if self.senders[index].claims => {
                Phase::Claiming(ByHand::new(outbox.claim(COST)))
            }
            Phase::Idle => Phase::Appending(ByHand::new(outbox.append(bytes(ITEM)))),
            phase => phase,
        };
        self.phases[index] = match phase {
            Phase::Appending(mut appending) => match appending.poll() {
                Poll::Ready(sent) => {
                    assert_eq!(sent.unwrap().get() + 1, outbox.accepted());
                    self.left[index] -= 1;
                    self.served(index);
                    Phase::Idle
                }
                Poll::Pending => {
                    self.waits(index);
                    Phase::Appending(appending)
                }
            },
            Phase::Claiming(mut claiming) => match claiming.poll() {
                Poll::Ready(claim) => {
                    self.served(index);
                    Phase::Holding(claim.unwrap())
                }
                Poll::Pending => {
                    self.waits(index);
                    Phase::Claiming(claiming)
                }
            },
            phase => phase,
        };
    }

    fn waits(&mut self, index: usize) {
        if !self.queue.contains(&index) {
            self.queue.push(index);
        }
    }

    fn served(&mut self, index: usize) {
        assert!(self.queue.first().is_none_or(|first| *first == index), "others came before");
        self.queue.retain(|waits| *waits != index);
    }

    /// One call of a turn of the driver, with a link that is never busy.
    fn drive(&mut self) {
        self.at = match self.at {
            At::Asleep | At::Requests => {
                self.driver.forget();
                self.outbox.take();
                At::Items
            }
            At::Items => {
                if self.linked {
                    self.outbox.take_items(|batch| {
                        self.taken += batch.len() as u64;
                        *batch = Batch::default();
                    });
                }
                At::Publish
            }
            At::Publish => {
                if self.acked > self.released {
                    self.released = self.acked;
                    self.outbox.release(self.released * COST);
                }
                At::Sleep
            }
            At::Sleep => {
                let waker = Waker::from(Arc::clone(&self.driver));
                let items = if self.linked { Items::Wanted } else { Items::Noted };
                if self.outbox.sleep(&waker, items) { At::Asleep } else { At::Requests }
            }
        };
    }

    /// What holds after every step.
    fn check(&self) {
        let state = self.outbox.lock();
        assert!(state.cost_held() < state.bytes_max + COST, "more than the bound and an item");
        assert_eq!(state.waiting.len(), self.queue.len());
        if let Some(&first) = self.queue.first()
            && state.has_room()
        {
            let is_woken = match &self.phases[first] {
                Phase::Appending(waits) => waits.is_woken(),
                Phase::Claiming(waits) => waits.is_woken(),
                Phase::Idle | Phase::Holding(_) => false,
            };
            assert!(is_woken, "there is room for one who waits and does not know");
        }
        if self.at == At::Asleep && !self.driver.is_woken() {
            assert!(!state.news, "the driver sleeps through news");
            assert!(!self.linked || self.taken == state.next, "the driver sleeps on items");
        }
    }

    /// What holds when nothing can happen any more, whoever gives up or not.
    fn check_end(&self) {
        assert!(self.left.iter().all(|left| *left == 0), "somebody waits for ever");
        assert_eq!(self.taken, self.outbox.accepted());
        assert_eq!(self.outbox.lock().cost_held(), 0);
    }

    /// Two stories of the same digest go on in the same way.
    fn digest(&self) -> String {
        let state = self.outbox.lock();
        let phases: Vec<_> = self
            .phases
            .iter()
            .map(|phase| match phase {
                Phase::Idle => 0,
                Phase::Holding(_) => 1,
                Phase::Appending(waits) => 2 + u8::from(waits.is_woken()),
                Phase::Claiming(waits) => 4 + u8::from(waits.is_woken()),
            })
            .collect();
        format!(
            "{phases:?}{:?}{:?}{:?}{}{}{}{:?}{}{} {} {} {} {} {}",
            self.left,
            self.queue,
            self.at,
            self.driver.is_woken(),
            self.linked,
            state.news,
            state.items,
            state.items_wait,
            state.driver.is_some(),
            self.taken,
            self.acked,
            self.released,
            state.next,
            state.claims,
        )
    }
}

/// Goes through all orders, and gives how many states there are.
fn search(items_max: u64, senders: &[Sender]) -> usize {
    let mut seen = HashSet::new();
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let outbox = Outbox::new(usize::try_from(items_max * COST).unwrap(), 1 << 20);
        let mut story = Story::new(&outbox, senders);
        for step in &path {
            story.take(*step);
        }
        let check = std::panic::AssertUnwindSafe(|| {
            story.check();
            let steps = story.steps();
            if steps.iter().all(|step| matches!(step, Step::GiveUp(_))) {
                story.check_end();
            }
            steps
        });
        let steps = std::panic::catch_unwind(check).unwrap_or_else(|_| panic!("after {path:?}"));
        if seen.insert(story.digest()) {
            paths.extend(steps.into_iter().map(|step| [&path[..], &[step]].concat()));
        }
    }
    seen.len()
}

const APPENDS: Sender = Sender { claims: false, items: 2, gives_up: false };
const HESITATES: Sender = Sender { gives_up: true, ..APPENDS };
const CLAIMS: Sender = Sender { claims: true, ..APPENDS };
const CLAIMS_OR_NOT: Sender = Sender { gives_up: true, ..CLAIMS };

#[test]
fn no_order_of_calls_loses_a_wake_up() {
    let states = [
        search(1, &[APPENDS, CLAIMS_OR_NOT]),
        search(1, &[HESITATES, HESITATES, CLAIMS]),
        search(2, &[APPENDS, HESITATES, CLAIMS_OR_NOT]),
    ];
    // Fewer than there were would mean that less is looked at.
    assert!(states.iter().sum::<usize>() > 1_000, "{states:?}");
}
