//! The messages, and the books about them. They rest on nothing that the library counts.

use facet::Facet;

use crate::schedule::Random;

/// What both sides send: a number, and bytes that follow from it.
#[derive(Facet, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) payload: Vec<u8>,
}

impl Numbered {
    /// A message to be filled, of `size` bytes.
    pub(crate) fn blank(size: u32) -> Self {
        Self { number: 0, payload: vec![0; size as usize] }
    }

    /// Makes this message number `number` of those with this `salt`.
    pub(crate) fn fill(&mut self, salt: u64, number: u64) {
        self.number = number;
        let mut random = Random(number ^ salt);
        for chunk in self.payload.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// What became of the messages of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages that came, whatever they were.
    pub(crate) received: u64,
    /// Messages that never came as they were sent.
    pub(crate) lost: u64,
    /// Messages that came once more.
    pub(crate) duplicated: u64,
    /// Messages that came after one that was sent later.
    pub(crate) out_of_order: u64,
    /// Messages that nobody sent so. Each leaves a gap, so it shows among the lost ones as well.
    pub(crate) damaged: u64,
}

/// Compares the messages of one direction with those that were sent.
#[derive(Debug)]
pub(crate) struct Checker {
    messages: u64,
    salt: u64,
    expected: Numbered,
    /// A bit for each message that came.
    seen: Vec<u64>,
    distinct: u64,
    highest: Option<u64>,
    tally: Tally,
}

impl Checker {
    /// Expects `messages` messages of `size` bytes with this `salt`.
    pub(crate) fn new(messages: u64, size: u32, salt: u64) -> Self {
        let words = usize::try_from(messages.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            messages,
            salt,
            expected: Numbered::blank(size),
            seen: vec![0; words],
            distinct: 0,
            highest: None,
            tally: Tally::default(),
        }
    }

    /// Takes a message down.
    pub(crate) fn check(&mut self, message: &Numbered) {
        self.tally.received += 1;
        self.expected.fill(self.salt, message.number);
        if message.number >= self.messages || *message != self.expected {
            self.tally.damaged += 1;
            return;
        }
        let bit = 1 << (message.number % 64);
        let Some(word) =
            usize::try_from(message.number / 64).ok().and_then(|i| self.seen.get_mut(i))
        else {
            return;
        };
        if *word & bit != 0 {
            self.tally.duplicated += 1;
            return;
        }
        *word |= bit;
        self.distinct += 1;
        if self.highest.is_some_and(|highest| message.number < highest) {
            self.tally.out_of_order += 1;
        }
        self.highest = self.highest.max(Some(message.number));
    }

    /// How many of the messages came.
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct
    }

    /// The result, if nothing more comes and `sent` messages were sent.
    pub(crate) fn tally(&self, sent: u64) -> Tally {
        Tally { lost: sent.saturating_sub(self.distinct), ..self.tally }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 42;

    fn message(number: u64) -> Numbered {
        let mut message = Numbered::blank(13);
        message.fill(SALT, number);
        message
    }

    fn tally(messages: impl IntoIterator<Item = Numbered>) -> Tally {
        let mut checker = Checker::new(100, 13, SALT);
        messages.into_iter().for_each(|message| checker.check(&message));
        checker.tally(100)
    }

    #[track_caller]
    fn check(numbers: impl IntoIterator<Item = u64>, expected: Tally) {
        assert_eq!(tally(numbers.into_iter().map(message)), expected);
    }

    #[test]
    fn all_messages_in_order_are_without_fault() {
        check(0..100, Tally { received: 100, ..Tally::default() });
    }

    #[test]
    fn a_loss_is_reported() {
        check((0..100).filter(|&n| n != 64), Tally { received: 99, lost: 1, ..Tally::default() });
        check(0..97, Tally { received: 97, lost: 3, ..Tally::default() });
    }

    #[test]
    fn what_was_never_sent_is_not_lost() {
        let mut checker = Checker::new(100, 13, SALT);
        (0..7).map(message).for_each(|message| checker.check(&message));
        assert_eq!(checker.tally(9), Tally { received: 7, lost: 2, ..Tally::default() });
        assert_eq!(checker.tally(7), Tally { received: 7, ..Tally::default() });
    }

    #[test]
    fn a_duplicate_is_reported() {
        let twice = (0..100).flat_map(|n| std::iter::repeat_n(n, if n == 63 { 2 } else { 1 }));
        check(twice, Tally { received: 101, duplicated: 1, ..Tally::default() });
        let late = (0..100).chain([0]);
        check(late, Tally { received: 101, duplicated: 1, ..Tally::default() });
    }

    #[test]
    fn a_swap_is_reported() {
        let mut numbers: Vec<_> = (0..100).collect();
        numbers.swap(10, 11);
        check(numbers, Tally { received: 100, out_of_order: 1, ..Tally::default() });
    }

    #[test]
    fn a_loss_and_a_duplicate_do_not_make_up_for_each_other() {
        let numbers = (0..100).map(|n| if n == 50 { 49 } else { n });
        check(numbers, Tally { received: 100, lost: 1, duplicated: 1, ..Tally::default() });
    }

    #[test]
    fn a_damaged_message_is_a_loss() {
        let damaged = Tally { received: 100, lost: 1, damaged: 1, ..Tally::default() };
        let with = |wrong: Numbered| {
            tally((0..100).map(|n| if n == 7 { wrong.clone() } else { message(n) }))
        };
        let mut flipped = message(7);
        flipped.payload[12] ^= 1;
        assert_eq!(with(flipped), damaged);
        assert_eq!(with(Numbered { payload: message(7).payload[..12].into(), number: 7 }), damaged);
        assert_eq!(with(message(100)), damaged, "a number that was never sent");
        assert_eq!(with(Numbered { number: 7, ..message(8) }), damaged);
    }
}
