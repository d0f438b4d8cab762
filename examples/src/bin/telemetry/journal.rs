//! The device's memory that survives its restart: a file with the readings that the gateway may lack.
//!
//! The first line has the number of the first reading, each further one a reading. When the file is
//! long, it is written anew without what was acknowledged. It deliberately does not wait until the disk
//! has a reading: a process that is killed loses nothing that it has written, and a device that has to
//! outlive a power cut would sync as often as it can afford to lose readings.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::reading::Reading;

/// How many acknowledged readings the file may have.
const FORGOTTEN_MAX: u64 = 100;
/// How many readings there may be: some 100 MB. Then the device has to stop measuring, or to give up the
/// oldest; this one stops.
const READINGS_MAX: usize = 4_000_000;

/// The readings that are not known to be delivered, in memory and in a file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Without gaps; the last one has the number `next - 1`.
    readings: VecDeque<Reading>,
    next: u64,
    /// How many readings the file has that are not in memory.
    forgotten: u64,
}

impl Journal {
    /// Reads the journal at `path`, or begins one.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        // A last line without its end was being written when the power went: it was never sent.
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let first = match lines.next() {
            Some(line) => line.parse().map_err(|_| broken(line))?,
            None => 0,
        };
        let readings = lines.zip(first..).map(|(line, number)| parse(line, number));
        let readings = readings.collect::<io::Result<VecDeque<_>>>()?;
        let next = first + readings.len() as u64;
        let file = write_new(path, first, &readings)?;
        Ok(Self { path: path.to_owned(), file, readings, next, forgotten: 0 })
    }

    /// The number of the first reading that may have to be sent.
    pub(crate) fn first(&self) -> u64 {
        self.next - self.readings.len() as u64
    }

    /// The number of the next reading.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether there is room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.readings.len() < READINGS_MAX
    }

    /// The reading with this number, if it was taken and not acknowledged.
    pub(crate) fn get(&self, number: u64) -> Option<Reading> {
        let index = usize::try_from(number.checked_sub(self.first())?).ok()?;
        self.readings.get(index).copied()
    }

    /// Keeps a reading, which has the [next](Self::next) number.
    pub(crate) fn keep(&mut self, reading: Reading) -> io::Result<()> {
        debug_assert_eq!(reading.number, self.next);
        self.file.write_all(line(&reading).as_bytes())?;
        self.readings.push_back(reading);
        self.next += 1;
        Ok(())
    }

    /// Forgets the readings before `number`: the gateway has stored them.
    pub(crate) fn forget_before(&mut self, number: u64) -> io::Result<()> {
        while self.readings.front().is_some_and(|reading| reading.number < number) {
            self.readings.pop_front();
            self.forgotten += 1;
        }
        if self.forgotten > FORGOTTEN_MAX {
            self.file = write_new(&self.path, self.first(), &self.readings)?;
            self.forgotten = 0;
        }
        Ok(())
    }
}

/// Puts a journal in place of the one at `path`, in one step; gives it open for more.
fn write_new(path: &Path, first: u64, readings: &VecDeque<Reading>) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut text = format!("{first}\n");
    text.extend(readings.iter().map(line));
    fs::write(&beside, text)?;
    let file = OpenOptions::new().append(true).open(&beside)?;
    fs::rename(&beside, path)?;
    Ok(file)
}

fn line(reading: &Reading) -> String {
    format!("{} {}\n", reading.taken_at_ms, reading.millidegrees)
}

fn parse(line: &str, number: u64) -> io::Result<Reading> {
    let parts = line.split_once(' ');
    let parts = parts.and_then(|(at, value)| Some((at.parse().ok()?, value.parse().ok()?)));
    let (taken_at_ms, millidegrees) = parts.ok_or_else(|| broken(line))?;
    Ok(Reading { number, taken_at_ms, millidegrees })
}

fn broken(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is no line of a journal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path for a journal, free before and after.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("rejoin-journal-{}-{name}", std::process::id());
            let place = Self(std::env::temp_dir().join(name));
            let _ = fs::remove_file(&place.0);
            place
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_restart_goes_on_with_what_was_not_acknowledged() {
        let place = Place::new("restart");
        let mut journal = Journal::open(&place.0).unwrap();
        let readings: Vec<_> = (0..2500).map(Reading::take).collect();
        for (reading, number) in readings.iter().zip(0_u64..) {
            journal.keep(*reading).unwrap();
            journal.forget_before(number.saturating_sub(10)).unwrap();
        }
        assert_eq!((journal.first(), journal.next()), (2489, 2500));
        drop(journal);
        let journal = Journal::open(&place.0).unwrap();
        assert_eq!(journal.next(), 2500);
        assert!((2388..=2489).contains(&journal.first()), "it is written anew now and then");
        for number in 2489..2500 {
            assert_eq!(journal.get(number), Some(readings[usize::try_from(number).unwrap()]));
        }
        assert_eq!((journal.get(2500), journal.get(0)), (None, None));
    }

    #[test]
    fn a_reading_that_was_half_written_is_taken_again() {
        let place = Place::new("torn");
        fs::write(&place.0, "7\n1000 20\n1001 21\n100").unwrap();
        let mut journal = Journal::open(&place.0).unwrap();
        assert_eq!((journal.first(), journal.next()), (7, 9));
        journal.keep(Reading { number: 9, taken_at_ms: 1, millidegrees: -2 }).unwrap();
        assert_eq!(fs::read_to_string(&place.0).unwrap(), "7\n1000 20\n1001 21\n1 -2\n");
    }
}
