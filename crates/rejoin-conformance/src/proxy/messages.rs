//! Where messages begin and end in a stream, for links whose messages have a prefix with their length.
//! The bytes are only looked at as they pass.

/// Follows the prefixes of what passes by: four bytes, the least significant first.
#[derive(Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; 4],
    /// How many bytes of the prefix have passed.
    prefix_len: usize,
    /// How many bytes of the payload are to come.
    left: usize,
}

impl Messages {
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            if self.left == 0
                && let Some((first, rest)) = bytes.split_first()
            {
                self.prefix[self.prefix_len] = *first;
                self.prefix_len += 1;
                bytes = rest;
                if self.prefix_len == self.prefix.len() {
                    self.left = u32::from_le_bytes(self.prefix) as usize;
                    self.prefix_len = 0;
                }
            }
        }
    }

    /// Whether a message has ended and none has begun.
    pub(super) fn is_between_two(&self) -> bool {
        self.left == 0 && self.prefix_len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_between_two_messages_only() {
        let stream = [3, 0, 0, 0, 7, 7, 7, 0, 0, 0, 0, 1, 0, 0, 0, 9];
        for step in [1, 2, 5, stream.len()] {
            let (mut messages, mut passed, mut between) = (Messages::default(), 0, vec![]);
            for piece in stream.chunks(step) {
                messages.pass(piece);
                passed += piece.len();
                if messages.is_between_two() {
                    between.push(passed);
                }
            }
            let borders = [7, 11, 16].into_iter().filter(|at| at % step == 0 || *at == 16);
            assert!(borders.eq(between.iter().copied()), "by {step}: {between:?}");
        }
    }
}
