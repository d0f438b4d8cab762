//! Which listener of a set is asked when, and what becomes of those that fail.

use std::future::{Ready, ready};

use tokio::sync::mpsc;

use super::*;
use crate::link::{Link, Peer, SplitLink};
use crate::memory::{MemoryConfig, MemoryRx, MemoryTx, memory_link_pair};

type NamedLink = SplitLink<MemoryTx, MemoryRx>;

/// Says what it is told to say.
struct Scripted(mpsc::UnboundedReceiver<Result<&'static str, io::ErrorKind>>);

type Says = mpsc::UnboundedSender<Result<&'static str, io::ErrorKind>>;

#[expect(clippy::disallowed_methods, reason = "a test says little")]
fn scripted() -> (Says, Scripted) {
    let (says, says_what) = mpsc::unbounded_channel();
    (says, Scripted(says_what))
}

impl LinkListener for Scripted {
    type Link = NamedLink;
    type Upgrade = Ready<io::Result<NamedLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let name = self.0.recv().await.expect("the test goes on")?;
        let (tx, rx) = memory_link_pair(MemoryConfig::default()).0.split();
        Ok(ready(Ok(SplitLink::new(tx, rx, Peer::at(name)))))
    }
}

async fn accept(set: &mut ListenerSet) -> Result<String, io::ErrorKind> {
    let upgrade = LinkListener::accept(set).await.map_err(|error| error.kind())?;
    let link = upgrade.await.map_err(|error| error.kind())?;
    Ok(link.peer().to_string())
}

#[tokio::test]
async fn all_are_asked_in_turn() {
    let ((cable_says, cable), (radio_says, radio)) = (scripted(), scripted());
    let mut set = ListenerSet::new(cable).and(radio);
    for _ in 0..10 {
        cable_says.send(Ok("cable")).expect("it listens");
    }
    radio_says.send(Ok("radio")).expect("it listens");
    assert_eq!(accept(&mut set).await, Ok("cable".to_owned()));
    assert_eq!(accept(&mut set).await, Ok("radio".to_owned()), "before the cable's next");
    assert_eq!(accept(&mut set).await, Ok("cable".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_holds_up_nobody_and_is_tried_again() {
    let ((cable_says, cable), (radio_says, radio)) = (scripted(), scripted());
    let mut set = ListenerSet::new(cable).and(radio);
    let start = Instant::now();
    cable_says.send(Err(io::ErrorKind::OutOfMemory)).expect("it listens");
    cable_says.send(Ok("cable")).expect("it listens");
    for _ in 0..5 {
        radio_says.send(Ok("radio")).expect("it listens");
        assert_eq!(accept(&mut set).await, Ok("radio".to_owned()));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(accept(&mut set).await, Ok("cable".to_owned()));
    assert!(start.elapsed() >= RETRY_DELAY);
}

#[tokio::test(start_paused = true)]
async fn it_fails_for_good_with_the_last_one() {
    let ((cable_says, cable), (radio_says, radio)) = (scripted(), scripted());
    let mut set = ListenerSet::new(cable).and(radio);
    cable_says.send(Err(io::ErrorKind::PermissionDenied)).expect("it listens");
    radio_says.send(Ok("radio")).expect("it listens");
    assert_eq!(accept(&mut set).await, Ok("radio".to_owned()));
    radio_says.send(Err(io::ErrorKind::OutOfMemory)).expect("it listens");
    assert_eq!(accept(&mut set).await, Err(io::ErrorKind::OutOfMemory), "left to the caller");
    radio_says.send(Ok("radio")).expect("it listens");
    assert_eq!(accept(&mut set).await, Ok("radio".to_owned()));
    radio_says.send(Err(io::ErrorKind::Unsupported)).expect("it listens");
    assert_eq!(accept(&mut set).await, Err(io::ErrorKind::Unsupported));
    assert_eq!(accept(&mut set).await, Err(io::ErrorKind::Unsupported), "now and ever after");
}
