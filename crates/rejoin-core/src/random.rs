//! Randomness from the operating system.

use crate::protocol::ResumeKey;

/// A fresh key.
pub(crate) fn key() -> ResumeKey {
    let mut bytes = [0; 16];
    // Without randomness no key is safe; the systems that rejoin runs on never lack it.
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    ResumeKey::from_bytes(bytes)
}

/// A uniformly random number.
pub(crate) fn number() -> u32 {
    getrandom::u32().expect("the operating system has randomness")
}
