//! The options of a serial port and of the links on it, and what suits a line of their speed.

use std::time::Duration;

use rejoin_core::StableConfig;
use rejoin_stream::CobsConfig;
use tokio_serial::{DataBits, FlowControl, Parity, StopBits};

use crate::error::SerialError;

/// Options of a serial port and of the links on it.
///
/// Both ends of a line need the same ones, but for `dtr`, `rts` and `hang_up_on_close`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SerialConfig {
    /// How many bits a second; 115 200 by default.
    pub baud_rate: u32,
    /// How many data bits a character has; eight by default. Fewer cannot carry bytes and are
    /// refused.
    pub data_bits: DataBits,
    /// The parity bit; none by default. The frames have a better check.
    pub parity: Parity,
    /// How many stop bits a character has; one by default.
    pub stop_bits: StopBits,
    /// How the receiver holds the sender up; not at all by default. With software flow control the
    /// bytes XON and XOFF are kept out of the frames.
    pub flow_control: FlowControl,
    /// What to do with DTR when the port is opened; [`ControlLine::Leave`] by default.
    pub dtr: ControlLine,
    /// What to do with RTS when the port is opened; [`ControlLine::Leave`] by default. Hardware flow
    /// control has RTS for itself.
    pub rts: ControlLine,
    /// Whether the system drops DTR and RTS when the port is closed; it does not by default, so that
    /// a board is not reset by the program's next start. Of no effect on Windows.
    pub hang_up_on_close: bool,
    /// How long one attempt waits for a port that is not there; 2 s by default. The caller may make
    /// any number of attempts.
    pub port_wait: Duration,
    /// The largest payload, in bytes; by default what [`stable_config`](Self::stable_config) has
    /// for messages, and 64 more for the head of their frames.
    pub payload_bytes_max: usize,
}

/// What becomes of a modem control line when the port is opened.
///
/// Many boards are wired so that a change of DTR or RTS resets them, or makes them stay in their
/// boot loader. This crate touches the lines only where it is told to, and only once: the port stays
/// open however many links come and go.
///
/// Linux and macOS assert both lines by themselves when a port is opened on which they are not
/// asserted yet, before any program has a say. What can be done about that is that they stay asserted
/// once the port is closed: see [`hang_up_on_close`](SerialConfig::hang_up_on_close). Then only the
/// first opening after the adapter was plugged in changes them.
///
/// A port without such lines, as a pseudo-terminal is one, is used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ControlLine {
    /// As the system has it.
    #[default]
    Leave,
    /// On.
    Assert,
    /// Off.
    Release,
    /// Off for this long, then on: resets the usual board.
    Pulse(Duration),
}

impl Default for SerialConfig {
    fn default() -> Self {
        Self::new(115_200)
    }
}

impl SerialConfig {
    /// The defaults for a line of `baud_rate`.
    #[must_use]
    pub fn new(baud_rate: u32) -> Self {
        let mut config = Self {
            baud_rate,
            data_bits: DataBits::Eight,
            parity: Parity::None,
            stop_bits: StopBits::One,
            flow_control: FlowControl::None,
            dtr: ControlLine::Leave,
            rts: ControlLine::Leave,
            hang_up_on_close: false,
            port_wait: Duration::from_secs(2),
            payload_bytes_max: 0,
        };
        config.payload_bytes_max = config.message_bytes_max() + FRAME_HEAD_BYTES;
        config
    }

    /// Settings for a conduit over this line.
    ///
    /// The log and the window hold what the line carries in two seconds, within 8 KiB and 4 MiB, and
    /// a message is at most what it carries in one, within 1 KiB and 1 MiB. A peer is dead after
    /// four pings without an answer, and has longer on a line that needs longer for what may be on
    /// its way. A line has one caller, so redials are not spread over time.
    ///
    /// ```
    /// use rejoin_serial::SerialConfig;
    ///
    /// let config = SerialConfig::new(9600).stable_config();
    /// assert_eq!(config.send_log_bytes_max, 8 << 10);
    /// assert_eq!(config.message_bytes_max, 1 << 10);
    /// ```
    #[must_use]
    pub fn stable_config(&self) -> StableConfig {
        let mut config = StableConfig::default();
        let two_seconds = self.bytes_per_second() as usize * 2;
        config.message_bytes_max = self.message_bytes_max();
        config.send_log_bytes_max = two_seconds.clamp(8 << 10, 4 << 20);
        config.inbox_bytes_max = config.send_log_bytes_max;
        config.ack_messages_max = 32;
        config.ack_delay = self.time_of(512).max(Duration::from_millis(50));
        config.ping_interval = Duration::from_secs(2) + self.time_of(1024);
        config.peer_dead_after = 4 * config.ping_interval;
        config.handshake_deadline = self.hello_deadline();
        config.redial.backoff_min = Duration::from_millis(50);
        config.redial.backoff_max = Duration::from_secs(1);
        config.redial.attempt_deadline = self.port_wait + self.hello_deadline();
        config.redial.connect_limit = Duration::from_secs(30);
        config
    }

    /// Refuses what can never work.
    pub(crate) fn validate(&self) -> Result<(), SerialError> {
        let refused = |reason| Err(SerialError::Settings { reason });
        if self.baud_rate == 0 {
            return refused("the baud rate is zero");
        }
        if self.data_bits != DataBits::Eight {
            return refused("characters of fewer than eight bits cannot carry bytes");
        }
        if self.flow_control == FlowControl::Hardware && self.rts != ControlLine::Leave {
            return refused("RTS belongs to the hardware flow control");
        }
        if self.payload_bytes_max < FRAME_HEAD_BYTES {
            return refused("the largest payload cannot hold a hello");
        }
        Ok(())
    }

    pub(crate) fn line(&self) -> CobsConfig {
        let mut line = CobsConfig::default();
        line.payload_bytes_max = self.payload_bytes_max;
        line.bytes_per_second = self.bytes_per_second();
        // What the system may have queued delays what is urgent, and is in vain when a link dies.
        line.output_queue_bytes_max = (self.bytes_per_second() as usize / 20).clamp(256, 64 << 10);
        line.repeat_after = Duration::from_millis(50) + self.time_of(64);
        line.escape_flow_control = self.flow_control == FlowControl::Software;
        line
    }

    /// How long the peer has for its hello. Another program's output may be in the system's buffer
    /// at the other end.
    pub(crate) fn hello_deadline(&self) -> Duration {
        Duration::from_secs(2) + self.time_of(8 << 10)
    }

    /// How many bytes the line carries in a second.
    fn bytes_per_second(&self) -> u32 {
        let parity = u32::from(self.parity != Parity::None);
        let stop = if self.stop_bits == StopBits::Two { 2 } else { 1 };
        (self.baud_rate / (1 + 8 + parity + stop)).max(1)
    }

    fn message_bytes_max(&self) -> usize {
        (self.bytes_per_second() as usize).clamp(1 << 10, 1 << 20)
    }

    fn time_of(&self, bytes: u32) -> Duration {
        Duration::from_secs(bytes.into()) / self.bytes_per_second()
    }
}

/// What a payload may have besides a message, and more than a hello has.
const FRAME_HEAD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_speed_has_settings_that_are_valid() {
        for baud_rate in [1, 50, 300, 9600, 115_200, 921_600, 12_000_000, u32::MAX] {
            let config = SerialConfig::new(baud_rate);
            config.validate().unwrap();
            let stable = config.stable_config();
            stable.validate().unwrap();
            assert!(stable.message_bytes_max + 11 <= config.payload_bytes_max, "{baud_rate}");
        }
    }

    #[test]
    fn a_second_of_the_line_counts_all_bits_of_a_character() {
        let mut config = SerialConfig::new(115_200);
        assert_eq!(config.bytes_per_second(), 11_520);
        config.parity = Parity::Even;
        config.stop_bits = StopBits::Two;
        assert_eq!(config.bytes_per_second(), 9600);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |change: fn(&mut SerialConfig)| {
            let mut config = SerialConfig::default();
            change(&mut config);
            config.validate().is_err()
        };
        assert!(!refused(|_| {}));
        assert!(refused(|config| config.baud_rate = 0));
        assert!(refused(|config| config.data_bits = DataBits::Seven));
        assert!(refused(|config| config.payload_bytes_max = 24));
        assert!(refused(|config| {
            config.flow_control = FlowControl::Hardware;
            config.rts = ControlLine::Assert;
        }));
    }
}
