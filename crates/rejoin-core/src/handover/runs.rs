//! Payloads, or the items in them, in order. Those that came side by side have their memory in common,
//! and nobody counts its users for each of them.

use std::ops::Range;

use bytes::{Buf, Bytes};

/// Payloads, or the items in them, in order. What is taken out is taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Each has a part; the first ones may have been taken.
    runs: Vec<Run>,
    /// Where the payloads of all runs lie, each in the bytes of its own.
    parts: Vec<Range<usize>>,
    runs_taken: usize,
    parts_taken: usize,
}

#[derive(Debug)]
struct Run {
    bytes: Bytes,
    /// Where its payloads end among the parts.
    parts_end: usize,
}

/// A payload that was taken.
#[derive(Debug)]
pub(crate) enum Taken<'a> {
    /// That part of the bytes of a run, of which more is to come.
    Part(&'a Bytes, Range<usize>),
    /// The last one of a run, without the others.
    Last(Bytes),
}

impl Taken<'_> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Part(bytes, part) => &bytes[part.clone()],
            Self::Last(bytes) => bytes,
        }
    }

    #[inline]
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Part(bytes, part) => bytes.slice(part),
            Self::Last(bytes) => bytes,
        }
    }
}

impl Runs {
    /// How many payloads there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.len() - self.parts_taken
    }

    /// How many bytes each payload has.
    pub(crate) fn lens(&self) -> impl Iterator<Item = usize> {
        self.parts[self.parts_taken..].iter().map(Range::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is memory to be used again.
    pub(crate) fn has_memory(&self) -> bool {
        self.parts.capacity() > 0
    }

    /// Adds one payload.
    pub(crate) fn push(&mut self, payload: Bytes) {
        self.push_part(0..payload.len());
        self.push_run(payload);
    }

    /// Adds a payload, which is that part of what is [pushed](Self::push_run) next.
    #[inline]
    pub(crate) fn push_part(&mut self, part: Range<usize>) {
        self.parts.push(part);
    }

    /// Adds that of which parts were pushed, if there were any.
    pub(crate) fn push_run(&mut self, bytes: Bytes) {
        let parts_end = self.parts.len();
        if self.runs.last().map_or(0, |last| last.parts_end) < parts_end {
            self.runs.push(Run { bytes, parts_end });
        }
    }

    /// Adds `others`, of which nothing has been taken, and leaves them empty.
    pub(crate) fn append(&mut self, others: &mut Self) {
        let before = self.parts.len();
        self.parts.append(&mut others.parts);
        self.runs.extend(
            others.runs.drain(..).map(|run| Run { parts_end: before + run.parts_end, ..run }),
        );
    }

    /// Takes the first payload.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Taken<'_>> {
        let part = self.parts.get(self.parts_taken)?.clone();
        let run = &mut self.runs[self.runs_taken];
        self.parts_taken += 1;
        if self.parts_taken < run.parts_end {
            return Some(Taken::Part(&run.bytes, part));
        }
        // From now on the run keeps nothing alive, and an empty payload neither.
        self.runs_taken += 1;
        let mut bytes = std::mem::take(&mut run.bytes);
        if part.is_empty() {
            return Some(Taken::Last(Bytes::new()));
        }
        bytes.truncate(part.end);
        bytes.advance(part.start);
        Some(Taken::Last(bytes))
    }

    /// Takes everything out, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.parts.clear();
        (self.runs_taken, self.parts_taken) = (0, 0);
    }

    /// Gives memory back that is not in use.
    pub(crate) fn trim(&mut self) {
        self.runs.shrink_to_fit();
        self.parts.shrink_to_fit();
    }

    /// Leaves of each payload, none of which has been taken, what begins where `refine` says; without
    /// that it goes. At an error it goes with all that follow.
    #[inline]
    pub(crate) fn refine<E>(
        &mut self,
        mut refine: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
    ) -> Result<(), E> {
        let (mut start, mut kept) = (0, 0);
        let mut result = Ok(());
        'runs: for run in &mut self.runs {
            let end = std::mem::replace(&mut run.parts_end, kept);
            for index in start..end {
                let part = self.parts[index].clone();
                match refine(&run.bytes[part.clone()]) {
                    Ok(None) => {}
                    Ok(Some(begin)) => {
                        self.parts[kept] = part.start + begin..part.end;
                        kept += 1;
                        run.parts_end = kept;
                    }
                    Err(error) => {
                        result = Err(error);
                        break 'runs;
                    }
                }
            }
            start = end;
        }
        if kept < self.parts.len() {
            self.parts.truncate(kept);
            let mut before = 0;
            self.runs.retain_mut(|run| {
                run.parts_end = run.parts_end.min(kept);
                std::mem::replace(&mut before, run.parts_end) < run.parts_end
            });
        }
        result
    }

    /// Moves all payloads, which have so many bytes together and of which none has been taken, to memory
    /// of their own, side by side.
    pub(crate) fn gather(&mut self, bytes: usize) {
        let mut gathered = Vec::with_capacity(bytes);
        let mut first = 0;
        for Run { bytes, parts_end } in self.runs.drain(..) {
            for part in &mut self.parts[first..parts_end] {
                let start = gathered.len();
                gathered.extend_from_slice(&bytes[part.clone()]);
                *part = start..gathered.len();
            }
            first = parts_end;
        }
        self.push_run(gathered.into());
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use super::*;

    const WORDS: [&[u8]; 6] = [b"one", b"", b"three", b"four", b"", b"six"];

    /// The words, in runs of these many.
    fn runs(lengths: &[usize]) -> Runs {
        let (mut runs, mut words) = (Runs::default(), WORDS.iter());
        for &length in lengths {
            let mut bytes = b"-".to_vec();
            for word in words.by_ref().take(length) {
                bytes.extend_from_slice(word);
                runs.push_part(bytes.len() - word.len()..bytes.len());
                bytes.push(b'-');
            }
            runs.push_run(bytes.into());
        }
        runs
    }

    fn all(mut runs: Runs) -> Vec<Bytes> {
        let len = runs.len();
        let all: Vec<_> = from_fn(|| runs.pop().map(Taken::into_bytes)).collect();
        assert!(all.len() == len && runs.is_empty());
        all
    }

    #[test]
    fn what_was_pushed_comes_out_in_order() {
        for lengths in [&[6][..], &[1, 5], &[2, 0, 3, 1], &[1, 1, 1, 1, 1, 1]] {
            assert_eq!(all(runs(lengths)), WORDS);
            let mut gathered = runs(lengths);
            gathered.gather(15);
            gathered.trim();
            assert_eq!(all(gathered), WORDS);
        }
        let mut single = runs(&[6]);
        single.push(Bytes::from_static(b"seven"));
        assert_eq!(all(single)[6], "seven");
    }

    #[test]
    fn others_come_after_what_is_there() {
        let mut both = runs(&[4, 2]);
        assert_eq!(both.pop().unwrap().as_slice(), WORDS[0]);
        let mut others = runs(&[1, 5]);
        both.append(&mut others);
        assert!(others.is_empty());
        others.push(Bytes::from_static(b"again"));
        assert_eq!(all(others), ["again"]);
        assert_eq!(all(both), [&WORDS[1..], &WORDS].concat());
    }

    #[test]
    fn what_is_refined_away_is_gone_with_its_run() {
        for lengths in [&[6][..], &[1, 5], &[2, 3, 1], &[1, 1, 1, 1, 1, 1]] {
            for keep in 0..1 << WORDS.len() {
                let (mut refined, mut next) = (runs(lengths), 0);
                let result = refined.refine(|payload| {
                    assert_eq!(payload, WORDS[next]);
                    let kept = keep & (1 << next) != 0;
                    next += 1;
                    Ok::<_, ()>(kept.then_some(payload.len().min(1)))
                });
                result.unwrap();
                let kept = (0..WORDS.len()).filter(|index| keep & (1 << index) != 0);
                let kept: Vec<_> = kept
                    .map(|index| WORDS[index].split_first().map_or(&b""[..], |it| it.1))
                    .collect();
                assert!(refined.runs.len() <= kept.len());
                assert_eq!(all(refined), kept);
            }
        }
    }

    #[test]
    fn an_error_ends_what_is_there() {
        for lengths in [&[6][..], &[1, 5], &[2, 3, 1], &[1, 1, 1, 1, 1, 1]] {
            for end in 0..WORDS.len() {
                let (mut refined, mut next) = (runs(lengths), 0);
                let result = refined.refine(|_| {
                    next += 1;
                    if next > end { Err(next) } else { Ok(Some(0)) }
                });
                assert_eq!(result, Err(end + 1), "nothing after it is looked at");
                assert!(refined.runs.len() <= end);
                assert_eq!(all(refined), WORDS[..end]);
            }
        }
    }

    #[test]
    fn a_run_is_kept_alive_until_its_last_payload_is_taken_and_no_longer() {
        let block = Bytes::from(vec![7; 64]);
        let mut runs = Runs::default();
        [0..10, 10..20, 20..20].into_iter().for_each(|part| runs.push_part(part));
        runs.push_run(block.clone());
        drop(runs.pop());
        drop(runs.pop());
        assert!(!block.is_unique());
        let empty = runs.pop().unwrap().into_bytes();
        assert!(block.is_unique() && empty.is_empty(), "that has no memory to keep");
    }
}
