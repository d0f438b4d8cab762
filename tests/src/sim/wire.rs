//! A simulated link: two lanes of payloads that can be delayed, stalled, cut at any byte, silenced.
//!
//! Ends and lanes are numbered: 0 is the initiator's, 1 the acceptor's; a lane has the number of the
//! end that writes it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::LinkGeneration;

/// What one end of a wire is to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// No hello has come yet.
    Greeting,
    /// A link of the session.
    Up(LinkGeneration),
    /// Nobody holds it any more.
    Down,
}

/// What comes out of a lane.
#[derive(Debug)]
pub(super) enum Arrival {
    Payload(Bytes),
    /// The other end, or the network, has ended the link.
    Closed,
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<(Instant, Arrival)>,
    /// How many more bytes get through.
    bytes_left: u64,
    stalled: bool,
    /// What is written vanishes, and so does its end.
    silent: bool,
    lose_item: bool,
}

/// One link.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: usize,
    /// Which side is at the acceptor's end.
    pub(super) acceptor: Option<usize>,
    pub(super) ends: [End; 2],
    lanes: [Lane; 2],
    delay: Duration,
    capacity: usize,
    pub(super) dialed_at: Instant,
    /// The link has lost something and lives on, so that a gap is to be expected.
    pub(super) lossy: bool,
}

impl Wire {
    pub(super) fn new(client: usize, now: Instant, delay: Duration, capacity: usize) -> Self {
        let lane = || Lane {
            queue: VecDeque::new(),
            bytes_left: u64::MAX,
            stalled: false,
            silent: false,
            lose_item: false,
        };
        Self {
            client,
            acceptor: None,
            ends: [End::Greeting; 2],
            lanes: [lane(), lane()],
            delay,
            capacity,
            dialed_at: now,
            lossy: false,
        }
    }

    pub(super) fn has_room(&self, end: usize) -> bool {
        self.lanes[end].queue.len() < self.capacity
    }

    /// Gives whether the link broke.
    pub(super) fn write(&mut self, end: usize, now: Instant, payload: Bytes, item: bool) -> bool {
        if self.ends[1 - end] == End::Down {
            return false;
        }
        let due = now + self.delay;
        let lane = &mut self.lanes[end];
        let fits = payload.len() as u64 <= lane.bytes_left;
        if lane.bytes_left != u64::MAX {
            lane.bytes_left = lane.bytes_left.saturating_sub(payload.len() as u64);
        }
        if item && std::mem::take(&mut lane.lose_item) {
            self.lossy = true;
        } else if fits && !lane.silent {
            lane.queue.push_back((due, Arrival::Payload(payload)));
        } else if !fits {
            // The rest of this payload is lost, and what came before it is not.
            for lane in &mut self.lanes {
                lane.end(due);
            }
        }
        !fits
    }

    /// The next thing that has arrived at `end`.
    pub(super) fn read(&mut self, end: usize, now: Instant) -> Option<Arrival> {
        if self.ends[end] == End::Down {
            return None;
        }
        let lane = &mut self.lanes[1 - end];
        if lane.stalled || lane.queue.front().is_none_or(|(due, _)| *due > now) {
            return None;
        }
        lane.queue.pop_front().map(|(_, arrival)| arrival)
    }

    /// `end` lets go of the link: what it has written arrives, what it has not read does not.
    pub(super) fn close(&mut self, end: usize, now: Instant) {
        if self.ends[end] == End::Down {
            return;
        }
        self.ends[end] = End::Down;
        self.lanes[1 - end].queue.clear();
        let due = now + self.delay;
        self.lanes[end].end(due);
    }

    /// The network breaks: what is on its way is lost, and the ends in `told` learn of it.
    pub(super) fn cut(&mut self, now: Instant, told: [bool; 2]) {
        for (end, told) in told.into_iter().enumerate() {
            let lane = &mut self.lanes[1 - end];
            lane.queue.clear();
            lane.silent = false;
            if told {
                lane.end(now);
            }
            lane.silent = true;
        }
    }

    pub(super) fn cut_after(&mut self, end: usize, bytes: u64) {
        self.lanes[end].bytes_left = bytes;
    }

    pub(super) fn stall(&mut self, end: usize, stalled: bool) {
        self.lanes[end].stalled = stalled;
    }

    pub(super) fn lose_item(&mut self, end: usize) {
        self.lanes[end].lose_item = true;
    }

    /// What `end` writes vanishes.
    pub(super) fn silence(&mut self, end: usize) {
        self.lanes[end].silent = true;
    }

    /// No new fault happens from now on; what has happened stays.
    pub(super) fn heal(&mut self) {
        for lane in &mut self.lanes {
            lane.stalled = false;
            lane.bytes_left = u64::MAX;
            lane.lose_item = false;
        }
    }

    /// Whether nothing can come of it any more.
    pub(super) fn is_dead(&self) -> bool {
        let unheard = self.ends == [End::Down, End::Greeting] && self.lanes[0].queue.is_empty();
        self.ends == [End::Down; 2] || unheard
    }

    /// When something arrives next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let arrivals = self.lanes.iter().enumerate().filter_map(|(from, lane)| {
            let heard = self.ends[1 - from] != End::Down && !lane.stalled;
            lane.queue.front().filter(|_| heard).map(|(due, _)| *due)
        });
        arrivals.min()
    }
}

impl Lane {
    fn end(&mut self, due: Instant) {
        if !self.silent {
            self.queue.push_back((due, Arrival::Closed));
        }
        self.silent = true;
    }
}
