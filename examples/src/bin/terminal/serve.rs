//! The server: a shell for each session, for as long as that lives.

use std::io::{self, Write};
use std::time::Duration;

use rejoin_tcp::protocol::{CloseReason, RejectReason};
use rejoin_tcp::{
    Candidate, ListenerConfig, ListenerSet, RecvError, StableConduit, StableListener, StableRx,
    StableTx,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::address::Address;
use crate::message::{CHUNK_BYTES, Message, settings};
use crate::shell::{Shell, code, native};
use crate::{Failure, with_causes};

/// How many shells there may be at a time.
const SHELLS_MAX: usize = 16;

/// How long a client may take to say what it wants.
const START_WITHIN: Duration = Duration::from_secs(10);

/// How long the terminal of a shell that has exited may be silent until it is closed. Only a program
/// that the shell has left behind keeps it open at all.
const QUIET_AFTER_EXIT: Duration = Duration::from_secs(1);

/// Ctrl-D, which ends the input of what reads a terminal line by line.
const END_OF_INPUT: u8 = 4;

/// Serves shells until the process is killed.
pub(crate) async fn run(address: &Address) -> Result<(), Failure> {
    let (listener, address) = address.listen().await?;
    if address.is_open_to_the_network() {
        let warning = "warning: whoever can reach this address gets a shell, and can read yours";
        let _ = writeln!(io::stderr(), "{warning}");
    }
    writeln!(io::stdout(), "listening on {address}")?;
    serve(listener, address).await
}

/// Serves shells to those who come to `listener`.
pub(crate) async fn serve(listener: ListenerSet, address: Address) -> Result<(), Failure> {
    let mut config = ListenerConfig::default();
    config.conduit = settings();
    config.sessions_max = SHELLS_MAX;
    config.buffered_bytes_max = 16 << 20;
    let is_unix = matches!(address, Address::Unix(_));
    let this_user = format!("uid={}", rustix::process::geteuid().as_raw());
    // The mode of a socket's file keeps others out, but not on every system, and not the superuser.
    let admit = move |candidate: &Candidate<'_>| match candidate.peer.identity() {
        Some(user) if is_unix && user == this_user => Ok(()),
        _ if is_unix => Err(RejectReason::Forbidden),
        _ => Ok(()),
    };
    let mut sessions = StableListener::with_admission(listener, config, admit)?;
    loop {
        let conduit = sessions.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = attend(conduit).await {
                let _ = writeln!(io::stderr(), "a session has failed: {}", with_causes(&*error));
            }
        });
    }
}

/// Runs the shell of one session.
async fn attend(conduit: StableConduit<Message>) -> Result<(), Failure> {
    let (tx, mut rx) = conduit.split();
    let started =
        timeout(START_WITHIN, rx.recv()).await.map_err(|_| "the client says nothing")??;
    let shell = match started.as_deref() {
        Some(Message::Start { command, term, size }) => Shell::start(command, term, *size),
        None => return Ok(()),
        Some(_) => return Err("the client does not begin with what it wants to run".into()),
    };
    let shell = match shell {
        Ok(shell) => shell,
        Err(error) => {
            let reason = CloseReason::new(1, format!("that cannot be run: {error}"));
            return Ok(tx.close_with(reason).await?);
        }
    };
    let Shell { mut process, output, input } = shell;
    let ended = tokio::select! {
        printed = print(output, &mut process, &tx) => printed,
        // The client has left.
        typed = pass_typed(&mut rx, input) => typed.map(|()| None),
    };
    // Its terminal is gone, and it is waited for, so that nothing of it is left. No error if it had ended.
    let _ = process.kill().await;
    if let Some(exit_code) = ended? {
        tx.send(&Message::Exited(exit_code)).await?;
        // A close waits for some seconds only, and the client may be away for hours.
        tx.flush_acked().await?;
    }
    Ok(tx.close().await?)
}

/// Sends what the shell prints until it has ended; gives its exit code.
///
/// Nothing is read from the terminal while the message before waits for room: so the shell waits, too.
async fn print(
    mut output: pty_process::OwnedReadPty,
    process: &mut tokio::process::Child,
    tx: &StableTx<Message>,
) -> Result<Option<u8>, Failure> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut exited = None;
    loop {
        let read = match exited {
            None => tokio::select! {
                // What was printed before the exit is read, too, but not at the price of missing it.
                read = output.read(&mut chunk) => read,
                status = process.wait() => {
                    exited = Some(code(status?));
                    continue;
                }
            },
            Some(_) => match timeout(QUIET_AFTER_EXIT, output.read(&mut chunk)).await {
                Ok(read) => read,
                Err(_elapsed) => return Ok(exited),
            },
        };
        match read {
            // Linux has an error for a terminal whose programs have all ended.
            Ok(0) | Err(_) => break,
            Ok(count) => drop(tx.send(&Message::Printed(chunk[..count].to_vec())).await?),
        }
    }
    match exited {
        None => Ok(Some(code(process.wait().await?))),
        exited => Ok(exited),
    }
}

/// Gives the shell what is typed, until the client leaves.
async fn pass_typed(
    rx: &mut StableRx<Message>,
    mut input: pty_process::OwnedWritePty,
) -> Result<(), Failure> {
    loop {
        let message = match rx.recv().await {
            Ok(Some(message)) => message,
            // It was away for too long.
            Ok(None) | Err(RecvError::Lost(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let passed = match &*message {
            Message::Typed(bytes) => input.write_all(bytes).await,
            Message::TypedAll => input.write_all(&[END_OF_INPUT]).await,
            Message::Resized(size) => {
                input.resize(native(*size))?;
                Ok(())
            }
            _ => return Err("the client says what only a server says".into()),
        };
        if passed.is_err() {
            // The shell has ended, which is told elsewhere; that is no reason to leave.
            std::future::pending::<()>().await;
        }
    }
}
