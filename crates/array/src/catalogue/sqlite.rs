//! The catalogue in one SQLite file, and in memory whole.
//!
//! Picture: `commit` = one SQLite transaction that also compares and raises the revision, then the same edits on the
//! copy in memory. The file is 0600, in WAL mode with full synchronisation: a commit is on the disk when it returns.
//! After a failure of unknown extent the copy in memory is read anew from the file before anything else happens.

use super::{
    CatalogueStore, rows,
    schema::{failed, migrate},
};
use crate::model::{Catalogue, Change};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};
use umbra_base::{ArrayId, Error, ErrorCode, Result};

/// The catalogue's file.
#[derive(Debug)]
pub struct SqliteCatalogue {
    path: PathBuf,
    file: Mutex<File>,
    current: RwLock<Arc<Catalogue>>,
}

#[derive(Debug)]
struct File {
    conn: Connection,
    /// Whether the copy in memory may differ from the file.
    doubtful: bool,
}

/// Whether the catalogue was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It was read.
    Found,
    /// It was made, empty.
    Made,
}

impl SqliteCatalogue {
    /// Opens the catalogue at `path`, or makes one for a new array that will be called `array`.
    pub fn open(path: &Path, array: ArrayId, now: u64) -> Result<(Self, Opened)> {
        // Made here, so that it is never readable to others, not even for a moment (SQLite's own files inherit this).
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| Error::io(format!("open {}", path.display()), source))?;
        let what = |source| failed(format!("open catalogue {}", path.display()), source);
        let mut conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(what)?;
        configure(&conn).map_err(what)?;
        check(&conn, path)?;
        migrate(&mut conn, now)?;
        let opened = first_row(&conn, array).map_err(what)?;
        let current = RwLock::new(Arc::new(rows::load(&conn)?));
        let file = Mutex::new(File { conn, doubtful: false });
        Ok((SqliteCatalogue { path: path.to_owned(), file, current }, opened))
    }

    fn try_commit(&self, conn: &mut Connection, expected: u64, change: &Change) -> Result<()> {
        let what = |source| failed(format!("commit to catalogue {}", self.path.display()), source);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(what)?;
        let rows = tx
            .execute("UPDATE head SET revision = revision + 1 WHERE revision = ?1", [expected.cast_signed()])
            .map_err(what)?;
        if rows != 1 {
            return Err(Error::new(
                ErrorCode::RevisionConflict,
                format!("the catalogue is not at revision {expected} any more"),
            )
            .hint("read again and decide anew"));
        }
        change.edits().iter().try_for_each(|edit| rows::write(&tx, edit))?;
        tx.commit().map_err(what)
    }

    fn replace(&self, catalogue: Arc<Catalogue>) -> Arc<Catalogue> {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = catalogue.clone();
        catalogue
    }
}

impl CatalogueStore for SqliteCatalogue {
    fn read(&self) -> Arc<Catalogue> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn commit(&self, expected: u64, change: &Change) -> Result<Arc<Catalogue>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.doubtful {
            self.replace(Arc::new(rows::load(&file.conn)?));
            file.doubtful = false;
        }
        let revision = expected + 1;
        let change = change.stamped(revision);
        if let Err(error) = self.try_commit(&mut file.conn, expected, &change) {
            file.doubtful = true;
            if let Ok(fresh) = rows::load(&file.conn) {
                self.replace(Arc::new(fresh));
                file.doubtful = false;
            }
            return Err(error);
        }
        let mut next = (*self.read()).clone();
        next.apply(revision, change);
        Ok(self.replace(Arc::new(next)))
    }
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "ON")
}

/// Damage is found at the start and named, not met later by accident (A6).
fn check(conn: &Connection, path: &Path) -> Result<()> {
    let found: String = conn
        .query_row("PRAGMA quick_check(1)", (), |row| row.get(0))
        .map_err(|source| failed(format!("check catalogue {}", path.display()), source))?;
    match found.as_str() {
        "ok" => Ok(()),
        damage => Err(Error::new(ErrorCode::Corrupt, format!("catalogue {}: {damage}", path.display()))
            .hint("restore the file from a backup of the array's folder")),
    }
}

fn first_row(conn: &Connection, array: ArrayId) -> rusqlite::Result<Opened> {
    let counters = serde_json::to_string(&Catalogue::new(array).counters)
        .map_err(|source| rusqlite::Error::ToSqlConversionFailure(source.into()))?;
    let rows =
        conn.execute("INSERT OR IGNORE INTO head VALUES (1, ?1, 0, ?2)", (array.to_string(), counters))?;
    Ok(if rows == 1 { Opened::Made } else { Opened::Found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Edit, Lun, Reserve, Thin},
        rules::fixture::{World, host},
    };
    use std::os::unix::fs::PermissionsExt;

    fn open(path: &Path) -> SqliteCatalogue {
        SqliteCatalogue::open(path, World::new().cat.array, 1).unwrap().0
    }

    fn put_host(n: u128) -> Change {
        let mut change = Change::new();
        change.push(Edit::PutHost(host(n, &format!("h{n}"), &format!("iqn.2026-01.x:{n}"))));
        change
    }

    #[test]
    fn everything_reads_back_as_it_was_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        let before = {
            let store = open(&path);
            let mut all = Change::new();
            for edit in World::everything() {
                all.push(edit);
            }
            store.commit(0, &all).unwrap()
        };
        assert_eq!(before.revision, 1);
        assert!(before.luns.values().all(|lun| lun.revision == 1));
        let (again, opened) = SqliteCatalogue::open(&path, World::new().cat.array, 2).unwrap();
        assert_eq!(opened, Opened::Found);
        assert_eq!(*again.read(), *before);
        assert!(!before.luns.is_empty() && !before.sets.is_empty() && !before.masks.is_empty());
    }

    #[test]
    fn a_catalogue_of_version_1_opens_with_luns_that_reserve_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        let before = {
            let store = open(&path);
            let mut all = Change::new();
            for edit in World::everything() {
                all.push(edit);
            }
            store.commit(0, &all).unwrap()
        };
        // As the first version wrote it.
        let conn = Connection::open(&path).unwrap();
        let old = "UPDATE lun SET record = json_remove(record, '$.reserve', '$.quota_bytes')";
        assert!(conn.execute(old, ()).unwrap() > 0);
        conn.execute("DELETE FROM migration WHERE version > 1", ()).unwrap();
        drop(conn);
        let again = open(&path);
        assert_eq!(*again.read(), *before);
        assert!(again.read().luns.values().all(|lun| lun.reserve.bytes(lun.size_bytes) == 0));
        let conn = Connection::open(&path).unwrap();
        let version: u32 =
            conn.query_row("SELECT max(version) FROM migration", (), |row| row.get(0)).unwrap();
        assert_eq!(version, 2, "programs that would lose a reservation keep away");
    }

    #[test]
    fn reservations_and_quotas_read_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        let reserves = [Reserve::Nothing, Reserve::Bytes(4096), Reserve::All];
        let before = {
            let store = open(&path);
            let luns = World::new().cat.luns;
            let lun = luns.values().next().unwrap();
            for (n, reserve) in reserves.into_iter().enumerate() {
                let (id, thin) = (umbra_base::LunId(uuid::Uuid::from_u128(n as u128)), Thin(n as u32));
                let quota_bytes = (n > 0).then_some(n as u64);
                let name = format!("lun{n}");
                let mut change = Change::new();
                change.push(Edit::PutLun(Lun { id, name, thin, reserve, quota_bytes, ..(**lun).clone() }));
                store.commit(n as u64, &change).unwrap();
            }
            store.read()
        };
        assert_eq!(*open(&path).read(), *before);
        assert_eq!(before.luns.values().map(|lun| lun.reserve).collect::<Vec<_>>(), reserves);
    }

    #[test]
    fn of_two_commits_at_one_revision_the_second_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        let (one, two) = (open(&path), open(&path));
        one.commit(0, &put_host(1)).unwrap();
        let refused = two.commit(0, &put_host(2)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::RevisionConflict);
        // The loser sees the winner's catalogue from then on.
        assert_eq!(*two.read(), *one.read());
        two.commit(1, &put_host(2)).unwrap();
        assert_eq!(two.read().hosts.len(), 2);
    }

    #[test]
    fn a_change_that_fails_half_way_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("c.sqlite"));
        let mut change = put_host(1);
        // A mask of a LUN that does not exist breaks a constraint at the end of the transaction.
        change.push(World::mask_of_nothing()).push(Edit::Doom(Thin(9)));
        assert_eq!(store.commit(0, &change).unwrap_err().code(), ErrorCode::Internal);
        assert_eq!((store.read().revision, store.read().hosts.len()), (0, 0));
        store.commit(0, &put_host(1)).unwrap();
    }

    #[test]
    fn the_file_is_for_its_owner_only_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        drop(open(&path));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"this is no database, and long enough to be looked at ".repeat(40)).unwrap();
        let error = SqliteCatalogue::open(&path, World::new().cat.array, 1).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Corrupt);
    }
}
