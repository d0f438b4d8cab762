//! Which ports there are, and which of them are what USB device. Opens nothing.
//!
//! On Linux this reads what the kernel shows of its devices, without libudev; elsewhere the list of
//! `tokio-serial` has everything.

use std::fmt;
use std::io;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::path::PathBuf;

use crate::error::SerialError;

/// Names a serial port by the USB device that it is: the port's own name changes with the order in
/// which devices are plugged in.
///
/// ```
/// use rejoin_serial::{SerialSource, UsbPort};
///
/// let board = UsbPort::new(0x2341, 0x0043).with_serial_number("85430353531351B0E0A1");
/// let source = SerialSource::new(board);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UsbPort {
    vendor: u16,
    product: u16,
    serial_number: Option<String>,
    interface: Option<u8>,
}

impl UsbPort {
    /// The port of a device with these ids.
    #[must_use]
    pub fn new(vendor: u16, product: u16) -> Self {
        Self { vendor, product, serial_number: None, interface: None }
    }

    /// Only that of the device with this serial number, where there may be several devices.
    #[must_use]
    pub fn with_serial_number(mut self, serial_number: impl Into<String>) -> Self {
        self.serial_number = Some(serial_number.into());
        self
    }

    /// Only that of this interface of the device, where the device has several ports.
    #[must_use]
    pub fn with_interface(mut self, interface: u8) -> Self {
        self.interface = Some(interface);
        self
    }

    fn fits(&self, port: &UsbPortDetails) -> bool {
        self.vendor == port.vendor
            && self.product == port.product
            && self.serial_number.as_ref().is_none_or(|it| port.serial_number.as_ref() == Some(it))
            && self.interface.is_none_or(|it| port.interface == Some(it))
    }

    /// Looks for the port.
    pub(crate) fn find(&self, devices: &Devices) -> Result<PathBuf, SerialError> {
        let ports = devices.usb_ports().map_err(|source| SerialError::List { source })?;
        let mut fitting: Vec<_> =
            ports.into_iter().filter(|port| self.fits(port)).map(|port| port.path).collect();
        match fitting.len() {
            0 => Err(SerialError::NoSuchDevice { wanted: self.to_string() }),
            1 => Ok(fitting.remove(0)),
            _ => Err(SerialError::SeveralDevices { wanted: self.to_string(), ports: fitting }),
        }
    }
}

impl fmt::Display for UsbPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)?;
        if let Some(serial_number) = &self.serial_number {
            write!(f, " with the serial number {}", serial_number.escape_debug())?;
        }
        match self.interface {
            Some(interface) => write!(f, ", interface {interface}"),
            None => Ok(()),
        }
    }
}

/// A serial port that is a USB device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsbPortDetails {
    /// Where to open it now.
    pub path: PathBuf,
    /// The device's vendor id.
    pub vendor: u16,
    /// The device's product id.
    pub product: u16,
    /// The device's serial number, if it has one.
    pub serial_number: Option<String>,
    /// Which interface of the device the port is, where the system tells.
    pub interface: Option<u8>,
}

/// The serial ports of this machine that are USB devices.
///
/// # Errors
///
/// [`SerialError::List`] inside.
pub fn usb_ports() -> io::Result<Vec<UsbPortDetails>> {
    Ok(Devices::default().usb_ports().map_err(|source| SerialError::List { source })?)
}

/// Where the system shows its devices.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "asked of the system there"))]
    sysfs: PathBuf,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "asked of the system there"))]
    nodes: PathBuf,
}

impl Default for Devices {
    fn default() -> Self {
        Self::new("/sys".into(), "/dev".into())
    }
}

impl Devices {
    pub(crate) fn new(sysfs: PathBuf, nodes: PathBuf) -> Self {
        Self { sysfs, nodes }
    }

    /// What cannot be read of one device, as it is just being unplugged, hides only that one.
    #[cfg(target_os = "linux")]
    fn usb_ports(&self) -> io::Result<Vec<UsbPortDetails>> {
        let root = self.sysfs.canonicalize()?;
        let ports = std::fs::read_dir(root.join("class/tty"))?;
        let mut ports: Vec<_> = ports
            .filter_map(|port| {
                let port = port.ok()?;
                self.details(&root, &port.path(), port.file_name().as_ref())
            })
            .collect();
        ports.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(ports)
    }

    #[cfg(target_os = "linux")]
    fn details(&self, root: &Path, port: &Path, name: &Path) -> Option<UsbPortDetails> {
        // A virtual terminal has no device; a port's one is somewhere below the USB device.
        let device = port.join("device").canonicalize().ok()?;
        let parents = || device.ancestors().take_while(|parent| parent.starts_with(root));
        let usb = parents().find(|parent| parent.join("idVendor").exists())?;
        let interface = parents().find_map(|parent| attribute(parent, "bInterfaceNumber"));
        Some(UsbPortDetails {
            path: self.nodes.join(name),
            vendor: u16::from_str_radix(&attribute(usb, "idVendor")?, 16).ok()?,
            product: u16::from_str_radix(&attribute(usb, "idProduct")?, 16).ok()?,
            serial_number: attribute(usb, "serial"),
            interface: interface.and_then(|number| u8::from_str_radix(&number, 16).ok()),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn usb_ports(&self) -> io::Result<Vec<UsbPortDetails>> {
        let ports = tokio_serial::available_ports()?;
        let details = |port: tokio_serial::SerialPortInfo| match port.port_type {
            tokio_serial::SerialPortType::UsbPort(usb) => Some(UsbPortDetails {
                path: port.port_name.into(),
                vendor: usb.vid,
                product: usb.pid,
                serial_number: usb.serial_number,
                interface: None,
            }),
            _ => None,
        };
        Ok(ports.into_iter().filter_map(details).collect())
    }
}

/// A device's attribute, as text.
#[cfg(target_os = "linux")]
fn attribute(device: &Path, name: &str) -> Option<String> {
    let text = std::fs::read(device.join(name)).ok()?;
    Some(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned())
}
