//! The table of readings, in SQLite.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use crate::reading::{Reading, millidegrees};

/// The gateway's database.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    rows: u64,
}

impl Database {
    /// Opens the database at `path`, or makes one.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        // A commit returns once the disk has it, or else an acknowledgement would promise too much.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS readings (
                 number INTEGER PRIMARY KEY,
                 taken_at_ms INTEGER NOT NULL,
                 millidegrees INTEGER NOT NULL
             );",
        )?;
        let rows = connection.query_row("SELECT count(*) FROM readings", [], |row| row.get(0))?;
        Ok(Self { connection, rows })
    }

    /// Stores readings in one transaction, those aside that are there; gives how many were new.
    pub(crate) fn store(&mut self, readings: &[Reading]) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let mut stored = 0;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO readings VALUES (?1, ?2, ?3) ON CONFLICT (number) DO NOTHING",
            )?;
            for reading in readings {
                let values = params![reading.number, reading.taken_at_ms, reading.millidegrees];
                stored += insert.execute(values)? as u64;
            }
        }
        transaction.commit()?;
        self.rows += stored;
        Ok(stored)
    }

    /// How many readings there are.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

/// What is in a table that should have the readings before `count`, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// How many rows there are.
    pub(crate) rows: u64,
    /// How many readings are missing.
    pub(crate) gaps: u64,
    /// How many rows there are too many.
    pub(crate) duplicates: u64,
    /// How many rows do not have what was measured.
    pub(crate) wrong: u64,
}

impl Audit {
    /// Reads the table at `path`, and believes nothing that the gateway says.
    pub(crate) fn of(path: &Path, count: u64) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut seen = vec![0_u64; usize::try_from(count).unwrap_or(usize::MAX)];
        let (mut rows, mut wrong) = (0, 0);
        let mut select = connection.prepare("SELECT number, millidegrees FROM readings")?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            let number: u64 = row.get(0)?;
            rows += 1;
            match usize::try_from(number).ok().and_then(|number| seen.get_mut(number)) {
                Some(seen) if row.get::<_, i32>(1)? == millidegrees(number) => *seen += 1,
                _ => wrong += 1,
            }
        }
        let gaps = seen.iter().filter(|&&seen| seen == 0).count() as u64;
        let duplicates = seen.iter().map(|seen| seen.saturating_sub(1)).sum();
        Ok(Self { rows, gaps, duplicates, wrong })
    }
}
