//! What is measured. There is no sensor: a reading follows from its number, so that whoever has the
//! table can tell whether it is right.

use std::time::SystemTime;

use facet::Facet;

/// One reading, as it travels and as it is stored.
#[derive(Facet, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Its own number, from 0 and without gaps, also across restarts of the device. Not the position of
    /// a message, which begins anew with each session.
    pub(crate) number: u64,
    /// When it was taken, in milliseconds since 1970.
    pub(crate) taken_at_ms: u64,
    /// The temperature, in thousandths of a degree Celsius.
    pub(crate) millidegrees: i32,
}

impl Reading {
    /// Takes a reading now.
    pub(crate) fn take(number: u64) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let taken_at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { number, taken_at_ms, millidegrees: millidegrees(number) }
    }
}

/// The temperature at reading `number`, which goes up and down.
pub(crate) fn millidegrees(number: u64) -> i32 {
    let phase = i32::try_from(number % 2000).expect("it is less than 2000");
    18_000 + 5 * (phase - 1000).abs()
}
