//! Buffers that were used and will be needed again. A stream of items keeps using the same ones,
//! whichever threads it runs on; a conduit that has gone quiet gives them back.

/// Buffers to be used again.
///
/// Invariant: after a [`trim`](Self::trim) there are no more buffers than were taken between the
/// two last ones.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    /// The one used last is at the end, and the first to be used again: the caches know it.
    buffers: Vec<T>,
    /// How many were taken since the last trim.
    taken: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { buffers: Vec::new(), taken: 0 }
    }
}

impl<T: Default> Pool<T> {
    /// A buffer, which is a new one where there is none to be used again.
    pub(crate) fn take(&mut self) -> T {
        self.taken += 1;
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps an empty buffer.
    pub(crate) fn put(&mut self, buffer: T) {
        self.buffers.push(buffer);
    }

    /// Gives out the buffers that nobody needed since the last trim, and whether some are left.
    pub(crate) fn trim(&mut self) -> (Vec<T>, bool) {
        let keep = self.buffers.len().min(std::mem::take(&mut self.taken));
        let kept = self.buffers.split_off(self.buffers.len() - keep);
        (std::mem::replace(&mut self.buffers, kept), keep > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_needed_since_the_last_trim() {
        let mut pool = Pool::default();
        let taken: Vec<Vec<u8>> = (0..3).map(|_| pool.take()).collect();
        taken.into_iter().chain([vec![1], vec![2]]).for_each(|buffer| pool.put(buffer));
        let (unneeded, some_left) = pool.trim();
        assert!(unneeded.len() == 2 && some_left);
        assert_eq!(pool.take(), [2], "the one used last");
        pool.put(vec![2]);
        assert_eq!(pool.trim().0.len(), 2, "one of three was needed");
        let (unneeded, some_left) = pool.trim();
        assert!(unneeded.len() == 1 && !some_left);
    }
}
