//! The way out: at the beginning of a line, `~.` leaves. Pure: bytes in, bytes out.

const TILDE: u8 = b'~';

/// Looks for the escape in what is typed.
#[derive(Debug)]
pub(crate) struct Escape {
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BeginOfLine,
    /// Behind a tilde that was kept back.
    Tilde,
    InLine,
}

/// What is to be done with what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// This is for the shell.
    pub(crate) bytes: Vec<u8>,
    /// And then the user wants to leave.
    pub(crate) leave: bool,
}

impl Escape {
    /// At the beginning of a line.
    pub(crate) fn new() -> Self {
        Self { place: Place::BeginOfLine }
    }

    /// Takes what was typed.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.place, byte) {
                (Place::BeginOfLine, TILDE) => {
                    self.place = Place::Tilde;
                    continue;
                }
                (Place::Tilde, b'.') => return Typed { bytes, leave: true },
                (Place::Tilde, TILDE) => {}
                (Place::Tilde, _) => bytes.push(TILDE),
                _ => {}
            }
            bytes.push(byte);
            let ends_line = matches!(byte, b'\r' | b'\n');
            self.place = if ends_line { Place::BeginOfLine } else { Place::InLine };
        }
        Typed { bytes, leave: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &[&str], expected: &str, leave: bool) {
        let mut escape = Escape::new();
        let mut bytes = Vec::new();
        let mut left = false;
        for typed in typed {
            let mut typed = escape.filter(typed.as_bytes());
            bytes.append(&mut typed.bytes);
            left |= typed.leave;
        }
        assert_eq!((String::from_utf8(bytes).unwrap().as_str(), left), (expected, leave));
    }

    #[test]
    fn only_a_tilde_and_a_dot_at_the_beginning_of_a_line_leave() {
        check(&["~."], "", true);
        check(&["ls\r~."], "ls\r", true);
        check(&["ls\n~", "."], "ls\n", true);
        check(&["ls ~.\r"], "ls ~.\r", false);
        check(&["~~.\r"], "~.\r", false);
        check(&["~/bin/x\r"], "~/bin/x\r", false);
        check(&["~", "\r~."], "~\r", true);
        check(&["a", "~."], "a~.", false);
    }
}
