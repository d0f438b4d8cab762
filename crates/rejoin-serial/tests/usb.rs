//! Ports that are found by the USB device that they are, in a tree of files such as Linux shows.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{connect, exchange, soon, source};
use rejoin_conformance::line::{Cable, End};
use rejoin_serial::{LinkSource, SerialConfig, SerialError, SerialSource, UsbPort};

/// What Linux would show of its devices.
struct Tree(PathBuf);

impl Tree {
    fn new(cable: &Cable) -> Self {
        let tree = Self(cable.folder().join("tree"));
        for folder in ["sys/class/tty", "sys/devices/virtual/tty/tty0", "dev"] {
            fs::create_dir_all(tree.0.join(folder)).unwrap();
        }
        // A terminal without a device, and a port that is none of USB.
        symlink("../../devices/virtual/tty/tty0", tree.0.join("sys/class/tty/tty0")).unwrap();
        let platform = tree.0.join("sys/devices/platform/serial8250/tty/ttyS0");
        fs::create_dir_all(&platform).unwrap();
        symlink("../..", platform.join("device")).unwrap();
        symlink("../../devices/platform/serial8250/tty/ttyS0", tree.0.join("sys/class/tty/ttyS0"))
            .unwrap();
        tree
    }

    /// Plugs in an adapter as `name`; its port is `target`.
    fn plug(&self, name: &str, ids: (&str, &str), serial: Option<&str>, target: &Path) {
        let usb = format!("devices/pci0000:00/usb1/1-{name}");
        let interface = format!("{usb}/1-{name}:1.0");
        let port = format!("{interface}/{name}/tty/{name}");
        let sys = self.0.join("sys");
        fs::create_dir_all(sys.join(&port)).unwrap();
        for (attribute, value) in [("idVendor", ids.0), ("idProduct", ids.1)] {
            fs::write(sys.join(&usb).join(attribute), format!("{value}\n")).unwrap();
        }
        if let Some(serial) = serial {
            fs::write(sys.join(&usb).join("serial"), format!("{serial}\n")).unwrap();
        }
        fs::write(sys.join(&interface).join("bInterfaceNumber"), "00\n").unwrap();
        symlink("../..", sys.join(&port).join("device")).unwrap();
        symlink(format!("../../{port}"), sys.join("class/tty").join(name)).unwrap();
        symlink(target, self.0.join("dev").join(name)).unwrap();
    }

    fn unplug(&self, name: &str) {
        fs::remove_file(self.0.join("dev").join(name)).unwrap();
        fs::remove_file(self.0.join("sys/class/tty").join(name)).unwrap();
        fs::remove_dir_all(self.0.join("sys/devices/pci0000:00/usb1").join(format!("1-{name}")))
            .unwrap();
    }

    fn source(&self, port: UsbPort) -> SerialSource {
        let mut config = SerialConfig::default();
        config.port_wait = std::time::Duration::ZERO;
        SerialSource::new(port)
            .with_config(config)
            .with_device_folders(self.0.join("sys"), self.0.join("dev"))
    }
}

const FTDI: (&str, &str) = ("0403", "6001");

#[tokio::test]
async fn a_port_that_comes_back_under_another_name_is_found() {
    let cable = Cable::lay().unwrap();
    let tree = Tree::new(&cable);
    tree.plug("ttyUSB0", FTDI, Some("A50285BI"), &cable.port(End::Near));
    let port = UsbPort::new(0x0403, 0x6001).with_serial_number("A50285BI").with_interface(0);
    let config = SerialConfig::default();
    let near = connect(tree.source(port), config.clone());
    let far = connect(source(&cable, End::Far), config.clone());
    let (near, mut far) = soon(async { tokio::join!(near, far) }).await;
    exchange(&near.tx, &mut far.rx, 0..20).await;

    tree.unplug("ttyUSB0");
    cable.unplug(End::Near);
    cable.plug(End::Near).unwrap();
    // Another adapter has taken the old name.
    tree.plug("ttyUSB0", FTDI, Some("ANOTHER"), Path::new("/dev/null"));
    tree.plug("ttyUSB1", FTDI, Some("A50285BI"), &cable.port(End::Near));
    exchange(&near.tx, &mut far.rx, 20..40).await;
    assert_eq!(near.stats.get().opened, 2);
}

#[tokio::test]
async fn what_fits_no_port_or_several_is_said() {
    let cable = Cable::lay().unwrap();
    let tree = Tree::new(&cable);
    let failure = async |port: UsbPort| {
        let mut source = tree.source(port);
        let error = source.next_link().await.unwrap_err();
        assert!(!source.is_fatal(&error), "plugs come and go");
        *error.into_inner().unwrap().downcast::<SerialError>().unwrap()
    };
    let wanted = UsbPort::new(0x0403, 0x6001);
    assert!(matches!(failure(wanted.clone()).await, SerialError::NoSuchDevice { .. }));
    tree.plug("ttyUSB0", FTDI, Some("one"), Path::new("/dev/null"));
    tree.plug("ttyACM0", FTDI, None, Path::new("/dev/null"));
    let SerialError::SeveralDevices { ports, .. } = failure(wanted.clone()).await else {
        panic!("there are two")
    };
    let names: Vec<_> = ports.iter().map(|port| port.file_name().unwrap()).collect();
    assert_eq!(names, ["ttyACM0", "ttyUSB0"]);
    for other in [
        wanted.clone().with_serial_number("two"),
        wanted.clone().with_interface(1),
        UsbPort::new(0x0403, 0x6002),
    ] {
        assert!(matches!(failure(other).await, SerialError::NoSuchDevice { .. }));
    }
    let error = failure(wanted.with_serial_number("one")).await;
    assert!(matches!(error, SerialError::Open { .. }), "found, and no terminal: {error}");
}
