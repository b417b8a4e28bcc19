//! The record of one guard: `RUNTIME/guard/SET.rec`. First a page, the [`Board`], then a text in JSON that never changes:
//! which file systems, which undo commands, which boot.
//!
//! Every process of the guard holds a lock on it by the file description that they share, so that whoever gets the lock
//! knows that none of them is left. RUNTIME should lie in tmpfs; it must not lie on a guarded file system.

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_sys::sharedpage::{PAGE, SharedPage};

use crate::{FileSystem, Undo, board::Board, limits::RECORD_BYTES};

/// The part that never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    pub set: String,
    pub boot_id: String,
    pub file_systems: Vec<FileSystem>,
    pub undos: Vec<Undo>,
}

/// A record, open and locked by this process and its children.
#[derive(Debug)]
pub(crate) struct Record {
    pub path: PathBuf,
    pub text: Text,
    pub board: Board,
    /// Keeps the lock.
    _file: File,
}

/// Where the records lie.
pub(crate) fn folder(runtime: &Path) -> PathBuf {
    runtime.join("guard")
}

/// Where the record of `set` lies. The name must be a plain one: it becomes a file name.
pub(crate) fn path_of(runtime: &Path, set: &str) -> Result<PathBuf> {
    let plain =
        !set.is_empty() && set.len() <= 64 && set.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{set:?} is no name for a guard's record"),
        ));
    }
    Ok(folder(runtime).join(format!("{set}.rec")))
}

/// The id of this boot of the kernel.
pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(format!("read {path}"), source))?;
    Ok(text.trim().to_owned())
}

impl Record {
    /// Writes a new record; nothing is frozen in it.
    pub(crate) fn create(runtime: &Path, text: Text) -> Result<Record> {
        let path = path_of(runtime, &text.set)?;
        let what =
            |source: io::Error| Error::io(format!("create the guard's record {}", path.display()), source);
        let json = serde_json::to_vec(&text).map_err(|source| what(source.into()))?;
        if json.len() > RECORD_BYTES {
            let text =
                format!("a guard's record of {} bytes, at most {RECORD_BYTES} are allowed", json.len());
            return Err(Error::new(ErrorCode::LimitReached, text));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder(runtime)).map_err(what)?;
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).to_owned();
        let mut file = options.open(&path).map_err(what)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| what(error.into()))?;
        file.write_all(&[0; PAGE]).and_then(|()| file.write_all(&json)).map_err(what)?;
        let page = SharedPage::map(&file).map_err(what)?;
        let board = Board::create(page, text.file_systems.len(), text.undos.len(), json.len());
        Ok(Record { path, text, board, _file: file })
    }

    /// Opens a record that somebody left.
    pub(crate) fn open(path: &Path) -> Result<Opened> {
        let what =
            |source: io::Error| Error::io(format!("open the guard's record {}", path.display()), source);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Gone),
            other => other.map_err(what)?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Opened::Guarded),
            other => other.map_err(|error| what(error.into()))?,
        }
        if !path.exists() {
            return Ok(Opened::Gone); // Its guard removed it between our open and our lock.
        }
        read_locked(path, file).map_err(what)
    }

    /// Removes the file; the board stays mapped.
    pub(crate) fn remove(&self) {
        // If this fails, the next start finds a record in which nothing is frozen, and removes it.
        let _ = std::fs::remove_file(&self.path);
    }

    /// The device of the file system that the record lies on, from [`FileSystem::device`]'s view.
    pub(crate) fn refuse_below(runtime: &Path, file_systems: &[FileSystem]) -> Result<()> {
        let table = crate::mounts::Table::read()?;
        let place = runtime.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let device = crate::mounts::open_one(place, &table)?.file_system.device;
        match file_systems.iter().find(|fs| fs.device == device) {
            None => Ok(()),
            Some(fs) => {
                let text = format!(
                    "the guard's record in {} lies on {} itself",
                    runtime.display(),
                    fs.path.display()
                );
                Err(Error::new(ErrorCode::VolumeUnderUmbra, text)
                    .hint("put the runtime folder into a tmpfs such as /run")
                    .param("volume", fs.path.display()))
            }
        }
    }
}

/// What came of opening a record.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Ours now.
    Record(Box<Record>),
    /// A process of its guard lives.
    Guarded,
    /// It is not there any more.
    Gone,
    /// Not a record, or one of which nothing was frozen yet: it broke off while it was written.
    Broken,
}

fn read_locked(path: &Path, mut file: File) -> io::Result<Opened> {
    let whole = file.metadata()?.len();
    if whole < PAGE as u64 {
        return Ok(Opened::Broken);
    }
    let Some(board) = Board::adopt(SharedPage::map(&file)?) else { return Ok(Opened::Broken) };
    if board.text_bytes() > RECORD_BYTES as u64 {
        return Ok(Opened::Broken);
    }
    let mut json = Vec::new();
    file.seek(SeekFrom::Start(PAGE as u64))?;
    (&file).take(board.text_bytes()).read_to_end(&mut json)?;
    let Ok(text) = serde_json::from_slice::<Text>(&json) else { return Ok(Opened::Broken) };
    if text.file_systems.len() != board.file_systems() || text.undos.len() != board.undos() {
        return Ok(Opened::Broken);
    }
    Ok(Opened::Record(Box::new(Record { path: path.to_owned(), text, board, _file: file })))
}
