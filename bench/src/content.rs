//! The messages that are sent, and the check that they are those that arrive. Every side of every
//! case makes and checks them in the same way, so that none has less to do.

use crate::Failure;

/// How many messages, and how long each is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages {
    pub(crate) count: u64,
    pub(crate) bytes: usize,
}

impl Messages {
    /// A message that has yet to get its number.
    pub(crate) fn blank(self) -> Vec<u8> {
        vec![0x5a; self.bytes]
    }

    /// Checks that `message` is the one with this number.
    pub(crate) fn check(self, number: u64, message: &[u8]) -> Result<(), Failure> {
        let begins =
            message.first_chunk().is_some_and(|first| u64::from_le_bytes(*first) == number);
        if begins && message.len() == self.bytes {
            return Ok(());
        }
        Err(format!("message {number} of {} bytes is not what was sent", message.len()).into())
    }
}

/// Makes `message` the one with this number.
pub(crate) fn stamp(message: &mut [u8], number: u64) {
    message[..8].copy_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_that_was_sent_passes() {
        let messages = Messages { count: 2, bytes: 64 };
        let mut message = messages.blank();
        stamp(&mut message, 1);
        assert!(messages.check(1, &message).is_ok());
        assert!(messages.check(0, &message).is_err());
        assert!(messages.check(1, &message[..63]).is_err());
        assert!(messages.check(1, &message[..7]).is_err());
    }
}
