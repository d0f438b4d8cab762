//! What a device or a gateway tells about itself, a line each: for people, and for the story, which
//! reads the lines of its two processes.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use rejoin_serial::Status;
use tokio::sync::watch;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A session has begun.
    Session,
    /// It goes on over this link, counted from 1.
    Link(u64),
    /// It has no link.
    Away(String),
    /// It is lost.
    Lost(String),
    /// The table has so many rows now, and so many readings came again since the gateway was started.
    Stored { rows: u64, repeats: u64 },
    /// The gateway has so many readings, and the device will take no more.
    Delivered(u64),
}

impl Event {
    /// Prints it. When nobody reads any more, that is an error: there is no other way to see this
    /// program work.
    pub(crate) fn tell(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{self}")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => f.write_str("session"),
            Self::Link(number) => write!(f, "link {number}"),
            Self::Away(cause) => write!(f, "away {cause}"),
            Self::Lost(cause) => write!(f, "lost {cause}"),
            Self::Stored { rows, repeats } => write!(f, "stored {rows} {repeats}"),
            Self::Delivered(count) => write!(f, "delivered {count}"),
        }
    }
}

/// No line of this program.
#[derive(Debug)]
pub(crate) struct NotAnEvent;

impl FromStr for Event {
    type Err = NotAnEvent;

    fn from_str(line: &str) -> Result<Self, NotAnEvent> {
        let number = |text: &str| text.parse().map_err(|_| NotAnEvent);
        Ok(match line.split_once(' ').unwrap_or((line, "")) {
            ("session", "") => Self::Session,
            ("link", count) => Self::Link(number(count)?),
            ("away", cause) => Self::Away(cause.to_owned()),
            ("lost", cause) => Self::Lost(cause.to_owned()),
            ("stored", counts) => {
                let (rows, repeats) = counts.split_once(' ').ok_or(NotAnEvent)?;
                Self::Stored { rows: number(rows)?, repeats: number(repeats)? }
            }
            ("delivered", count) => Self::Delivered(number(count)?),
            _ => return Err(NotAnEvent),
        })
    }
}

/// Tells how a session fares, until it has ended.
pub(crate) fn tell_of(mut status: watch::Receiver<Status>) {
    tokio::spawn(async move {
        let mut told = None;
        loop {
            let event = match &*status.borrow_and_update() {
                Status::Connected { generation, .. } => Some(Event::Link(*generation)),
                Status::Suspended { cause, .. } => Some(Event::Away(cause.to_string())),
                Status::Lost(reason) => Some(Event::Lost(reason.to_string())),
                _ => None,
            };
            // Each attempt changes the status: what matters is that there is no link.
            let is_news = match (&told, &event) {
                (Some(Event::Away(_)), Some(Event::Away(_))) | (_, None) => false,
                _ => told != event,
            };
            if is_news {
                if event.as_ref().is_some_and(|event| event.tell().is_err()) {
                    return;
                }
                told = event;
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_understands_what_is_told() {
        for event in [
            Event::Session,
            Event::Link(7),
            Event::Away("the peer is silent".to_owned()),
            Event::Lost("the peer was restarted".to_owned()),
            Event::Stored { rows: 12, repeats: 3 },
            Event::Delivered(12),
        ] {
            assert_eq!(event.to_string().parse::<Event>().unwrap(), event);
        }
        assert!("stored many".parse::<Event>().is_err());
    }
}
