//! Opens a serial port and makes it a medium for a line. Knows no links.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use rejoin_stream::Medium;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::config::{ControlLine, SerialConfig};
use crate::error::SerialError;
use crate::usb::{Devices, UsbPort};

/// Which port a [`SerialSource`](crate::SerialSource) uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortName {
    /// The one with this path, such as `/dev/ttyS0`, or `COM3` on Windows.
    Path(PathBuf),
    /// The one that is this USB device, whatever its path is at the time.
    Usb(UsbPort),
}

impl From<&str> for PortName {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

impl From<String> for PortName {
    fn from(path: String) -> Self {
        Self::Path(path.into())
    }
}

impl From<&Path> for PortName {
    fn from(path: &Path) -> Self {
        Self::Path(path.into())
    }
}

impl From<PathBuf> for PortName {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<UsbPort> for PortName {
    fn from(port: UsbPort) -> Self {
        Self::Usb(port)
    }
}

impl PortName {
    /// Finds the port and opens it; blocks for as long as the system takes. To be called within a
    /// tokio runtime.
    pub(crate) fn open(
        &self,
        devices: &Devices,
        config: &SerialConfig,
    ) -> Result<OpenPort, SerialError> {
        let path = match self {
            Self::Path(path) => path.clone(),
            Self::Usb(port) => port.find(devices)?,
        };
        match open(&path, config) {
            Ok(stream) => Ok(OpenPort { stream, path }),
            Err(source) => Err(SerialError::Open { path, source }),
        }
    }
}

fn open(path: &Path, config: &SerialConfig) -> io::Result<SerialStream> {
    // Until the port is open in its own right: the end of this one would be a close of the port.
    #[cfg(unix)]
    let _prepared = prepare_close(path, config.hang_up_on_close).map_err(final_if_no_terminal)?;
    let builder = tokio_serial::new(path.to_string_lossy(), config.baud_rate)
        .data_bits(config.data_bits)
        .parity(config.parity)
        .stop_bits(config.stop_bits)
        .flow_control(config.flow_control)
        .preserve_dtr_on_open();
    Ok(SerialStream::open(&builder)?)
}

/// Tells the system whether to drop DTR and RTS when the port is closed, and gives the file that it
/// was told with. It remembers that, also from one program to the next.
#[cfg(unix)]
fn prepare_close(path: &Path, hang_up: bool) -> rustix::io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};

    // Not the file that is used later: that one belongs to `tokio-serial`.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::fs::open(path, flags, Mode::empty())?;
    let mut settings = tcgetattr(&port)?;
    if settings.control_modes.contains(ControlModes::HUPCL) != hang_up {
        settings.control_modes.set(ControlModes::HUPCL, hang_up);
        tcsetattr(&port, OptionalActions::Now, &settings)?;
    }
    Ok(port)
}

/// What is at the path is no terminal, and waiting makes none of it. A port whose device is gone says
/// something else.
#[cfg(unix)]
fn final_if_no_terminal(errno: rustix::io::Errno) -> io::Error {
    use rustix::io::Errno;

    match errno {
        Errno::NOTTY | Errno::ISDIR => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is no serial port, nor any terminal")
        }
        other => other.into(),
    }
}

/// A port that was opened.
#[derive(Debug)]
pub(crate) struct OpenPort {
    stream: SerialStream,
    pub(crate) path: PathBuf,
}

impl OpenPort {
    /// Does to DTR and RTS what the settings say.
    pub(crate) async fn set_control_lines(&mut self, config: &SerialConfig) {
        let lines = [config.dtr, config.rts];
        let mut again = None;
        for (index, line) in lines.into_iter().enumerate() {
            match line {
                ControlLine::Leave => {}
                ControlLine::Assert => self.set(index, true),
                ControlLine::Release => self.set(index, false),
                ControlLine::Pulse(time) => {
                    self.set(index, false);
                    again = again.max(Some(time));
                }
            }
        }
        let Some(time) = again else { return };
        sleep(time).await;
        for (index, line) in lines.into_iter().enumerate() {
            if let ControlLine::Pulse(_) = line {
                self.set(index, true);
            }
        }
    }

    fn set(&mut self, index: usize, level: bool) {
        let result = match index {
            0 => self.stream.write_data_terminal_ready(level),
            _ => self.stream.write_request_to_send(level),
        };
        if let Err(error) = result {
            let line = ["DTR", "RTS"][index];
            tracing::debug!(port = %self.path.display(), line, %error, "no such control line");
        }
    }
}

impl AsyncRead for OpenPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for OpenPort {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// The stream's own flush waits for the line, and blocks the thread meanwhile.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Medium for OpenPort {
    fn discard_output(&mut self) {
        // Where the system cannot, the other end skips what comes.
        let _ = self.stream.clear(ClearBuffer::Output);
    }

    fn output_queued(&mut self) -> usize {
        self.stream.bytes_to_write().map_or(0, |bytes| bytes as usize)
    }
}
