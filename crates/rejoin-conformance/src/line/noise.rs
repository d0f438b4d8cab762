//! What a cable does to bytes. A pure function of the noise that was asked for, its seed and the
//! bytes; it knows neither time nor terminals.

use std::collections::VecDeque;

/// Noise on a line.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Noise {
    /// How likely each byte is harmed: half of those harmed have a bit flipped, a quarter is lost,
    /// and before a quarter another byte is inserted.
    pub byte_error_rate: f64,
    /// What the noise follows from.
    pub seed: u64,
}

/// Harm at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The bits of a byte that are set here are flipped.
    Flip(u8),
    /// So many bytes are lost.
    Lose(u64),
    /// These bytes come in between.
    Insert(Vec<u8>),
    /// A byte is a zero, as a break reads.
    Break,
}

/// The noise of one direction at work.
#[derive(Debug, Default)]
pub(super) struct Harm {
    noise: Noise,
    random: u64,
    /// Harm that was ordered, with how many bytes go before it.
    ordered: VecDeque<(u64, Damage)>,
}

impl Harm {
    pub(super) fn set_noise(&mut self, noise: Noise) {
        self.noise = noise;
        self.random = noise.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    pub(super) fn order(&mut self, after: u64, damage: Damage) {
        self.ordered.push_back((after, damage));
    }

    /// What arrives of `bytes`.
    pub(super) fn apply(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut arrives = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if let Some(byte) = self.order_applied(byte, &mut arrives) {
                self.noise_applied(byte, &mut arrives);
            }
        }
        arrives
    }

    fn order_applied(&mut self, byte: u8, arrives: &mut Vec<u8>) -> Option<u8> {
        let Some((after, damage)) = self.ordered.front_mut() else { return Some(byte) };
        if *after > 0 {
            *after -= 1;
            return Some(byte);
        }
        let (result, is_over) = match damage {
            Damage::Flip(bits) => (Some(byte ^ *bits), true),
            Damage::Break => (Some(0), true),
            Damage::Lose(count) => {
                *count = count.saturating_sub(1);
                (None, *count == 0)
            }
            Damage::Insert(bytes) => {
                arrives.append(bytes);
                (Some(byte), true)
            }
        };
        if is_over {
            self.ordered.pop_front();
        }
        result
    }

    fn noise_applied(&mut self, byte: u8, arrives: &mut Vec<u8>) {
        if self.noise.byte_error_rate <= 0.0 || self.fraction() >= self.noise.byte_error_rate {
            return arrives.push(byte);
        }
        match self.next() % 4 {
            0 => {}
            1 => arrives.extend([self.next().to_le_bytes()[0], byte]),
            _ => arrives.push(byte ^ (1 << (self.next() % 8))),
        }
    }

    /// From 0 to 1, without 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 3) as f64 / (1_u64 << 53) as f64
    }

    /// 56 random bits.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_that_was_ordered_is_done_at_its_place() {
        let mut harm = Harm::default();
        harm.order(2, Damage::Insert(vec![9, 9]));
        harm.order(0, Damage::Flip(1));
        harm.order(1, Damage::Lose(2));
        harm.order(0, Damage::Break);
        assert_eq!(harm.apply(&[0, 1, 2, 3]), [0, 1, 9, 9, 2, 2]);
        assert_eq!(harm.apply(&[4, 5, 6, 7, 8]), [4, 0, 8]);
    }

    #[test]
    fn noise_harms_as_many_bytes_as_it_says_and_the_same_for_the_same_seed() {
        let noise = Noise { byte_error_rate: 0.01, seed: 7 };
        let run = || {
            let mut harm = Harm::default();
            harm.set_noise(noise);
            harm.apply(&[0; 100_000])
        };
        let arrives = run();
        let flipped = arrives.iter().filter(|byte| **byte != 0).count();
        assert!((600..900).contains(&flipped), "{flipped} of 100 000 bytes are not as sent");
        assert_eq!(arrives, run());
    }
}
