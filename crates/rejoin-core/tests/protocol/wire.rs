//! One link of a [`Pair`](crate::pair::Pair): two queues that can be cut, delayed and deafened.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::protocol::LinkGeneration;

/// What one end of a wire is to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// No hello has come yet.
    Greeting,
    /// A link of the session.
    Up(LinkGeneration),
    /// Nobody holds it any more.
    Down,
}

/// Ends and directions are numbered: 0 is the initiator's, 1 the acceptor's; a queue has the number
/// of the end that writes it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) ends: [End; 2],
    /// Which of the pair's sides is at the acceptor's end.
    pub(crate) acceptor: Option<usize>,
    /// `None` is the end of the stream.
    queues: [VecDeque<(Instant, Option<Bytes>)>; 2],
    /// What is written in this direction vanishes, as on a cable that was pulled.
    pub(crate) deaf: [bool; 2],
    pub(crate) delay: Duration,
    /// How many payloads a direction holds before it takes no more.
    pub(crate) capacity: usize,
    pub(crate) dialed_at: Instant,
}

impl Wire {
    pub(crate) fn new(now: Instant, delay: Duration, capacity: usize) -> Self {
        Self {
            ends: [End::Greeting; 2],
            acceptor: None,
            queues: Default::default(),
            deaf: [false; 2],
            delay,
            capacity,
            dialed_at: now,
        }
    }

    pub(crate) fn write(&mut self, end: usize, now: Instant, payload: Bytes) {
        self.put(end, now, Some(payload));
    }

    pub(crate) fn has_room(&self, end: usize) -> bool {
        self.queues[end].len() < self.capacity
    }

    /// The next payload that has arrived at `end`.
    pub(crate) fn read(&mut self, end: usize, now: Instant) -> Option<Option<Bytes>> {
        if self.ends[end] == End::Down {
            return None;
        }
        let queue = &mut self.queues[1 - end];
        if queue.front().is_some_and(|(at, _)| *at <= now) {
            queue.pop_front().map(|(_, payload)| payload)
        } else {
            None
        }
    }

    /// Closes one end: what it has written still arrives, and then the end of the stream.
    pub(crate) fn close(&mut self, end: usize, now: Instant) {
        self.ends[end] = End::Down;
        self.put(end, now, None);
        self.queues[1 - end].clear();
    }

    /// Everything on its way is lost, and both ends learn that the link is dead.
    pub(crate) fn cut(&mut self, now: Instant) {
        for queue in &mut self.queues {
            queue.clear();
            queue.push_back((now, None));
        }
    }

    /// Everything on its way is lost, and so is all that comes; nobody learns of it.
    pub(crate) fn freeze(&mut self) {
        self.deaf = [true; 2];
        self.queues.iter_mut().for_each(VecDeque::clear);
    }

    /// Loses what is on its way in one direction.
    pub(crate) fn lose(&mut self, end: usize) {
        self.queues[end].clear();
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        (0..2)
            .filter(|&end| self.ends[1 - end] != End::Down)
            .filter_map(|end| self.queues[end].front().map(|(at, _)| *at))
            .min()
    }

    /// Whether nothing can happen here any more.
    pub(crate) fn is_dead(&self) -> bool {
        (0..2).all(|end| match self.ends[end] {
            End::Down => true,
            End::Up(_) => false,
            End::Greeting => self.ends[1 - end] == End::Down && self.queues[1 - end].is_empty(),
        })
    }

    fn put(&mut self, end: usize, now: Instant, payload: Option<Bytes>) {
        if !self.deaf[end] && self.ends[1 - end] != End::Down {
            let at = now + self.delay;
            // A link keeps its order, whatever happens to its delay.
            let at = self.queues[end].back().map_or(at, |(last, _)| at.max(*last));
            self.queues[end].push_back((at, payload));
        }
    }
}
