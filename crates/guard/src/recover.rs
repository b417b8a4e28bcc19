//! What a guard left when all of it died: thawed and undone from its record at the next start of the service, or as soon
//! as the service sees that its guard is gone.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use umbra_base::{Error, Instant, Result};
use umbra_sys::clock::boottime_nanos;

use crate::{
    FileSystem,
    limits::RECOVER_WAIT,
    mounts::{Table, open_one},
    record::{self, Opened, Record},
    thaw, undo,
};

/// One record that was found.
#[derive(Debug)]
pub struct Recovered {
    /// The set, or the file's name where it could not be read.
    pub set: String,
    /// What was done about it.
    pub found: Found,
}

/// What was done about a record.
#[derive(Debug)]
pub enum Found {
    /// A process of its guard lives still (its storage stalls): the guard finishes the work itself, ask again later.
    Guarded,
    /// It is from an earlier boot, after which nothing is frozen any more: dropped.
    EarlierBoot,
    /// It was never finished, so nothing was frozen under it: dropped.
    Unfinished,
    /// Done, and the record is removed if nothing failed.
    Undone {
        /// File systems that may have been frozen and are not any more.
        thawed: Vec<PathBuf>,
        /// Writers whose undo command ran.
        writers: Vec<String>,
        /// What failed; the record stays for the next attempt.
        failed: Vec<Error>,
    },
}

/// Thaws and undoes what the records in `runtime` say. Records that nobody holds are removed; one that is held by a guard
/// which is about to end is waited for, a few seconds at most.
pub fn recover(runtime: &Path) -> Result<Vec<Recovered>> {
    let folder = record::folder(runtime);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| Error::io(format!("list {}", folder.display()), source))?,
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rec"));
    paths.sort();
    let until = now() + RECOVER_WAIT;
    let found = paths.iter().map(|path| recover_one(path, until)).collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

fn recover_one(path: &Path, until: Instant) -> Result<Option<Recovered>> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    loop {
        let found = match Record::open(path)? {
            Opened::Gone => return Ok(None),
            Opened::Guarded if now() < until => {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            Opened::Guarded => Found::Guarded,
            Opened::Broken => {
                std::fs::remove_file(path)
                    .map_err(|source| Error::io(format!("remove {}", path.display()), source))?;
                Found::Unfinished
            }
            Opened::Record(record) => undo_record(&record)?,
        };
        return Ok(Some(Recovered { set: name, found }));
    }
}

fn undo_record(record: &Record) -> Result<Found> {
    if record.text.boot_id != record::boot_id()? {
        record.remove();
        return Ok(Found::EarlierBoot);
    }
    let (mut thawed, mut writers, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let table = Table::read()?;
    for (index, file_system) in record.text.file_systems.iter().enumerate() {
        if record.board.fs(index).is_free() {
            continue;
        }
        match thaw_again(file_system, &table) {
            Ok(()) => {
                record.board.thawed(index);
                thawed.push(file_system.path.clone());
            }
            Err(error) => failed.push(error),
        }
    }
    for (index, command) in record.text.undos.iter().enumerate() {
        if !record.board.undo(index).is_owed() {
            continue;
        }
        match undo::run_unattended(command) {
            Ok(()) => {
                record.board.set_undo(index, crate::board::UndoState::Done);
                writers.push(command.name.clone());
            }
            Err(error) => failed.push(error),
        }
    }
    if failed.is_empty() {
        record.remove();
    }
    Ok(Found::Undone { thawed, writers, failed })
}

/// Thaws the file system of that device, at the path of the record if it is there still, else at any other mount of it.
fn thaw_again(file_system: &FileSystem, table: &Table) -> Result<()> {
    let at_path = open_one(&file_system.path, table).ok();
    let opened = match at_path.filter(|opened| opened.file_system.device == file_system.device) {
        Some(opened) => opened,
        // Not mounted any more means not frozen any more, as far as anybody can reach it.
        None => match table.place_of(&file_system.device) {
            Some(place) => open_one(place, table)?,
            None => return Ok(()),
        },
    };
    thaw::thaw_or_is_thawed(&opened.fd)
        .map_err(|source| Error::io(format!("thaw {}", file_system.path.display()), source))
}

fn now() -> Instant {
    Instant::from_nanos(boottime_nanos())
}
