//! The child: carries bytes between its standard input and output and a server, and understands none
//! of them. It is what `ssh` starts on the other machine.
//!
//! Each direction ends by itself, as a closed one says nothing about the other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process;
use std::thread;

const BUFFER_BYTES: usize = 64 * 1024;

/// Carries bytes until both directions have ended. A failure of either ends the process, which
/// both ends notice.
pub(crate) fn run(to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    server.set_nodelay(true)?;
    let upward = server.try_clone()?;
    let up = thread::spawn(move || {
        let carried = carry(io::stdin().lock(), &upward);
        if carried.and_then(|()| upward.shutdown(Shutdown::Write)).is_err() {
            process::exit(1);
        }
    });
    if carry(&server, io::stdout().lock()).and_then(|()| end_output()).is_err() {
        process::exit(1);
    }
    up.join().map_err(|_| io::Error::other("a direction has panicked"))
}

/// Passes on what is read, at once, until its end.
fn carry(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Ends the output while the input goes on.
#[cfg(unix)]
fn end_output() -> io::Result<()> {
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nowhere)?)
}

/// Elsewhere the output ends with the process, so the input ends as well.
#[cfg(not(unix))]
fn end_output() -> io::Result<()> {
    process::exit(0)
}
