//! A line in memory between two ends: passes on what it reads, and does one fault at a time to it.
//! Keeps no pace and knows no frames.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;

/// What is done to the next piece that the cable passes on.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// One bit of the byte at this place, counted from the end, is flipped.
    Flip(usize),
    /// The byte at this place, counted from the end, is a zero.
    Break(usize),
    /// The byte at this place, counted from the end, is lost.
    Drop(usize),
    /// These bytes come before it, or at once if nothing is under way.
    Insert(Vec<u8>),
    /// Nothing of it arrives.
    LoseAll,
}

#[derive(Default)]
struct Direction {
    faults: Mutex<VecDeque<Fault>>,
    changed: Notify,
    passed: Mutex<usize>,
    idle: Notify,
    held: Mutex<bool>,
}

pub(crate) struct Cable {
    to_far: Arc<Direction>,
    to_near: Arc<Direction>,
    near: Output,
    far: Output,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    replaced: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Drop for Cable {
    fn drop(&mut self) {
        for task in self.tasks.drain(..).chain(self.replaced.get_mut().unwrap().drain(..)) {
            task.abort();
        }
    }
}

type Output = Arc<tokio::sync::Mutex<Option<WriteHalf<DuplexStream>>>>;

impl Cable {
    pub(crate) fn new() -> (Self, DuplexStream, DuplexStream) {
        let ((near, near_line), (far, far_line)) =
            (tokio::io::duplex(4096), tokio::io::duplex(4096));
        let (near_in, near_out) = tokio::io::split(near_line);
        let (far_in, far_out) = tokio::io::split(far_line);
        let (to_far, to_near) = (Arc::<Direction>::default(), Arc::<Direction>::default());
        let output = |half| Arc::new(tokio::sync::Mutex::new(Some(half)));
        let (near_out, far_out) = (output(near_out), output(far_out));
        let tasks = vec![
            tokio::spawn(carry(near_in, Arc::clone(&far_out), Arc::clone(&to_far))),
            tokio::spawn(carry(far_in, Arc::clone(&near_out), Arc::clone(&to_near))),
            tokio::spawn(insert(Arc::clone(&far_out), Arc::clone(&to_far))),
        ];
        let replaced = Mutex::default();
        let cable = Self { to_far, to_near, near: near_out, far: far_out, tasks, replaced };
        (cable, near, far)
    }

    pub(crate) fn to_far(&self, fault: Fault) {
        self.to_far.faults.lock().unwrap().push_back(fault);
        self.to_far.changed.notify_one();
    }

    pub(crate) fn to_near(&self, fault: Fault) {
        self.to_near.faults.lock().unwrap().push_back(fault);
    }

    /// Waits until the far end has got what the faults ordered until now have made of it.
    pub(crate) async fn passed_on(&self) {
        loop {
            if self.to_far.faults.lock().unwrap().is_empty() {
                return;
            }
            self.to_far.idle.notified().await;
        }
    }

    pub(crate) fn bytes_to_near(&self) -> usize {
        *self.to_near.passed.lock().unwrap()
    }

    /// Keeps what comes, both ways.
    pub(crate) fn hold(&self) {
        *self.to_far.held.lock().unwrap() = true;
    }

    pub(crate) fn go_on(&self) {
        *self.to_far.held.lock().unwrap() = false;
        self.to_far.changed.notify_waiters();
        self.to_far.changed.notify_one();
    }

    /// Plugs the far end of the cable into another stream.
    pub(crate) fn replace_far(&self) -> DuplexStream {
        self.tasks[1].abort();
        let (far, far_line) = tokio::io::duplex(4096);
        let (far_in, far_out) = tokio::io::split(far_line);
        *self.far.try_lock().unwrap() = Some(far_out);
        let near = Arc::clone(&self.near);
        let carrier = tokio::spawn(carry(far_in, near, Arc::clone(&self.to_near)));
        self.replaced.lock().unwrap().push(carrier);
        far
    }
}

async fn carry(mut from: ReadHalf<DuplexStream>, to: Output, direction: Arc<Direction>) {
    let mut block = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut block).await {
        while *direction.held.lock().unwrap() {
            direction.changed.notified().await;
        }
        let mut bytes = block[..count].to_vec();
        let fault = direction.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Flip(place)) => bytes[count - place] ^= 0x10,
            Some(Fault::Break(place)) => bytes[count - place] = 0,
            Some(Fault::Drop(place)) => drop(bytes.remove(count - place)),
            Some(Fault::Insert(more)) => drop(bytes.splice(..0, more)),
            Some(Fault::LoseAll) => bytes.clear(),
            None => {}
        }
        pass(&to, &direction, &bytes).await;
    }
}

/// Inserts at once what is to be inserted.
async fn insert(to: Output, direction: Arc<Direction>) {
    loop {
        direction.changed.notified().await;
        let fault = {
            let mut faults = direction.faults.lock().unwrap();
            let first = faults.front();
            if matches!(first, Some(Fault::Insert(_))) { faults.pop_front() } else { None }
        };
        if let Some(Fault::Insert(bytes)) = fault {
            pass(&to, &direction, &bytes).await;
        }
    }
}

async fn pass(to: &Output, direction: &Direction, bytes: &[u8]) {
    *direction.passed.lock().unwrap() += bytes.len();
    if let Some(to) = &mut *to.lock().await {
        let _ = to.write_all(bytes).await;
    }
    direction.idle.notify_one();
}
