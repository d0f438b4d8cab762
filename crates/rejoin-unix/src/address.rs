//! Where a Unix socket is: a path, or a name in the abstract namespace.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::UnixError;

/// How many bytes the system has room for, without the end of the text.
const BYTES_MAX: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// Where a Unix socket is: a path, or on Linux a name in the abstract namespace.
///
/// A text that begins with `@` is an abstract name, as `ss` and systemd write it; every other text is
/// a path, and so is every [`Path`]. What the system has no room for, or cannot have, shows as an
/// error when the address is used.
///
/// ```
/// use rejoin_unix::UnixAddress;
///
/// assert_eq!(UnixAddress::from("@service"), UnixAddress::abstract_name("service"));
/// assert_eq!(UnixAddress::from("./@service"), UnixAddress::path("./@service"));
/// assert_eq!(UnixAddress::abstract_name(b"a\x01b").to_string(), r"@a\x01b");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixAddress(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl UnixAddress {
    /// A file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self(Place::Path(path.into()))
    }

    /// A name in the abstract namespace of Linux, of any bytes.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Self(Place::Abstract(name.as_ref().to_owned()))
    }

    /// The file, where the address is one.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Path(path) => Some(path),
            Place::Abstract(_) => None,
        }
    }

    /// The address as tokio takes it: an abstract name is a path that begins with a zero byte.
    pub(crate) fn to_system(&self) -> Result<PathBuf, UnixError> {
        let invalid = |reason| Err(UnixError::InvalidAddress { address: self.to_string(), reason });
        let bytes = match &self.0 {
            Place::Path(path) => path.as_os_str().as_bytes(),
            Place::Abstract(name) => name,
        };
        if bytes.is_empty() {
            return invalid("it is empty");
        }
        if bytes.len() > BYTES_MAX {
            return Err(UnixError::AddressTooLong {
                address: self.to_string(),
                bytes: bytes.len(),
                bytes_max: BYTES_MAX,
            });
        }
        match &self.0 {
            Place::Path(_) if bytes.contains(&0) => invalid("there is a zero byte in it"),
            Place::Path(path) => Ok(path.clone()),
            Place::Abstract(_) if !cfg!(any(target_os = "linux", target_os = "android")) => {
                Err(UnixError::AbstractUnsupported { address: self.to_string() })
            }
            Place::Abstract(name) => {
                let bytes = [&[0], name.as_slice()].concat();
                Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
            }
        }
    }
}

impl From<&str> for UnixAddress {
    fn from(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(name) => Self::abstract_name(name),
            None => Self::path(text),
        }
    }
}

impl From<String> for UnixAddress {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for UnixAddress {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&Path> for UnixAddress {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}

impl From<PathBuf> for UnixAddress {
    fn from(path: PathBuf) -> Self {
        Self::path(path)
    }
}

impl From<&PathBuf> for UnixAddress {
    fn from(path: &PathBuf) -> Self {
        Self::path(path)
    }
}

impl fmt::Display for UnixAddress {
    /// With control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Path(path) => write!(f, "{}", path.to_string_lossy().escape_debug()),
            Place::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: impl Into<UnixAddress>, expected: Result<&[u8], &str>) {
        let address = address.into();
        let system = address.to_system().map_err(|error| error.to_string());
        let system = system.as_ref().map(|path| path.as_os_str().as_bytes());
        assert_eq!(system.map_err(String::as_str), expected, "{address}");
    }

    #[test]
    fn an_address_is_checked_before_it_is_used() {
        check("relative.sock", Ok(b"relative.sock"));
        check(Path::new("@file"), Ok(b"@file"));
        check("", Err("`` is not an address: it is empty"));
        check("a\0b", Err(r"`a\0b` is not an address: there is a zero byte in it"));
        let longest = "x".repeat(BYTES_MAX);
        check(&longest, Ok(longest.as_bytes()));
        let longer = longest.clone() + "x";
        let reason = format!(
            "`{longer}` has {} bytes, and the address of a socket at most {BYTES_MAX}",
            BYTES_MAX + 1
        );
        check(&longer, Err(&reason));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_checked_too() {
        check("@name", Ok(b"\0name"));
        check(UnixAddress::abstract_name("a\0b"), Ok(b"\0a\0b"));
        check("@", Err("`@` is not an address: it is empty"));
        check(String::from("@") + &"x".repeat(107), Ok(&[b"\0", [b'x'; 107].as_slice()].concat()));
        assert!(UnixAddress::abstract_name([b'x'; 108]).to_system().is_err());
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    #[test]
    fn abstract_names_are_for_linux_only() {
        assert!(matches!(
            UnixAddress::from("@name").to_system(),
            Err(UnixError::AbstractUnsupported { .. })
        ));
    }
}
