//! The tables of `catalogue.sqlite`, as migrations: each is applied once, in order, in a transaction of its own that
//! also records it. A file of a newer version is refused, never guessed at.
//!
//! Records are JSON documents with the columns beside them that must be unique; the file is thus readable with any
//! SQLite, and a new field needs no migration when its absence has a meaning (`#[serde(default)]`).

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use umbra_base::{Error, ErrorCode, Result};

/// "UMBR": what `file` and our own start find in the header.
const APPLICATION_ID: i32 = 0x554d_4252;

const MIGRATIONS: &[&str] = &[
    // 1: the first.
    "CREATE TABLE head (
         one INTEGER PRIMARY KEY CHECK (one = 1), array_id TEXT NOT NULL, revision INTEGER NOT NULL,
         counters TEXT NOT NULL) STRICT;
     CREATE TABLE lun (
         id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, thin INTEGER NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
     CREATE TABLE host (
         id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, initiator TEXT NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
     CREATE TABLE mask (
         host TEXT NOT NULL REFERENCES host (id) DEFERRABLE INITIALLY DEFERRED,
         lun TEXT NOT NULL REFERENCES lun (id) DEFERRABLE INITIALLY DEFERRED,
         number INTEGER NOT NULL, PRIMARY KEY (host, lun), UNIQUE (host, number)) STRICT;
     CREATE TABLE snapshot_set (
         id TEXT PRIMARY KEY, state TEXT NOT NULL, record TEXT NOT NULL) STRICT;
     CREATE TABLE doomed (thin INTEGER PRIMARY KEY) STRICT;
     CREATE TABLE grave (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;",
    // 2: LUN records may have a reservation and a quota, graves a new kind. Their absence means none, so that nothing is
    // rewritten; the version keeps programs away that would lose them.
    "",
];

/// Brings the file to the newest version.
pub fn migrate(conn: &mut Connection, now: u64) -> Result<()> {
    migrate_with(conn, MIGRATIONS, now)
}

fn migrate_with(conn: &mut Connection, migrations: &[&str], now: u64) -> Result<()> {
    let version = version(conn)?;
    if version > migrations.len() {
        return Err(Error::new(
            ErrorCode::Unsupported,
            format!("the catalogue has version {version}; this program knows up to {}", migrations.len()),
        )
        .hint("start the newer umbra that wrote it"));
    }
    for (next, sql) in (1u32..).zip(migrations).skip(version) {
        apply(conn, next, sql, now)
            .map_err(|source| failed(format!("bring the catalogue to version {next}"), source))?;
    }
    Ok(())
}

fn apply(conn: &mut Connection, version: u32, sql: &str, now: u64) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied_unix_ns INTEGER NOT NULL) STRICT",
    )?;
    tx.execute_batch(sql)?;
    tx.execute("INSERT INTO migration VALUES (?1, ?2)", (version, now.cast_signed()))?;
    tx.commit()
}

/// The version of the file: 0 for an empty one.
fn version(conn: &Connection) -> Result<usize> {
    let read = || -> rusqlite::Result<(i32, i64, u32)> {
        let id = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = conn.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0))?;
        if id != APPLICATION_ID || tables == 0 {
            return Ok((id, tables, 0));
        }
        let version: Option<Option<u32>> =
            conn.query_row("SELECT max(version) FROM migration", (), |row| row.get(0)).optional()?;
        Ok((id, tables, version.flatten().unwrap_or(0)))
    };
    match read().map_err(|source| failed("read the version of the catalogue".into(), source))? {
        (APPLICATION_ID, _, version) => Ok(version as usize),
        (_, 0, _) => Ok(0),
        (id, ..) => Err(Error::new(
            ErrorCode::Corrupt,
            format!("this is an SQLite file of another program (application id {id:#x}), not a catalogue"),
        )),
    }
}

/// An SQLite error on `what`, by its kind.
pub fn failed(what: String, source: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Sqlite;
    let code = match source.sqlite_error_code() {
        Some(Sqlite::DatabaseCorrupt | Sqlite::NotADatabase) => ErrorCode::Corrupt,
        Some(Sqlite::DiskFull) => ErrorCode::InsufficientStorage,
        Some(Sqlite::ConstraintViolation) => ErrorCode::Internal,
        _ => ErrorCode::Io,
    };
    Error::new(code, what).because(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_is_applied_once_and_keeps_what_is_there() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, 1).unwrap();
        conn.execute("INSERT INTO doomed VALUES (7)", ()).unwrap();
        let next = [MIGRATIONS, &["CREATE TABLE more (x INTEGER)"]].concat();
        migrate_with(&mut conn, &next, 2).unwrap();
        migrate_with(&mut conn, &next, 3).unwrap();
        assert_eq!(conn.query_row("SELECT thin FROM doomed", (), |row| row.get::<_, i64>(0)).unwrap(), 7);
        assert_eq!(version(&conn).unwrap(), next.len());
    }

    #[test]
    fn a_newer_file_is_refused_and_a_foreign_one_too() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, 1).unwrap();
        conn.execute("INSERT INTO migration VALUES (99, 0)", ()).unwrap();
        assert_eq!(migrate(&mut conn, 2).unwrap_err().code(), ErrorCode::Unsupported);

        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert_eq!(migrate(&mut foreign, 1).unwrap_err().code(), ErrorCode::Corrupt);
    }
}
