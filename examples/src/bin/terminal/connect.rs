//! The client: what is typed goes to the shell, what the shell prints comes here.

use std::io::{self, Read, Write};
use std::time::Duration;

use rejoin_tcp::{StableConduit, StableRx, StableTx, Status};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::address::Address;
use crate::escape::{Escape, Typed};
use crate::message::{CHUNK_BYTES, Message, settings};
use crate::tty::{RawMode, window_size};
use crate::{Failure, UNKNOWN, notice};

/// How many reads of standard input may wait to be sent.
const READS_WAITING: usize = 4;

/// How long the server may take to hear that this end leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// How a visit has ended.
enum Ended {
    /// The shell has, with this code.
    Exited(u8),
    /// The server has closed, and there was no shell.
    Refused,
    /// The user has left.
    Left,
}

/// Runs `command` there, or a shell; gives its exit code.
pub(crate) async fn run(address: &Address, command: &[String], quiet: bool) -> Result<u8, Failure> {
    let conduit = StableConduit::<Message>::connect_with(address.source(), settings()).await?;
    let mut status = conduit.status();
    let (tx, mut rx) = conduit.split();
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let start = Message::Start { command: command.to_vec(), term, size: window_size() };
    tx.send(&start).await?;
    if !quiet {
        tokio::spawn(notice::say(status.clone()));
    }
    let raw = RawMode::begin()?;
    let ended = tokio::select! {
        ended = print(&mut rx) => ended,
        left = pass_typed(&tx, raw.is_some()) => left,
    };
    drop(raw);
    // Whether or not the server hears of it now: it has nothing more to say.
    let leave = async {
        let _ = tx.close().await;
        // The reason that the server gave is there with the end, a moment later.
        let _ = status.wait_for(Status::is_final).await;
    };
    let _ = timeout(LEAVE_WITHIN, leave).await;
    match ended? {
        Ended::Exited(code) => Ok(code),
        Ended::Left => Ok(UNKNOWN),
        Ended::Refused => Err(reason(&status.borrow()).into()),
    }
}

/// Prints what the shell prints, until the server has closed.
///
/// While standard output takes nothing, nothing is received; and when so much has come that the inbox
/// is full, the shell has to wait.
async fn print(rx: &mut StableRx<Message>) -> Result<Ended, Failure> {
    let mut ended = Ended::Refused;
    while let Some(message) = rx.recv().await? {
        match &*message {
            Message::Printed(bytes) => {
                let printed = tokio::task::block_in_place(|| {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(bytes).and_then(|()| stdout.flush())
                });
                printed.map_err(|error| format!("the output could not be written: {error}"))?;
            }
            Message::Exited(code) => ended = Ended::Exited(*code),
            _ => return Err("the server says what only a client says".into()),
        }
    }
    Ok(ended)
}

/// Passes on what is typed and how large the window is, until the user wants to leave.
async fn pass_typed(tx: &StableTx<Message>, is_terminal: bool) -> Result<Ended, Failure> {
    let mut typed = read_stdin(is_terminal);
    let mut resized = signal(SignalKind::window_change())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut has_input = true;
    loop {
        let message = tokio::select! {
            typed = typed.recv(), if has_input => match typed {
                Some(Typed { bytes, leave }) => {
                    // Somebody is there: that is a good moment to look for the network.
                    tx.reconnect_now();
                    if leave {
                        // What came before is for the shell, if there is room for it.
                        let _ = tx.try_send(&Message::Typed(bytes));
                        return Ok(Ended::Left);
                    }
                    Message::Typed(bytes)
                }
                None => {
                    has_input = false;
                    Message::TypedAll
                }
            },
            _ = resized.recv() => Message::Resized(window_size()),
            _ = terminated.recv() => return Ok(Ended::Left),
            _ = hung_up.recv() => return Ok(Ended::Left),
        };
        tx.send(&message).await?;
    }
}

/// Reads standard input on a thread of its own, which nobody waits for: such a read cannot be cancelled.
fn read_stdin(is_terminal: bool) -> mpsc::Receiver<Typed> {
    let (tell, typed) = mpsc::channel(READS_WAITING);
    std::thread::spawn(move || {
        let mut escape = Escape::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match io::stdin().read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => return,
                Ok(count) => &chunk[..count],
            };
            // What comes from a file or a program is not typed, and means nothing else than it says.
            let typed = match is_terminal {
                true => escape.filter(read),
                false => Typed { bytes: read.to_vec(), leave: false },
            };
            if tell.blocking_send(typed).is_err() {
                return;
            }
        }
    });
    typed
}

/// Why the server has closed.
fn reason(status: &Status) -> String {
    match status {
        Status::Closed { by_peer: Some(reason) } => reason.text().to_owned(),
        _ => "the server has closed the session".to_owned(),
    }
}
